//! Loopback on which answers take their time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use proto::seam::{Env, Listener, Net, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Cheap to clone.
#[derive(Clone)]
pub struct SlowNet {
    real: Arc<dyn Net>,
    answers_ms: Arc<AtomicU64>,
}

impl SlowNet {
    pub fn new() -> SlowNet {
        SlowNet { real: Env::real().net, answers_ms: Arc::default() }
    }

    /// From now on, whatever is answered to who connects comes so much later.
    pub fn set_answers(&self, later: Duration) {
        self.answers_ms.store(later.as_millis() as u64, SeqCst);
    }
}

#[async_trait]
impl Net for SlowNet {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (from_far, to_far) = tokio::io::split(self.real.connect(address).await?);
        let (from_near, to_near) = tokio::io::split(far);
        tokio::spawn(copy(from_near, to_far, Arc::default()));
        tokio::spawn(copy(from_far, to_near, self.answers_ms.clone()));
        Ok(Box::new(near))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.real.listen(address).await
    }
}

/// What was read is written so much later, while more is read. Ends with either side.
async fn copy<T: Stream, U: Stream>(mut from: ReadHalf<T>, mut to: WriteHalf<U>, later_ms: Arc<AtomicU64>) {
    let (pieces, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let reading = async move {
        let mut buffer = vec![0; 1 << 14];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let at = Instant::now() + Duration::from_millis(later_ms.load(SeqCst));
            if pieces.send((at, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((at, piece)) = due.recv().await {
            sleep_until(at).await;
            if to.write_all(&piece).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}
