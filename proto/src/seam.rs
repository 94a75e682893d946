//! The seams: sockets, wall clock and randomness. Production and simulation differ only here. Decides nothing.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinError;

/// Everything a replica or an agent needs from its surroundings, besides its disk and its containers.
#[derive(Clone)]
pub struct Env {
    pub net: Arc<dyn Net>,
    pub clock: Arc<dyn Clock>,
    pub random: Random,
}

impl Env {
    /// The real world: TCP, the system's clock, a seed from the operating system.
    pub fn real() -> Env {
        Env { net: Arc::new(Tcp), clock: Arc::new(SystemClock), random: Random::from_os() }
    }
}

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Byte streams between processes.
#[async_trait]
pub trait Net: Send + Sync + 'static {
    /// Connects to `host:port`. Cancel safe. Has no deadline of its own: the caller sets one.
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>>;
    /// Listens on `host:port`; port 0 takes a free one.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;
}

#[async_trait]
pub trait Listener: Send + 'static {
    /// Cancel safe.
    async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)>;
    fn local_address(&self) -> io::Result<SocketAddr>;
}

/// Wall-clock time. Durations and timeouts use `tokio::time`, which the simulation controls already.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// A seeded source of randomness, shared by clones.
#[derive(Clone)]
pub struct Random(Arc<Mutex<StdRng>>);

impl Random {
    pub fn from_seed(seed: u64) -> Random {
        Random(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    pub fn from_os() -> Random {
        #[allow(clippy::disallowed_methods, reason = "this is the seam")]
        let seed = rand::random();
        Random::from_seed(seed)
    }

    pub fn u64(&self) -> u64 {
        self.lock().next_u64()
    }

    /// A number in `0..bound`; `bound` must not be 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.lock().random_range(0..bound)
    }

    /// A version 4 UUID.
    pub fn uuid(&self) -> String {
        let mut bytes = [0u8; 16];
        self.lock().fill_bytes(&mut bytes);
        as_uuid(bytes, 4)
    }

    /// A version 7 UUID (RFC 9562): it begins with the time, in milliseconds since the Unix epoch.
    pub fn uuid_of(&self, now_ms: u64) -> String {
        let mut bytes = [0u8; 16];
        self.lock().fill_bytes(&mut bytes);
        bytes[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
        as_uuid(bytes, 7)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.0.lock().expect("no holder of the generator panics")
    }
}

fn as_uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

thread_local! {
    static IS_A_WORLD: Cell<bool> = const { Cell::new(false) };
}

/// This thread is a simulated world: all that its processes do is done on it, in an order that does not change.
pub fn is_a_world() {
    IS_A_WORLD.set(true);
}

/// Runs what may block or take long, such as work on files, where it holds up no task. In a simulated world it runs at once:
/// another thread would have another clock and come back at any time.
pub async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match IS_A_WORLD.get() {
        true => Ok(work()),
        false => tokio::task::spawn_blocking(work).await,
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        #[allow(clippy::disallowed_methods, reason = "this is the seam")]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }
}

struct Tcp;

#[async_trait]
impl Net for Tcp {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(TcpListener::bind(address).await?))
    }
}

/// A host that has vanished closes nothing. A connection to it breaks after this, whether nothing is sent to it or nothing of
/// what is sent is acknowledged. So does one to a process that leaves what comes in its kernel for so long: a person may have
/// stopped it, or its pager, for a moment.
const VANISHED_MAX: Duration = Duration::from_secs(120);
const PROBES: u32 = 3;

async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, from) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(&stream);
    let (silent, interval) = (VANISHED_MAX / 2, VANISHED_MAX / 2 / PROBES);
    let probes = socket2::TcpKeepalive::new().with_time(silent).with_interval(interval).with_retries(PROBES);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(VANISHED_MAX))?;
    Ok((stream, from))
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, from) = accept(self).await?;
        Ok((Box::new(stream), from))
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_long_leaves_the_only_thread_of_a_runtime_to_others_but_not_that_of_a_world() {
        let own = || std::thread::current().id();
        assert_ne!(apart(own).await.unwrap(), own());
        is_a_world();
        assert_eq!(apart(own).await.unwrap(), own());
        IS_A_WORLD.set(false);
    }

    #[tokio::test]
    async fn a_connection_that_was_accepted_breaks_when_its_host_has_vanished() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (near, far) = tokio::join!(Tcp.connect(&address), accept(&listener));
        let (_near, (far, _)) = (near.unwrap(), far.unwrap());
        let socket = socket2::SockRef::from(&far);
        assert!(socket.keepalive().unwrap());
        let probes = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        assert_eq!(socket.tcp_keepalive_time().unwrap() + probes, VANISHED_MAX);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(VANISHED_MAX));
    }
}
