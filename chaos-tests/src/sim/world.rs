//! The hosts of a world, and its time. turmoil carries the network and steps its hosts, which run the machines' wires;
//! each process has an async runtime of its own, whose clock stands still but for what the world gives it, so that it
//! can be frozen while its machine goes on. Acts.

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::time::{Duration, SystemTime};

use proto::seam::{Clock, Env, Random};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use turmoil::Sim;

use super::links::{HostId, Links, Loss, State};
use super::os;
use super::trace::Trace;
use super::wire::Wire;

/// Processes take it one after the other, then the network does. A packet arrives in a later step than it was sent in.
pub const STEP: Duration = Duration::from_millis(2);
/// Of a packet, on top of the steps it takes anyway.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(6));
/// Packets of one connection that nobody has read yet.
const PACKETS_MAX: usize = 1024;
/// No world lives this long.
const FOREVER: Duration = Duration::from_secs(1 << 30);

pub struct World {
    pub random: Random,
    sim: Sim<'static>,
    names: Arc<Vec<String>>,
    links: Arc<Mutex<Links>>,
    trace: Arc<Mutex<Trace>>,
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
}

impl Clock for HostClock {
    fn now_ms(&self) -> u64 {
        let true_ms = os::EPOCH_S * 1000 + Instant::now().duration_since(self.epoch).as_millis() as u64;
        true_ms.saturating_add_signed(self.offset_ms.load(Relaxed))
    }
}

impl World {
    /// Call it on a thread of [`os::run`].
    pub fn new(names: Vec<String>, seed: u64) -> World {
        assert!(os::is_simulated(), "a world needs a thread of its own");
        note_panics();
        let (epoch, names) = (Instant::now(), Arc::new(names));
        let (links, trace) = (Arc::<Mutex<Links>>::default(), Arc::<Mutex<Trace>>::default());
        let random = Random::from_seed(seed);
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
            let clock = Arc::new(HostClock { epoch, offset_ms: AtomicI64::new(0) });
            let wire = Wire::new(id, names.clone(), links.clone(), trace.clone());
            let machine = wire.clone();
            sim.host(name.as_str(), move || machine.software());
            Host { wire, runtime: None, frozen_at: None, clock }
        };
        let hosts = names.iter().enumerate().map(host).collect();
        World { random, sim, names, links, trace, hosts, epoch, now: Duration::ZERO }
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

    pub fn runs(&self, host: HostId) -> bool {
        self.hosts[host].runtime.is_some()
    }

    /// Starts a process on a host that has none.
    pub fn boot(&mut self, host: HostId, main: impl Future<Output = ()> + Send + 'static) {
        assert!(!self.runs(host), "host {host} runs already");
        os::set_now(self.now);
        self.links().power(host, true);
        self.relink_all(host);
        if !self.sim.is_host_running(self.names[host].as_str()) {
            self.sim.bounce(self.names[host].as_str());
        }
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without sockets needs nothing");
        runtime.spawn(main);
        self.hosts[host].runtime = Some(runtime);
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
        let name = self.names[host].clone();
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

    /// Packets between two hosts take longer, by up to half as much again.
    pub fn slow(&mut self, one: HostId, other: HostId, by: Duration) {
        let (one, other) = (self.names[one].as_str(), self.names[other].as_str());
        self.sim.set_link_latency(one, other, LATENCY.0 + by);
        self.sim.set_link_max_message_latency(one, other, LATENCY.1 + by * 3 / 2);
    }

    /// Breaks every connection between two hosts, as a firewall that forgot them does.
    pub fn reset(&mut self, one: HostId, other: HostId) {
        self.hosts[one].wire.break_with(other);
        self.hosts[other].wire.break_with(one);
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

    /// The process makes no progress until it is thawed; then its clocks jump.
    pub fn freeze(&mut self, host: HostId) {
        let now = self.now;
        self.hosts[host].frozen_at.get_or_insert(now);
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
        for host in &self.hosts {
            if let (Some(runtime), None) = (&host.runtime, host.frozen_at) {
                runtime.block_on(async { tokio::time::sleep_until(until).await });
            }
        }
        self.now += STEP;
        os::set_now(self.now);
        self.sim.step().expect("a wire does not fail");
    }

    /// What panicked so far.
    pub fn panics(&self) -> Vec<String> {
        PANICS.with_borrow(Clone::clone)
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

/// A panic in a task ends only the task; the world must hear of it all the same.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let otherwise = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match os::is_simulated() {
            true => PANICS.with_borrow_mut(|panics| panics.push(info.to_string())),
            false => otherwise(info),
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server that answers every byte, a client that counts the answers.
    fn echo(world: &mut World) -> Arc<AtomicU64> {
        echo_server(world);
        let (net, answers) = (world.env(1).net, Arc::new(AtomicU64::new(0)));
        let counted = answers.clone();
        world.boot(1, async move {
            loop {
                let Ok(mut stream) = net.connect("server:7").await else { continue };
                while stream.write_u8(1).await.is_ok() && stream.read_u8().await.is_ok() {
                    counted.fetch_add(1, Relaxed);
                }
            }
        });
        answers
    }

    fn echo_server(world: &mut World) {
        let net = world.env(0).net;
        world.boot(0, async move {
            let mut listener = net.listen("0.0.0.0:7").await.unwrap();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        stream.write_u8(byte).await.unwrap();
                    }
                });
            }
        });
    }

    fn steps(world: &mut World, count: u64, answers: &AtomicU64) -> u64 {
        let before = answers.load(Relaxed);
        (0..count).for_each(|_| world.step());
        answers.load(Relaxed) - before
    }

    fn in_a_world<T: Send + 'static>(story: impl FnOnce(&mut World) -> T + Send + 'static) -> T {
        let run = move || story(&mut World::new(vec!["server".into(), "client".into()], 1));
        os::run(1, run).expect("the story holds")
    }

    fn cut(world: &mut World, loss: Loss) {
        world.cut(0, 1, loss);
        world.cut(1, 0, loss);
    }

    fn heal(world: &mut World) {
        world.heal(0, 1);
        world.heal(1, 0);
    }

    #[test]
    fn bytes_take_time_and_a_cut_holds_or_loses_them() {
        in_a_world(|world| {
            let answers = echo(world);
            let freely = steps(world, 500, &answers);
            assert!((60..130).contains(&freely), "a second at 8 to 16 ms per answer: {freely}");
            cut(world, Loss::Held);
            assert_eq!(steps(world, 100, &answers), 0);
            heal(world);
            assert!(steps(world, 100, &answers) > 10, "the same connection goes on");
            cut(world, Loss::Lost);
            assert_eq!(steps(world, 100, &answers), 0);
            heal(world);
            assert_eq!(steps(world, 500, &answers), 0, "the connection is dead and does not say so");
            world.reset(0, 1);
            assert!(steps(world, 100, &answers) > 10, "a new one");
        });
    }

    #[test]
    fn one_way_means_one_way() {
        in_a_world(|world| {
            world.cut(0, 1, Loss::Lost);
            let heard = Arc::new(AtomicU64::new(0));
            let (net, counted) = (world.env(0).net, heard.clone());
            world.boot(0, async move {
                let (mut stream, _) = net.listen("0.0.0.0:7").await.unwrap().accept().await.unwrap();
                while stream.read_u8().await.is_ok() {
                    counted.fetch_add(1, Relaxed);
                    stream.write_u8(1).await.unwrap();
                }
            });
            let (net, answers) = (world.env(1).net, Arc::new(AtomicU64::new(0)));
            let counted = answers.clone();
            world.boot(1, async move {
                let mut stream = net.connect("server:7").await.unwrap();
                stream.write_u8(1).await.unwrap();
                stream.read_u8().await.unwrap();
                counted.fetch_add(1, Relaxed);
            });
            steps(world, 200, &answers);
            assert_eq!((heard.load(Relaxed), answers.load(Relaxed)), (1, 0));
        });
    }

    #[test]
    fn a_lost_request_for_a_connection_is_sent_again_and_a_refused_one_is_not() {
        in_a_world(|world| {
            cut(world, Loss::Lost);
            let (net, done) = (world.env(1).net, Arc::new(AtomicU64::new(0)));
            let counted = done.clone();
            world.boot(1, async move {
                let refused = net.connect("server:8").await.map(drop).unwrap_err();
                assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
                counted.fetch_add(1, Relaxed);
            });
            assert_eq!(steps(world, 1000, &done), 0, "silence");
            heal(world);
            assert_eq!(steps(world, 600, &done), 1);
            assert!(world.panics().is_empty());
        });
    }

    #[test]
    fn a_frozen_process_goes_on_where_it_stood_and_a_killed_one_is_noticed() {
        in_a_world(|world| {
            let answers = echo(world);
            steps(world, 50, &answers);
            world.freeze(0);
            assert!(steps(world, 100, &answers) <= 1);
            world.thaw(0);
            assert!(steps(world, 100, &answers) > 10);
            world.kill(0, true);
            steps(world, 20, &answers);
            assert_eq!(steps(world, 100, &answers), 0, "refused, again and again");
            echo_server(world);
            assert!(steps(world, 100, &answers) > 10);
            assert!(world.panics().is_empty());
        });
    }

    #[test]
    fn a_machine_without_power_is_silent_and_back_again_it_knows_no_connection() {
        in_a_world(|world| {
            let answers = echo(world);
            steps(world, 50, &answers);
            world.kill(0, false);
            assert!(steps(world, 1000, &answers) <= 1);
            let (net, ended) = (world.env(1).net, Arc::new(AtomicU64::new(0)));
            let counted = ended.clone();
            world.spawn(1, async move {
                drop(net.connect("server:7").await);
                counted.fetch_add(1, Relaxed);
            });
            assert_eq!(steps(world, 1000, &ended), 0, "nobody says that nobody is there");
            echo_server(world);
            assert_eq!(steps(world, 1000, &ended), 1);
        });
    }

    #[test]
    fn a_panic_in_a_task_is_noted() {
        in_a_world(|world| {
            world.boot(0, async { panic!("by intent") });
            world.step();
            assert!(world.panics()[0].contains("by intent"));
        });
    }
}
