//! The hosts of a world, and its time. turmoil carries the network and steps its hosts, which run the machines' wires;
//! each process has an async runtime of its own, whose clock stands still but for what the world gives it, so that it
//! can be frozen while its machine goes on. Acts.

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::time::{Duration, SystemTime};

use proto::seam::{Clock, Env, Random};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use turmoil::Sim;

use super::links::{HostId, Links, Loss, State};
use super::os;
use super::trace::Trace;
use super::wire::{Stir, Wire};

/// Processes take it one after the other, then the network does. A packet arrives in a later step than it was sent in.
pub const STEP: Duration = Duration::from_millis(2);
/// Of a packet, on top of the steps it takes anyway.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(6));
/// Packets of one connection that nobody has read yet.
const PACKETS_MAX: usize = 1024;
/// A debug assertion of openraft's, in a replication stream of a leader that was overruled a moment ago: its log has become
/// shorter than what it had sent. Where it does not assert it looks at who leads next, and ends the stream.
const OVERTAKEN: &str = "read_log_entries received reversed range";
/// No world lives this long.
const FOREVER: Duration = Duration::from_secs(1 << 30);

pub struct World {
    pub random: Random,
    sim: Sim<'static>,
    names: Arc<Vec<String>>,
    links: Arc<Mutex<Links>>,
    trace: Arc<Mutex<Trace>>,
    stir: Arc<Stir>,
    hosts: Vec<Host>,
    epoch: Instant,
    now: Duration,
}

struct Host {
    wire: Wire,
    /// Of its process.
    runtime: Option<Runtime>,
    /// Since when it takes no steps.
    frozen_at: Option<Duration>,
    clock: Arc<HostClock>,
}

/// Wall-clock time, off by what the world says.
struct HostClock {
    epoch: Instant,
    offset_ms: AtomicI64,
    /// How often it was read while it was off.
    misled: AtomicU64,
}

impl Clock for HostClock {
    fn now_ms(&self) -> u64 {
        let true_ms = os::EPOCH_S * 1000 + Instant::now().duration_since(self.epoch).as_millis() as u64;
        let offset_ms = self.offset_ms.load(Relaxed);
        self.misled.fetch_add(u64::from(offset_ms != 0), Relaxed);
        true_ms.saturating_add_signed(offset_ms)
    }
}

impl World {
    /// Call it on a thread of [`os::run`].
    pub fn new(names: Vec<String>, seed: u64) -> World {
        assert!(os::is_simulated(), "a world needs a thread of its own");
        once_per_process();
        proto::seam::is_a_world();
        let (epoch, names) = (Instant::now(), Arc::new(names));
        let (links, trace) = (Arc::<Mutex<Links>>::default(), Arc::<Mutex<Trace>>::default());
        let (random, stir) = (Random::from_seed(seed), Arc::<Stir>::default());
        let mut sim = turmoil::Builder::new()
            .rng_seed(random.u64())
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(os::EPOCH_S))
            .simulation_duration(FOREVER)
            .tick_duration(STEP)
            .tcp_capacity(PACKETS_MAX)
            .min_message_latency(LATENCY.0)
            .max_message_latency(LATENCY.1)
            .build();
        let host = |(id, name): (HostId, &String)| {
            let clock = Arc::new(HostClock { epoch, offset_ms: AtomicI64::new(0), misled: AtomicU64::new(0) });
            let wire = Wire::new(id, names.clone(), links.clone(), trace.clone(), stir.clone());
            let machine = wire.clone();
            sim.host(name.as_str(), move || machine.software());
            Host { wire, runtime: None, frozen_at: None, clock }
        };
        let hosts = names.iter().enumerate().map(host).collect();
        World { random, sim, names, links, trace, stir, hosts, epoch, now: Duration::ZERO }
    }

    pub fn now(&self) -> Duration {
        self.now
    }

    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    pub fn trace(&self) -> Arc<Mutex<Trace>> {
        self.trace.clone()
    }

    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        self.trace.lock().expect("no holder of the trace panics").line(self.now.as_millis() as u64, what);
    }

    /// What a process on this host gets from its surroundings.
    pub fn env(&self, host: HostId) -> Env {
        Env {
            net: Arc::new(self.hosts[host].wire.clone()),
            clock: self.hosts[host].clock.clone(),
            random: Random::from_seed(self.random.u64()),
        }
    }

    pub fn set_clock_offset(&self, host: HostId, offset_ms: i64) {
        self.hosts[host].clock.offset_ms.store(offset_ms, Relaxed);
    }

    /// How often somebody on this host has read its clock while that was off.
    pub fn misled(&self, host: HostId) -> u64 {
        self.hosts[host].clock.misled.load(Relaxed)
    }

    pub fn runs(&self, host: HostId) -> bool {
        self.hosts[host].runtime.is_some()
    }

    /// Starts a process on a host that has none.
    pub fn boot(&mut self, host: HostId, main: impl Future<Output = ()> + Send + 'static) {
        assert!(!self.runs(host), "host {host} runs already");
        os::set_now(self.now);
        self.links().power(host, true);
        self.links().runs(host, true);
        self.relink_all(host);
        if !self.sim.is_host_running(self.names[host].as_str()) {
            self.sim.bounce(self.names[host].as_str());
        }
        self.stir.touch();
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without sockets needs nothing");
        runtime.spawn(main);
        self.hosts[host].runtime = Some(runtime);
    }

    /// How many tasks a host's process has.
    pub fn tasks(&self, host: HostId) -> usize {
        self.hosts[host].runtime.as_ref().map_or(0, |runtime| runtime.metrics().num_alive_tasks())
    }

    /// Lets a running host do something more.
    pub fn spawn(&self, host: HostId, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.hosts[host].runtime {
            runtime.spawn(task);
        }
    }

    /// Ends the process on a host at once; `powered`: its machine stays up and closes the connections. Without power
    /// nothing is heard of it any more, but for what was on its way.
    pub fn kill(&mut self, host: HostId, powered: bool) {
        os::set_now(self.now);
        self.hosts[host].frozen_at = None;
        drop(self.hosts[host].runtime.take());
        self.links().runs(host, false);
        let name = self.names[host].clone();
        self.stir.touch();
        match powered {
            true => self.sim.bounce(name.as_str()),
            false => {
                self.hasten(host);
                self.sim.crash(name.as_str());
                self.links().power(host, false);
                self.relink_all(host);
            }
        }
    }

    /// What a host has sent arrives with the next step, so that cutting it off loses nothing of that.
    fn hasten(&self, host: HostId) {
        let (own, links) = (self.sim.lookup(self.names[host].as_str()), self.links());
        let held = |other: usize| other != host && links.state(host, other) == State::Held;
        let names = self.names.iter().enumerate().filter(|(other, _)| held(*other)).map(|(_, name)| name.as_str());
        let held: Vec<_> = names.map(|name| self.sim.lookup(name)).collect();
        self.sim.links(|links| {
            for packet in links.flatten() {
                let (from, to) = packet.pair();
                if from.ip() == own && !held.contains(&to.ip()) {
                    packet.deliver();
                }
            }
        });
    }

    /// Cuts what goes from one host to another. Cuts add up: as many heals are needed.
    pub fn cut(&mut self, from: HostId, to: HostId, loss: Loss) {
        self.links().cut(from, to, loss);
        self.relink(from, to);
    }

    pub fn heal(&mut self, from: HostId, to: HostId) {
        self.links().heal(from, to);
        self.relink(from, to);
    }

    pub fn heal_all(&mut self, from: HostId, to: HostId) {
        self.links().heal_all(from, to);
        self.relink(from, to);
    }

    /// How many packets cuts have lost or held so far on their way from one host to another, for each of these ways.
    pub fn cut_off(&self, ways: &[(HostId, HostId)]) -> u64 {
        let links = self.links();
        ways.iter().map(|(from, to)| links.met(*from, *to)).sum()
    }

    /// How many packets ever went out.
    pub fn sent(&self) -> u64 {
        self.links().sent()
    }

    /// Packets between two hosts take longer, by up to half as much again.
    pub fn slow(&mut self, one: HostId, other: HostId, by: Duration) {
        let (one, other) = (self.names[one].as_str(), self.names[other].as_str());
        self.sim.set_link_latency(one, other, LATENCY.0 + by);
        self.sim.set_link_max_message_latency(one, other, LATENCY.1 + by * 3 / 2);
    }

    /// Breaks every connection between two hosts, as a firewall that forgot them does. Returns how many ends of one a process had.
    pub fn reset(&mut self, one: HostId, other: HostId) -> usize {
        let used = self.hosts[one].wire.break_with(other) + self.hosts[other].wire.break_with(one);
        self.stir.touch();
        used
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().expect("no holder of the links panics")
    }

    fn relink_all(&mut self, host: HostId) {
        (0..self.hosts.len()).filter(|other| *other != host).for_each(|other| self.relink(host, other));
    }

    /// Tells turmoil what has become of a link. It does not mix holding back with one-way cuts.
    fn relink(&self, one: HostId, other: HostId) {
        let Some((before, now)) = self.links().news(one, other) else { return };
        let name = |host: HostId| self.names[host].as_str();
        self.stir.touch();
        match before {
            State::Held => self.sim.release(name(one), name(other)),
            _ => self.sim.repair(name(one), name(other)),
        }
        match now {
            State::Healthy => {}
            State::OneWay(from, to) => self.sim.partition_oneway(name(from), name(to)),
            State::Held => self.sim.hold(name(one), name(other)),
            State::Cut => self.sim.partition(name(one), name(other)),
        }
    }

    /// The process makes no progress until it is thawed; then its clocks jump. Returns whether there is one that made any.
    pub fn freeze(&mut self, host: HostId) -> bool {
        let now = self.now;
        let goes_on = self.runs(host) && self.hosts[host].frozen_at.is_none();
        if goes_on {
            self.hosts[host].frozen_at = Some(now);
        }
        goes_on
    }

    pub fn thaw(&mut self, host: HostId) {
        let Some(since) = self.hosts[host].frozen_at.take() else { return };
        os::set_now(self.now);
        if let Some(runtime) = &self.hosts[host].runtime {
            runtime.block_on(tokio::time::advance(self.now - since));
        }
    }

    /// One step for every process that runs, then for the machines and their network.
    pub fn step(&mut self) {
        os::set_now(self.now);
        let until = self.epoch + self.now + STEP;
        for (id, host) in self.hosts.iter().enumerate() {
            if let (Some(runtime), None) = (&host.runtime, host.frozen_at) {
                os::set_host(Some(id));
                runtime.block_on(async { tokio::time::sleep_until(until).await });
            }
        }
        os::set_host(None);
        self.now += STEP;
        os::set_now(self.now);
        if self.is_network_busy() {
            self.sim.step().expect("a wire does not fail");
        }
    }

    /// A step of a network that has nothing to do costs as much as one of a process that has. It is left out: the network's
    /// own time, which nobody sees, then stands still.
    fn is_network_busy(&self) -> bool {
        let mut under_way = false;
        self.stir.take() || {
            self.sim.links(|links| under_way = links.flatten().next().is_some());
            under_way
        }
    }

    /// What panicked so far.
    pub fn panics(&self) -> Vec<String> {
        let counts = |panic: &&String| !panic.contains(OVERTAKEN);
        PANICS.with_borrow(|panics| panics.iter().filter(counts).cloned().collect())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.hosts.iter_mut().for_each(|host| drop(host.runtime.take()));
    }
}

thread_local! {
    static PANICS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A panic in a task ends only the task; the world must hear of it all the same. And where nobody listens to what the product
/// logs, that is said, for otherwise each span looks for a logger.
fn once_per_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error: somebody listens.
        let _ = tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::new());
        let otherwise = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match os::is_simulated() {
            true => PANICS.with_borrow_mut(|panics| panics.push(info.to_string())),
            false => otherwise(info),
        }));
    });
}

#[cfg(test)]
#[path = "world_tests.rs"]
mod tests;
