//! The hosts of a world, and its time. Each running host has an async runtime of its own, whose clock stands still
//! but for what the world gives it. Acts.

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use proto::seam::{Clock, Env, Random};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::net::{HostId, LATENCY_MIN, Network};
use super::os;
use super::trace::Trace;

/// Nothing sent within a step arrives within it, so hosts may take it one after the other.
const STEP: Duration = LATENCY_MIN;

pub struct World {
    pub network: Network,
    pub random: Random,
    trace: Arc<Mutex<Trace>>,
    hosts: Vec<Host>,
    epoch: Instant,
    now: Duration,
}

struct Host {
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
        let epoch = Instant::now();
        let host = |_: &String| {
            let clock = Arc::new(HostClock { epoch, offset_ms: AtomicI64::new(0) });
            Host { runtime: None, frozen_at: None, clock }
        };
        let hosts = names.iter().map(host).collect();
        let trace = Arc::<Mutex<Trace>>::default();
        let random = Random::from_seed(seed);
        let network = Network::new(names, Random::from_seed(random.u64()), trace.clone());
        World { network, random, trace, hosts, epoch, now: Duration::ZERO }
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
            net: self.network.of(host),
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
        self.network.powered_on(host);
        os::set_now(self.now);
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

    /// Ends the process on a host at once; `powered`: its machine stays up and closes the connections.
    pub fn kill(&mut self, host: HostId, powered: bool) {
        self.network.process_ended(host, powered);
        self.hosts[host].frozen_at = None;
        drop(self.hosts[host].runtime.take());
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

    /// One step for every host that runs.
    pub fn step(&mut self) {
        os::set_now(self.now);
        self.network.deliver(self.now);
        let until = self.epoch + self.now + STEP;
        for host in &self.hosts {
            if let (Some(runtime), None) = (&host.runtime, host.frozen_at) {
                runtime.block_on(async { tokio::time::sleep_until(until).await });
            }
        }
        self.now += STEP;
        os::set_now(self.now);
    }

    /// What panicked so far.
    pub fn panics(&self) -> Vec<String> {
        PANICS.with_borrow(Clone::clone)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for host in 0..self.hosts.len() {
            self.kill(host, false);
        }
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

    fn steps(world: &mut World, count: u64, answers: &AtomicU64) -> u64 {
        let before = answers.load(Relaxed);
        (0..count).for_each(|_| world.step());
        answers.load(Relaxed) - before
    }

    fn in_a_world<T: Send + 'static>(story: impl FnOnce(&mut World) -> T + Send + 'static) -> T {
        let run = move || story(&mut World::new(vec!["server".into(), "client".into()], 1));
        os::run(1, run).expect("the story holds")
    }

    #[test]
    fn bytes_take_time_and_a_cut_holds_them_back() {
        in_a_world(|world| {
            let answers = echo(world);
            let freely = steps(world, 500, &answers);
            assert!((100..250).contains(&freely), "a second at 4 to 8 ms per answer: {freely}");
            world.network.cut(0, 1);
            assert_eq!(steps(world, 100, &answers), 0);
            world.network.heal(0, 1);
            assert!(steps(world, 100, &answers) > 10, "the same connection goes on");
        });
    }

    #[test]
    fn a_frozen_host_goes_on_where_it_stood_and_a_killed_one_is_noticed() {
        in_a_world(|world| {
            let answers = echo(world);
            steps(world, 10, &answers);
            world.freeze(0);
            assert!(steps(world, 100, &answers) <= 1);
            world.thaw(0);
            assert!(steps(world, 100, &answers) > 10);
            world.kill(0, true);
            steps(world, 10, &answers);
            assert_eq!(steps(world, 100, &answers), 0, "refused, again and again");
            assert!(world.panics().is_empty());
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
