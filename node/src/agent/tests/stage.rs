//! An agent, its engine and its cluster, all in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use proto::seam::{Clock, Env};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Directory, Setting};
use crate::config::Pace;
use crate::pod::{Capacity, Host};
use crate::report::{self, Rehearsal, Reporter};
use crate::runtime::fake::Fake;
use crate::runtime::{Container, NetworkSpec, Owner, Role};
use crate::sync::Policy;

/// Wall-clock time that follows tokio's, but for the steps that it is made to take.
struct Paused {
    began: Instant,
    steps_ms: AtomicI64,
}

impl Clock for Paused {
    fn now_ms(&self) -> u64 {
        let passed_ms = self.began.elapsed().as_millis() as i64;
        1_767_225_600_000_u64.saturating_add_signed(passed_ms + self.steps_ms.load(Ordering::Relaxed))
    }
}

pub struct Stage {
    env: Env,
    wall: Arc<Paused>,
    pub fake: Fake,
    pub cluster: Rehearsal,
    pub dir: tempfile::TempDir,
    running: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Stage {
    pub fn new() -> Stage {
        let mut env = Env::real();
        let wall = Arc::new(Paused { began: Instant::now(), steps_ms: AtomicI64::new(0) });
        env.clock = wall.clone();
        let fake = Fake::new(env.clock.clone());
        for image in ["pause", "nginx:1"] {
            fake.add_image(image);
        }
        let dir = tempfile::tempdir().unwrap();
        Stage { env, wall, fake, cluster: Rehearsal::default(), dir, running: None }
    }

    pub fn agent(&self, reporter: Reporter) -> Agent {
        Agent::new(Setting {
            env: self.env.clone(),
            runtime: Arc::new(self.fake.clone()),
            host: host(self.dir.path()),
            network: NetworkSpec { name: "pods".into(), subnet: "10.244.0.0/16".into() },
            api: Arc::new(self.cluster.clone()),
            reporter,
            directory: Arc::new(Directory::default()),
            back_off: Policy::default(),
            pace: Pace::default(),
            steps_max: 4,
        })
    }

    pub fn begin(&mut self) {
        let (shutdown, reporter, api) = (CancellationToken::new(), Reporter::default(), Arc::new(self.cluster.clone()));
        let agent = self.agent(reporter.clone());
        let (work, token) = (self.cluster.work(), shutdown.clone());
        let task = tokio::spawn(async move {
            tokio::join!(agent.run(work, token.clone()), report::run(reporter, api, token));
        });
        self.running = Some((task, shutdown));
    }

    /// As a kill does it: nothing is seen to.
    pub async fn kill(&mut self) {
        if let Some((task, shutdown)) = self.running.take() {
            task.abort();
            let _ = task.await;
            shutdown.cancel();
        }
    }

    pub async fn until(&self, what: &str, longest_s: u64, met: impl Fn(&Stage) -> bool) {
        let end = Instant::now() + Duration::from_secs(longest_s);
        while !met(self) {
            assert!(Instant::now() < end, "{what}: not within {longest_s} s; writes: {:?}", self.cluster.writes());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn phase(&self, name: &str) -> String {
        self.cluster.status(name).phase.unwrap_or_default()
    }

    pub fn apps(&self, pod: &str) -> Vec<Container> {
        let running = self.fake.running().into_iter();
        running.filter(|one| one.labels.pod_name == pod && one.labels.role == Role::App).collect()
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.env.clock.now_ms() as i64).unwrap()
    }

    /// Somebody sets the wall clock, of the engine's host too.
    pub fn step_clock(&self, seconds: i64) {
        self.wall.steps_ms.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    pub fn has_event(&self, reason: &str) -> bool {
        self.cluster.events().iter().any(|event| event.reason.as_deref() == Some(reason))
    }
}

fn host(dir: &Path) -> Host {
    Host {
        owner: Owner { cluster: "c".into(), node: "n1".into() },
        node_name: "n1".into(),
        ip: "192.168.0.1".parse().unwrap(),
        data_dir: dir.to_owned(),
        pause_image: "pause".into(),
        pod_network: "pods".into(),
        dns_servers: Vec::new(),
        cluster_domain: "cluster.local".into(),
        capacity: Capacity { cpu_milli: 4000, memory_bytes: 8 << 30, storage_bytes: 1 << 40, pods: 110 },
    }
}
