//! A loopback TCP proxy to whichever replica lives, so that a kubeconfig needs one address only. Acts; TLS goes
//! through untouched.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proto::seam::{Listener, Net, Stream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Replicas;

/// Connections at one time; the next ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// One replica's chance to accept, before the next one is tried.
const CONNECT_MAX: Duration = Duration::from_millis(200);
/// Rounds over all replicas before a connection is given up.
const ROUNDS_MAX: u32 = 10;
const ROUND_PAUSE: Duration = Duration::from_millis(200);
const BUFFER_BYTES: usize = 16 << 10;

pub struct Proxy {
    listener: Box<dyn Listener>,
    net: Arc<dyn Net>,
    replicas: Replicas,
}

impl Proxy {
    /// Listens on `address` (`127.0.0.1:port`; port 0 takes a free one).
    pub async fn bind(net: Arc<dyn Net>, address: &str, replicas: Replicas) -> io::Result<Proxy> {
        Ok(Proxy { listener: net.listen(address).await?, net, replicas })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_address()
    }

    /// Forwards until `shutdown`, then ends every connection.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let tracker = TaskTracker::new();
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let route = Arc::new(Route { net: self.net, replicas: self.replicas, last_good: Mutex::default() });
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = async {
                    let permit = permits.clone().acquire_owned().await.expect("never closed");
                    self.listener.accept().await.map(|(stream, _)| (stream, permit))
                } => accepted,
            };
            match accepted {
                Ok((client, permit)) => {
                    let (route, shutdown) = (route.clone(), shutdown.clone());
                    tracker.spawn(async move {
                        tokio::select! {
                            () = shutdown.cancelled() => {}
                            () = route.forward(client) => {}
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the proxy could not accept a connection");
                    sleep(ROUND_PAUSE).await;
                }
            }
        }
        tracker.close();
        tracker.wait().await;
    }
}

struct Route {
    net: Arc<dyn Net>,
    replicas: Replicas,
    /// The address that accepted last: connections stay together while it lives.
    last_good: Mutex<Option<String>>,
}

impl Route {
    async fn forward(&self, mut client: Box<dyn Stream>) {
        let Some((address, mut replica)) = self.connect().await else {
            tracing::warn!("the proxy reached no replica");
            return;
        };
        tokio::select! {
            // Half-closes are passed on. However it ended, both sides see it.
            _ = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut replica, BUFFER_BYTES, BUFFER_BYTES) => {}
            // A frozen machine resets nothing: the client would wait for ever.
            () = self.lost(&address) => {}
        }
    }

    async fn connect(&self) -> Option<(String, Box<dyn Stream>)> {
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                sleep(ROUND_PAUSE).await;
            }
            let favourite = self.last_good().clone();
            for address in self.replicas.order(favourite.as_deref()) {
                if let Ok(Ok(stream)) = timeout(CONNECT_MAX, self.net.connect(&address)).await {
                    *self.last_good() = Some(address.clone());
                    return Some((address, stream));
                }
            }
        }
        None
    }

    fn last_good(&self) -> MutexGuard<'_, Option<String>> {
        self.last_good.lock().expect("no holder of the lock panics")
    }

    /// Returns when the replica fell silent while another one lives.
    async fn lost(&self, address: &str) {
        let mut changes = self.replicas.changes();
        let mut lived = false;
        loop {
            let live = self.replicas.known(address).live;
            if lived && !live && self.replicas.any_live() {
                return;
            }
            lived |= live;
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::seam::Env;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::Known;
    use super::*;

    /// Answers every connection with its name and what it reads, after the client's half-close.
    async fn replica(name: &'static str) -> (String, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = stopped.cancelled() => return,
                };
                connections.spawn(async move {
                    let mut said = Vec::new();
                    stream.write_all(name.as_bytes()).await.unwrap();
                    stream.read_to_end(&mut said).await.unwrap();
                    stream.write_all(&said).await.unwrap();
                });
            }
        });
        (address, stop)
    }

    async fn proxy(replicas: &Replicas) -> (SocketAddr, CancellationToken) {
        let shutdown = CancellationToken::new();
        let proxy = Proxy::bind(Env::real().net, "127.0.0.1:0", replicas.clone()).await.unwrap();
        let address = proxy.local_address().unwrap();
        tokio::spawn(proxy.run(shutdown.clone()));
        (address, shutdown)
    }

    async fn ask(proxy: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let read = timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await;
        read.expect("the proxy answers in time").unwrap();
        answer
    }

    #[tokio::test]
    async fn a_dead_replica_is_passed_over_and_half_closes_go_through() {
        let ((a, stop_a), (b, _stop_b)) = (replica("a:").await, replica("b:").await);
        let (proxy, _shutdown) = proxy(&Replicas::new(vec![a, b])).await;
        assert_eq!(ask(proxy, "hello").await, "a:hello");
        stop_a.cancel();
        tokio::task::yield_now().await;
        for _ in 0..3 {
            assert_eq!(ask(proxy, "hello").await, "b:hello");
        }
    }

    #[tokio::test]
    async fn a_live_replica_is_preferred_to_one_that_only_accepts() {
        let ((a, _stop_a), (b, _stop_b)) = (replica("a:").await, replica("b:").await);
        let replicas = Replicas::new(vec![a, b.clone()]);
        replicas.note(&b, Known { live: true, ..Known::default() });
        let (proxy, _shutdown) = proxy(&replicas).await;
        assert_eq!(ask(proxy, "hello").await, "b:hello");
    }

    #[tokio::test]
    async fn connections_to_a_replica_that_fell_silent_end() {
        let ((a, _stop_a), (b, _stop_b)) = (replica("a:").await, replica("b:").await);
        let replicas = Replicas::new(vec![a.clone(), b.clone()]);
        let live = Known { live: true, ..Known::default() };
        replicas.note(&a, live);
        replicas.note(&b, live);
        let (proxy, _shutdown) = proxy(&replicas).await;
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        let mut name = [0; 2];
        stream.read_exact(&mut name).await.unwrap();
        assert_eq!(&name, b"a:");
        replicas.note(&a, Known::default());
        let end = timeout(Duration::from_secs(10), stream.read(&mut name)).await.expect("the connection ends");
        assert!(matches!(end, Ok(0) | Err(_)));
    }
}
