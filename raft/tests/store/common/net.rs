//! Loopback on which answers take their time, and on which connections get stuck.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use proto::seam::{Env, Listener, Net, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
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

/// What is sent to one address over a connection that has carried much gets stuck; answers do not. Cheap to clone.
#[derive(Clone)]
pub struct StuckNet {
    real: Arc<dyn Net>,
    dam: watch::Sender<Dam>,
    made: Arc<Mutex<Vec<Made>>>,
}

/// A connection, which may have ended.
struct Made {
    to: String,
    bytes: Arc<AtomicU64>,
}

#[derive(Default)]
struct Dam {
    /// Empty: it is open.
    towards: String,
    /// Counted from a connection's beginning.
    bytes_max: u64,
    /// The number of the first connection that does not get stuck.
    spares: Option<usize>,
    cuts: u64,
}

impl Dam {
    fn lets(&self, to: &str, number: usize, carried: u64) -> bool {
        self.towards != to || carried <= self.bytes_max || self.spares.is_some_and(|first| number >= first)
    }
}

impl StuckNet {
    pub fn new() -> StuckNet {
        StuckNet { real: Env::real().net, dam: watch::Sender::default(), made: Arc::default() }
    }

    /// From now on, no connection to this address carries more than so many bytes: the rest waits.
    pub fn hold(&self, address: &str, bytes_max: u64) {
        self.dam.send_modify(|dam| {
            (dam.towards, dam.bytes_max, dam.spares) = (address.to_owned(), bytes_max, None);
        });
    }

    /// What waits goes on waiting, and connections that are made from now on do not get stuck.
    pub fn spare_new(&self) {
        let first = self.made.lock().unwrap().len();
        self.dam.send_modify(|dam| dam.spares = Some(first));
    }

    /// What waits goes on.
    pub fn release(&self) {
        self.dam.send_modify(|dam| dam.towards.clear());
    }

    /// The connections on which something waits break, and no others get stuck.
    pub fn cut(&self) {
        self.dam.send_modify(|dam| {
            dam.towards.clear();
            dam.cuts += 1;
        });
    }

    /// How many connections to this address were ever sent more than so many bytes; what waits counts.
    pub fn laden(&self, address: &str, bytes: u64) -> usize {
        let made = self.made.lock().unwrap();
        made.iter().filter(|made| made.to == address && made.bytes.load(SeqCst) > bytes).count()
    }
}

#[async_trait]
impl Net for StuckNet {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut from_far, to_far) = tokio::io::split(self.real.connect(address).await?);
        let (from_near, mut to_near) = tokio::io::split(far);
        let (to, bytes) = (address.to_owned(), Arc::<AtomicU64>::default());
        let number = {
            let mut made = self.made.lock().unwrap();
            made.push(Made { to: to.clone(), bytes: bytes.clone() });
            made.len() - 1
        };
        let sending = carry(from_near, to_far, (to, number), bytes, self.dam.subscribe());
        tokio::spawn(async move {
            // Both sides see the end, whoever brings it about.
            tokio::select! {
                () = sending => {}
                _ = tokio::io::copy(&mut from_far, &mut to_near) => {}
            }
        });
        Ok(Box::new(near))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.real.listen(address).await
    }
}

/// Ends with either side, or when it is cut off.
async fn carry<T: Stream, U: Stream>(
    mut from: ReadHalf<T>,
    mut to: WriteHalf<U>,
    (address, number): (String, usize),
    bytes: Arc<AtomicU64>,
    mut dam: watch::Receiver<Dam>,
) {
    let mut buffer = vec![0; 1 << 14];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let carried = bytes.fetch_add(length as u64, SeqCst) + length as u64;
        let cuts = dam.borrow().cuts;
        let goes_on = dam.wait_for(|dam| dam.lets(&address, number, carried)).await.is_ok_and(|dam| dam.cuts == cuts);
        if !goes_on || to.write_all(&buffer[..length]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}
