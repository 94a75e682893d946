//! The network between the hosts: links with latency that can be cut one way or both, and byte streams over them as
//! TCP gives them. What a cut holds back arrives when it heals, as TCP sends it again. Acts.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proto::seam::{Listener, Net, Random, Stream};

use super::stream::SimStream;
use super::trace::Trace;

pub type HostId = usize;

/// What a link takes at least. The world moves in steps of this: nothing sent in a step can arrive within it.
pub const LATENCY_MIN: Duration = Duration::from_millis(2);
const JITTER_US: u64 = 2000;
/// What one direction of a connection holds that the reader has not taken.
pub const WINDOW_BYTES: usize = 256 << 10;

/// Cheap to clone.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Mutex<Inner>>,
}

pub(super) struct Inner {
    /// The world's beginning.
    epoch: tokio::time::Instant,
    random: Random,
    hosts: Vec<Host>,
    links: BTreeMap<(HostId, HostId), Link>,
    listeners: BTreeMap<(HostId, u16), Accepting>,
    pub(super) connections: BTreeMap<u64, Connection>,
    next: u64,
    trace: Arc<Mutex<Trace>>,
}

struct Host {
    name: String,
    powered: bool,
}

/// One direction.
#[derive(Clone, Copy, Default)]
struct Link {
    /// So many faults cut it at present.
    cuts: u32,
    slower_ms: u64,
}

#[derive(Default)]
struct Accepting {
    ready: VecDeque<(SimStream, SocketAddr)>,
    waker: Option<Waker>,
}

/// `pipes[n]` leads away from `ends[n]`; end 0 is the one that connected.
pub(super) struct Connection {
    hosts: [HostId; 2],
    port: u16,
    pub pipes: [Pipe; 2],
    pub accepted: bool,
    /// Nobody holds this end any more.
    pub gone: [bool; 2],
}

#[derive(Default)]
pub(super) struct Pipe {
    flight: VecDeque<(u64, Segment)>,
    last_due_us: u64,
    pub inbox: VecDeque<Bytes>,
    /// In flight and in the inbox.
    pub bytes: usize,
    pub ended: Option<Ending>,
    pub closing: bool,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Closed,
    Reset,
}

pub(super) enum Segment {
    Open,
    Accept,
    Data(Bytes),
    End(Ending),
}

impl Network {
    pub fn new(names: Vec<String>, random: Random, trace: Arc<Mutex<Trace>>) -> Network {
        let hosts = names.into_iter().map(|name| Host { name, powered: true }).collect();
        let inner = Inner {
            epoch: tokio::time::Instant::now(),
            random,
            hosts,
            links: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: 0,
            trace,
        };
        Network { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the network panics")
    }

    /// The network as a host sees it.
    pub fn of(&self, host: HostId) -> Arc<dyn Net> {
        Arc::new(HostNet { network: self.clone(), host })
    }

    /// Cuts what goes from one host to another. Cuts add up: as many heals are needed.
    pub fn cut(&self, from: HostId, to: HostId) {
        self.lock().links.entry((from, to)).or_default().cuts += 1;
    }

    pub fn heal(&self, from: HostId, to: HostId) {
        let mut inner = self.lock();
        let link = inner.links.entry((from, to)).or_default();
        link.cuts = link.cuts.saturating_sub(1);
    }

    pub fn heal_all(&self, from: HostId, to: HostId) {
        self.lock().links.entry((from, to)).or_default().cuts = 0;
    }

    pub fn slow(&self, from: HostId, to: HostId, by_ms: u64) {
        self.lock().links.entry((from, to)).or_default().slower_ms = by_ms;
    }

    /// Breaks every connection between two hosts, as a firewall that forgot them does.
    pub fn reset(&self, one: HostId, other: HostId) {
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        for connection in inner.connections.values_mut() {
            if connection.hosts == [one, other] || connection.hosts == [other, one] {
                for pipe in &mut connection.pipes {
                    pipe.flight.clear();
                    pipe.end(Ending::Reset, &mut wakers);
                }
            }
        }
        drop(inner);
        wake(wakers);
    }

    /// The process ended. On a machine that is still powered the kernel closes its connections; else nothing is sent.
    pub fn process_ended(&self, host: HostId, powered: bool) {
        let mut inner = self.lock();
        inner.hosts[host].powered = powered;
        let listening: Vec<_> = inner.listeners.keys().filter(|(on, _)| *on == host).copied().collect();
        // Connections that nobody has taken yet go with the listener, which is dropped without the lock.
        let dropped: Vec<Accepting> = listening.iter().filter_map(|at| inner.listeners.remove(at)).collect();
        let own: Vec<(u64, usize)> = inner
            .connections
            .iter()
            .flat_map(|(id, connection)| (0..2).filter(|end| connection.hosts[*end] == host).map(|end| (*id, end)))
            .collect();
        for (id, end) in own {
            match powered {
                true => inner.close(id, end),
                false => inner.connections.get_mut(&id).expect("it was listed").gone[end] = true,
            }
        }
        drop(inner);
        drop(dropped);
    }

    pub fn powered_on(&self, host: HostId) {
        self.lock().hosts[host].powered = true;
    }

    /// Hands out what has arrived by now.
    pub fn deliver(&self, now: Duration) {
        let now_us = now.as_micros() as u64;
        let mut wakers = Vec::new();
        let mut inner = self.lock();
        let ids: Vec<u64> = inner.connections.keys().copied().collect();
        for id in ids {
            for end in 0..2 {
                while inner.arrive(self, id, end, now_us, &mut wakers) {}
            }
            if inner.connections.get(&id).is_some_and(Connection::is_over) {
                inner.connections.remove(&id);
            }
        }
        drop(inner);
        wake(wakers);
    }
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl Inner {
    /// Sends a segment away from `end`.
    pub fn send(&mut self, id: u64, end: usize, segment: Segment) {
        let now = tokio::time::Instant::now().duration_since(self.epoch).as_micros() as u64;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let link = self.links.get(&(connection.hosts[end], connection.hosts[1 - end])).copied().unwrap_or_default();
        let takes = LATENCY_MIN.as_micros() as u64 + self.random.below(JITTER_US + 500 * link.slower_ms + 1);
        let pipe = &mut connection.pipes[end];
        pipe.last_due_us = pipe.last_due_us.max(now + takes + 1000 * link.slower_ms);
        pipe.flight.push_back((pipe.last_due_us, segment));
    }

    /// The holder of an end lets go of it.
    pub fn close(&mut self, id: u64, end: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if std::mem::replace(&mut connection.gone[end], true) {
            return;
        }
        // As TCP: who closes with unread data breaks the connection.
        let unread = !connection.pipes[1 - end].inbox.is_empty();
        match unread {
            true => self.send(id, end, Segment::End(Ending::Reset)),
            false if !connection.pipes[end].closing => self.send(id, end, Segment::End(Ending::Closed)),
            false => {}
        }
    }

    /// Takes the next segment that left `end` to the other end, if it is there by now.
    fn arrive(&mut self, network: &Network, id: u64, end: usize, now_us: u64, wakers: &mut Vec<Waker>) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let (from, to) = (connection.hosts[end], connection.hosts[1 - end]);
        let cut = self.links.get(&(from, to)).is_some_and(|link| link.cuts > 0);
        let due = connection.pipes[end].flight.front().is_some_and(|(due, _)| *due <= now_us);
        if !due || cut || !self.hosts[to].powered {
            return false;
        }
        let (due_us, segment) = connection.pipes[end].flight.pop_front().expect("it is due");
        let mut trace = self.trace.lock().expect("no holder of the trace panics");
        trace.segment(from, to, due_us);
        drop(trace);
        let pipe = &mut connection.pipes[end];
        match segment {
            Segment::Open => self.knock(network, id, wakers),
            Segment::Accept => {
                connection.accepted = true;
                wakers.extend(pipe.reader.take());
            }
            Segment::Data(_) if connection.gone[1 - end] => {
                // Nobody is there to take it: the sender hears so, once.
                connection.pipes[end].flight.clear();
                self.send(id, 1 - end, Segment::End(Ending::Reset));
            }
            Segment::Data(bytes) => {
                pipe.inbox.push_back(bytes);
                wakers.extend(pipe.reader.take());
            }
            Segment::End(Ending::Closed) => pipe.end(Ending::Closed, wakers),
            Segment::End(Ending::Reset) => {
                connection.pipes.iter_mut().for_each(|pipe| pipe.end(Ending::Reset, wakers));
            }
        }
        true
    }

    /// A connection is asked for.
    fn knock(&mut self, network: &Network, id: u64, wakers: &mut Vec<Waker>) {
        let connection = &self.connections[&id];
        let [from, to] = connection.hosts;
        match self.listeners.get_mut(&(to, connection.port)) {
            Some(listener) => {
                listener.ready.push_back((SimStream::new(network.clone(), id, 1), address(from, 0)));
                wakers.extend(listener.waker.take());
                self.send(id, 1, Segment::Accept);
            }
            None => {
                self.connections.get_mut(&id).expect("it is there").gone[1] = true;
                self.send(id, 1, Segment::End(Ending::Reset));
            }
        }
    }
}

impl Pipe {
    /// No more comes through it.
    fn end(&mut self, how: Ending, wakers: &mut Vec<Waker>) {
        if self.ended != Some(Ending::Reset) {
            self.ended = Some(how);
        }
        wakers.extend(self.reader.take());
        wakers.extend(self.writer.take());
    }
}

impl Connection {
    fn is_over(&self) -> bool {
        self.gone == [true, true] && self.pipes.iter().all(|pipe| pipe.flight.is_empty())
    }
}

fn address(host: HostId, port: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, host as u8 + 1), port).into()
}

struct HostNet {
    network: Network,
    host: HostId,
}

impl HostNet {
    fn find(&self, address: &str) -> io::Result<(HostId, u16)> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no host of the simulation is {address:?}"));
        let (name, port) = address.rsplit_once(':').ok_or_else(unknown)?;
        let inner = self.network.lock();
        let host = inner.hosts.iter().position(|host| host.name == name).ok_or_else(unknown)?;
        Ok((host, port.parse().map_err(|_| unknown())?))
    }
}

#[async_trait]
impl Net for HostNet {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let (to, port) = self.find(address)?;
        let id = {
            let mut inner = self.network.lock();
            inner.next += 1;
            let id = inner.next;
            let connection = Connection {
                hosts: [self.host, to],
                port,
                pipes: Default::default(),
                accepted: false,
                gone: [false, false],
            };
            inner.connections.insert(id, connection);
            inner.send(id, 0, Segment::Open);
            id
        };
        let stream = SimStream::new(self.network.clone(), id, 0);
        std::future::poll_fn(|context| stream.poll_accepted(context)).await?;
        Ok(Box::new(stream))
    }

    async fn listen(&self, asked: &str) -> io::Result<Box<dyn Listener>> {
        let port = asked.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let mut port = port.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, asked.to_owned()))?;
        let mut inner = self.network.lock();
        if port == 0 {
            port = (40_000..).find(|port| !inner.listeners.contains_key(&(self.host, *port))).expect("one is free");
        }
        if inner.listeners.contains_key(&(self.host, port)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        inner.listeners.insert((self.host, port), Accepting::default());
        Ok(Box::new(Listening { network: self.network.clone(), at: (self.host, port) }))
    }
}

struct Listening {
    network: Network,
    at: (HostId, u16),
}

#[async_trait]
impl Listener for Listening {
    async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        std::future::poll_fn(|context| {
            let mut inner = self.network.lock();
            let Some(listener) = inner.listeners.get_mut(&self.at) else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            };
            match listener.ready.pop_front() {
                Some((stream, from)) => Poll::Ready(Ok((Box::new(stream) as Box<dyn Stream>, from))),
                None => {
                    listener.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        Ok(address(self.at.0, self.at.1))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let dropped = self.network.lock().listeners.remove(&self.at);
        drop(dropped);
    }
}
