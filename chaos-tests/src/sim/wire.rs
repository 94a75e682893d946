//! A machine's kernel, as far as connections go: the software of a turmoil host, which takes orders from the process on
//! the machine and carries bytes between turmoil's connections and in-memory pipes. It goes on while the process is
//! frozen, and closes what a process leaves behind. Acts.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use proto::seam::{Listener, Net, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::sync::{Notify, mpsc, oneshot};
use turmoil::net::{TcpListener, TcpStream};

use super::links::{HostId, Links};
use super::os;
use super::trace::Trace;

/// What one direction of a connection holds that nobody has read, at either end.
const PIPE_BYTES: usize = 256 << 10;
/// At most so much makes one packet.
const PACKET_BYTES: usize = 64 << 10;
/// Connections that wait to be accepted; more are turned away.
const BACKLOG: usize = 128;
const ORDERS_MAX: usize = 1024;
/// A machine has closed what its process gave up before so many other tasks of it have had their turns.
const YIELDS: usize = 3;
/// After this a lost request for a connection is sent again, as Linux does it.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Why the network of a world cannot rest, but for what is under way on it.
#[derive(Default)]
pub struct Stir {
    /// A process or the world did something to it since its last step.
    touched: AtomicBool,
    /// What may go on by itself, unseen from outside.
    awake: AtomicUsize,
}

impl Stir {
    pub fn touch(&self) {
        self.touched.store(true, Relaxed);
    }

    /// Whether there is something to do, as far as it is not on its way.
    pub fn take(&self) -> bool {
        self.touched.swap(false, Relaxed) || self.awake.load(Relaxed) > 0
    }
}

/// Keeps the network awake.
struct Awake(Arc<Stir>);

impl Awake {
    fn begin(stir: &Arc<Stir>) -> Awake {
        stir.awake.fetch_add(1, Relaxed);
        Awake(stir.clone())
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.awake.fetch_sub(1, Relaxed);
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Wire(Arc<Inner>);

struct Inner {
    host: HostId,
    names: Arc<Vec<String>>,
    links: Arc<Mutex<Links>>,
    trace: Arc<Mutex<Trace>>,
    stir: Arc<Stir>,
    /// To the software that runs at present.
    orders: Mutex<Option<mpsc::Sender<Order>>>,
    connections: Mutex<Vec<(HostId, Weak<Connection>)>>,
}

enum Order {
    Connect { address: String, answer: oneshot::Sender<io::Result<Pipe>> },
    Listen { address: String, answer: oneshot::Sender<io::Result<Listening>> },
}

/// What the two sides of a pipe share.
#[derive(Default)]
struct Connection {
    /// It ended by a reset.
    broken: AtomicBool,
    stop: Notify,
}

impl Wire {
    pub fn new(
        host: HostId,
        names: Arc<Vec<String>>,
        links: Arc<Mutex<Links>>,
        trace: Arc<Mutex<Trace>>,
        stir: Arc<Stir>,
    ) -> Wire {
        let (orders, connections) = Default::default();
        Wire(Arc::new(Inner { host, names, links, trace, stir, orders, connections }))
    }

    /// What a turmoil host runs. Earlier software takes no more orders.
    pub fn software(&self) -> impl Future<Output = turmoil::Result> + use<> {
        let (orders, mut queue) = mpsc::channel(ORDERS_MAX);
        *lock(&self.0.orders) = Some(orders);
        let wire = self.clone();
        async move {
            while let Some(order) = queue.recv().await {
                let wire = wire.clone();
                match order {
                    Order::Connect { address, answer } => drop(tokio::spawn(wire.connect(address, answer))),
                    Order::Listen { address, answer } => drop(tokio::spawn(wire.listen(address, answer))),
                }
            }
            // Only a crash ends a machine.
            std::future::pending().await
        }
    }

    /// Breaks every connection with another host, at this end. Returns how many of them a process had.
    pub fn break_with(&self, other: HostId) -> usize {
        let broken: Vec<_> = lock(&self.0.connections).extract_if(.., |(with, _)| *with == other).collect();
        // The machine holds one, and the process the other end of it.
        let used = broken.iter().filter(|(_, connection)| connection.strong_count() > 1).count();
        for connection in broken.iter().filter_map(|(_, connection)| connection.upgrade()) {
            connection.stop.notify_one();
        }
        used
    }

    async fn connect(self, address: String, mut answer: oneshot::Sender<io::Result<Pipe>>) {
        tokio::select! {
            biased;
            () = answer.closed() => {}
            connected = self.dial(&address) => drop(answer.send(connected)),
        }
    }

    async fn dial(&self, address: &str) -> io::Result<Pipe> {
        let name = address.rsplit_once(':').map_or(address, |(name, _)| name);
        // It may ask again after a while.
        let _awake = Awake::begin(&self.0.stir);
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no host of the simulation is {name:?}"));
        let to = self.0.names.iter().position(|known| known == name).ok_or_else(unknown)?;
        loop {
            lock(&self.0.links).send(self.0.host, to);
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(self.carry(stream, to)),
                // turmoil refuses at once what it loses.
                Err(_) if lock(&self.0.links).loses(self.0.host, to) => tokio::time::sleep(ASK_AGAIN).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn listen(self, address: String, answer: oneshot::Sender<io::Result<Listening>>) {
        let mut bound = TcpListener::bind(address.as_str()).await;
        for _ in 0..YIELDS {
            // What a process has given up its machine may still have to close.
            if bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
                tokio::task::yield_now().await;
                bound = TcpListener::bind(address.as_str()).await;
            }
        }
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (sender, accepted) = mpsc::channel(BACKLOG);
        let listener = match bound {
            Ok((address, listener)) => {
                let stir = self.0.stir.clone();
                match answer.send(Ok(Listening { accepted, address, stir })) {
                    Ok(()) => listener,
                    Err(_) => return,
                }
            }
            Err(error) => return drop(answer.send(Err(error))),
        };
        loop {
            let taken = tokio::select! {
                biased;
                () = sender.closed() => return,
                taken = listener.accept() => taken,
            };
            let Ok((stream, from)) = taken else { return };
            let name = turmoil::reverse_lookup(from.ip());
            let with = self.0.names.iter().position(|known| Some(known) == name.as_ref());
            let with = with.expect("every connection comes from a host");
            drop(sender.try_send((self.carry(stream, with), from)));
        }
    }

    /// Carries a connection's bytes until both ends have closed it; returns the process's end.
    fn carry(&self, stream: TcpStream, with: HostId) -> Pipe {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let connection = Arc::<Connection>::default();
        let mut connections = lock(&self.0.connections);
        connections.retain(|(_, connection)| connection.strong_count() > 0);
        connections.push((with, Arc::downgrade(&connection)));
        let (wire, shared) = (self.clone(), connection.clone());
        // What a host sends to itself is on no link.
        let awake = (with == self.0.host).then(|| Awake::begin(&self.0.stir));
        tokio::spawn(async move {
            let _awake = awake;
            tokio::select! {
                biased;
                () = shared.stop.notified() => shared.broken.store(true, Relaxed),
                ended = wire.both_ways(stream, far, with) => shared.broken.store(ended.is_err(), Relaxed),
            }
        });
        Pipe { pipe: near, connection, stir: self.0.stir.clone() }
    }

    async fn both_ways(&self, stream: TcpStream, process: DuplexStream, with: HostId) -> io::Result<()> {
        let (mut from_network, mut to_network) = stream.into_split();
        let (mut from_process, mut to_process) = tokio::io::split(process);
        let outward = async move {
            let mut packet = vec![0; PACKET_BYTES];
            loop {
                let length = from_process.read(&mut packet).await?;
                lock(&self.0.links).send(self.0.host, with);
                match length {
                    0 => return to_network.shutdown().await,
                    length => to_network.write_all(&packet[..length]).await?,
                }
            }
        };
        let inward = async move {
            let mut packet = vec![0; PACKET_BYTES];
            loop {
                let length = from_network.read(&mut packet).await?;
                lock(&self.0.trace).packet(with, self.0.host, os::now());
                match length {
                    0 => return to_process.shutdown().await,
                    length => to_process.write_all(&packet[..length]).await?,
                }
            }
        };
        // What a process wrote before it closed goes out first.
        tokio::try_join!(biased; outward, inward).map(drop)
    }

    async fn order<T>(&self, order: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Order) -> io::Result<T> {
        let down = || io::Error::from(io::ErrorKind::NetworkDown);
        let (answer, answered) = oneshot::channel();
        let orders = lock(&self.0.orders).clone().ok_or_else(down)?;
        orders.send(order(answer)).await.map_err(|_| down())?;
        self.0.stir.touch();
        answered.await.map_err(|_| down())?
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no holder panics")
}

#[async_trait]
impl Net for Wire {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let address = address.to_owned();
        Ok(Box::new(self.order(|answer| Order::Connect { address, answer }).await?))
    }

    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let address = address.to_owned();
        Ok(Box::new(self.order(|answer| Order::Listen { address, answer }).await?))
    }
}

struct Listening {
    accepted: mpsc::Receiver<(Pipe, SocketAddr)>,
    address: SocketAddr,
    stir: Arc<Stir>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stir.touch();
    }
}

#[async_trait]
impl Listener for Listening {
    async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (pipe, from) = self.accepted.recv().await.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((Box::new(pipe), from))
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// The process's end of a connection.
struct Pipe {
    pipe: DuplexStream,
    connection: Arc<Connection>,
    stir: Arc<Stir>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.stir.touch();
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.pipe).poll_read(context, buffer))?;
        // There is room for more.
        self.stir.touch();
        if buffer.filled().len() == before && buffer.remaining() > 0 && self.connection.broken.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stir.touch();
        Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stir.touch();
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}
