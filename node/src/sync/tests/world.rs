//! A world for one Pod: performs the decided steps on containers in memory, as an engine would. Time stands until it is
//! moved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use serde_json::Value;

use crate::pod::{Capacity, Host, Refs};
use crate::runtime::{Container, ContainerId, ContainerSpec, Exit, Owner, Role, Signal, StartError, State};
use crate::session::Work;
use crate::sync::{Decision, Input, Memory, Note, Outcome, Policy, Slot, Step, decide};

pub struct World {
    pub pod: Pod,
    pub work: Work,
    pub memory: Memory,
    pub containers: Vec<Container>,
    pub removed: bool,
    /// One of its containers is there and could not be looked at.
    pub unseen: bool,
    /// No leader has said that it is still this node's.
    pub unconfirmed: bool,
    pub now: Timestamp,
    /// What the wall clock, which the engine goes by, has been set forward by.
    pub wall_ahead: SignedDuration,
    pub status: Option<PodStatus>,
    pub notes: Vec<Note>,
    pub probes: Vec<String>,
    pub steps: Vec<String>,
    /// Begun and not finished.
    pub pending: Vec<Step>,
    /// Images whose containers fail to be pulled or started: (reason, message).
    pub broken: BTreeMap<String, (&'static str, String)>,
    pub cannot_start: bool,
    pub recheck_at: Option<Timestamp>,
    pub forgotten: bool,
    pub object_deleted: bool,
    host: Host,
    policy: Policy,
    made: u32,
}

impl World {
    pub fn new(spec: Value) -> World {
        let pod = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
            "spec": spec,
        });
        World {
            pod: serde_json::from_value(pod).unwrap(),
            work: Work { term: 1, sequence: 1, ..Work::default() },
            memory: Memory::default(),
            containers: Vec::new(),
            removed: false,
            unseen: false,
            unconfirmed: false,
            wall_ahead: SignedDuration::ZERO,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            status: None,
            notes: Vec::new(),
            probes: Vec::new(),
            steps: Vec::new(),
            pending: Vec::new(),
            broken: BTreeMap::new(),
            cannot_start: false,
            recheck_at: None,
            forgotten: false,
            object_deleted: false,
            host: Host {
                owner: Owner { cluster: "c".into(), node: "n1".into() },
                node_name: "n1".into(),
                ip: "192.168.0.1".parse().unwrap(),
                data_dir: PathBuf::from("/data"),
                pause_image: "pause".into(),
                pod_network: "pods".into(),
                dns_servers: Vec::new(),
                cluster_domain: "cluster.local".into(),
                capacity: Capacity { cpu_milli: 4000, memory_bytes: 8 << 30, storage_bytes: 1 << 40, pods: 110 },
            },
            policy: Policy::default(),
            made: 0,
        }
    }

    pub fn put(&mut self, key: &str, object: Value) {
        self.work.items.insert(key.to_owned(), Bytes::from(object.to_string()));
    }

    /// One decision; its steps begin.
    pub fn decide(&mut self) {
        let input = Input {
            pod: &self.pod,
            containers: &self.containers,
            refs: Refs(&self.work),
            host: &self.host,
            policy: &self.policy,
            removed: self.removed,
            unseen: self.unseen,
            unconfirmed: self.unconfirmed,
            now: self.now,
            wall: self.wall(),
        };
        let decision: Decision = decide(&input, &mut self.memory);
        self.notes.extend(decision.notes);
        self.probes = decision.probes.iter().map(|want| format!("{} {}", want.container, want.kind.word())).collect();
        if let Some(status) = decision.status {
            self.status = Some(status);
        }
        self.recheck_at = decision.recheck_at;
        self.forgotten |= decision.forget;
        for step in decision.steps {
            self.steps.push(describe(&step));
            self.pending.push(step);
        }
    }

    /// Decides and performs until nothing is left to do at this time.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            self.decide();
            if self.pending.is_empty() {
                return;
            }
            while !self.pending.is_empty() {
                self.finish(0);
            }
        }
        panic!("never settles; the last steps: {:?}", &self.steps[self.steps.len() - 10..]);
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.settle();
    }

    /// Lets time pass up to `seconds`, stopping wherever a decision wants to be made again.
    pub fn pass_in_steps(&mut self, seconds: i64) {
        let end = self.now + SignedDuration::from_secs(seconds);
        self.settle();
        for _ in 0..10_000 {
            match self.recheck_at.filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// A pending step ends.
    pub fn finish(&mut self, index: usize) {
        let step = self.pending.remove(index);
        let (policy, now) = (self.policy, self.now);
        match step {
            Step::MakeSandbox { spec, volumes } => {
                self.make(&spec);
                let fingerprint = crate::volumes::fingerprint(&volumes);
                self.memory.note(&Slot::Sandbox, Outcome::Published { fingerprint }, &policy, now);
            }
            Step::RefreshVolumes { fingerprint, .. } => {
                let outcome = Outcome::Published { fingerprint: Some(fingerprint) };
                self.memory.note(&Slot::Volumes, outcome, &policy, now);
            }
            Step::Start { container, spec, .. } => {
                let outcome = match self.broken.get(&spec.image) {
                    Some((reason, message)) => Outcome::Failed { reason, message: message.clone() },
                    None => {
                        self.make(&spec);
                        Outcome::Done
                    }
                };
                self.memory.note(&Slot::Container(container), outcome, &policy, now);
            }
            Step::CancelStart { container } => {
                let is_start =
                    |step: &Step| matches!(step, Step::Start { container: other, .. } if *other == container);
                if let Some(start) = self.pending.iter().position(is_start) {
                    self.pending.remove(start);
                    let outcome = Outcome::Failed { reason: "Cancelled", message: String::new() };
                    self.memory.note(&Slot::Container(container), outcome, &policy, now);
                }
            }
            Step::PreStop { container, id, .. } => self.memory.note_pre_stop(&container, &id),
            Step::Signal { container, id, signal } => {
                let ignores = self.labels_of(&id).is_some_and(|image| image == "stubborn");
                match signal {
                    Signal::Kill => self.exit(&id, 137),
                    Signal::Stop if ignores => {}
                    Signal::Stop => self.exit(&id, 143),
                }
                self.memory.note_signal(&container, &id, true, now);
            }
            Step::Sweep { ids } => {
                self.containers.retain(|container| !ids.contains(&container.id));
                self.memory.note(&Slot::Sweep, Outcome::Done, &policy, now);
            }
            Step::Clean { ids, .. } => {
                self.containers.retain(|container| !ids.contains(&container.id));
                self.memory.note(&Slot::Sandbox, Outcome::Done, &policy, now);
            }
            Step::DeleteObject => {
                self.object_deleted = true;
                self.memory.note(&Slot::Object, Outcome::Done, &policy, now);
            }
        }
    }

    /// A pending step fails as an engine that does not answer makes it fail. `seen`: it had its effect all the same.
    pub fn fail(&mut self, index: usize) {
        let step = self.pending.remove(index);
        let (policy, now) = (self.policy, self.now);
        let slot = match &step {
            Step::MakeSandbox { .. } | Step::Clean { .. } => Slot::Sandbox,
            Step::RefreshVolumes { .. } => Slot::Volumes,
            Step::Start { container, .. } => Slot::Container(container.clone()),
            // The start goes on to its own end.
            Step::CancelStart { .. } => return,
            Step::Sweep { .. } => Slot::Sweep,
            Step::DeleteObject => Slot::Object,
            Step::PreStop { container, id, .. } => return self.memory.note_pre_stop(container, id),
            Step::Signal { container, id, .. } => return self.memory.note_signal(container, id, false, now),
        };
        let outcome = Outcome::Failed { reason: "RunContainerError", message: "no answer".into() };
        self.memory.note(&slot, outcome, &policy, now);
    }

    fn wall(&self) -> Timestamp {
        self.now + self.wall_ahead
    }

    /// The agent is killed and started again: what it began is lost, what it remembered too.
    pub fn restart_agent(&mut self) {
        self.pending.clear();
        self.pod.status = self.status.clone();
        self.memory = Memory::of(&self.pod);
    }

    fn make(&mut self, spec: &ContainerSpec) {
        let name_taken = self.containers.iter().any(|container| {
            container.labels.container == spec.labels.container && container.labels.attempt == spec.labels.attempt
        });
        // The engine refuses a second container of the same name.
        if name_taken {
            return;
        }
        self.made += 1;
        let at = self.wall();
        let error = (self.cannot_start && spec.labels.role != Role::Pause)
            .then(|| StartError { exit_code: 127, message: "exec: \"nope\": not found".into() });
        self.containers.push(Container {
            id: ContainerId(format!("c{}", self.made)),
            labels: spec.labels.clone(),
            state: match error {
                Some(error) => State::Created { at, error: Some(error) },
                None => State::Running { started_at: at },
            },
            image_id: spec.image.clone(),
            ip: (spec.labels.role == Role::Pause).then(|| "10.244.0.5".parse().unwrap()),
            tty: false,
        });
    }

    fn labels_of(&self, id: &ContainerId) -> Option<String> {
        self.containers.iter().find(|container| container.id == *id).map(|container| container.image_id.clone())
    }

    pub fn exit(&mut self, id: &ContainerId, exit_code: i32) {
        let now = self.wall();
        if let Some(container) = self.containers.iter_mut().find(|container| container.id == *id)
            && let State::Running { started_at } = container.state
        {
            container.state =
                State::Exited(Exit { started_at, finished_at: now, exit_code, oom_killed: false, message: None });
        }
    }

    pub fn running(&self, name: &str) -> Vec<&Container> {
        let running = self.containers.iter().filter(|container| matches!(container.state, State::Running { .. }));
        running.filter(|container| container.labels.container == name).collect()
    }

    pub fn exit_named(&mut self, name: &str, exit_code: i32) {
        let ids: Vec<ContainerId> = self.running(name).iter().map(|container| container.id.clone()).collect();
        for id in ids {
            self.exit(&id, exit_code);
        }
    }

    /// Whether the engine says of all ends of a container so far that the kernel killed for memory.
    pub fn say_out_of_memory(&mut self, name: &str, said: bool) {
        for container in self.containers.iter_mut().filter(|container| container.labels.container == name) {
            if let State::Exited(exit) = &mut container.state {
                exit.oom_killed = said;
            }
        }
    }

    pub fn phase(&self) -> &str {
        self.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
    }

    pub fn container(&self, name: &str) -> &ContainerStatus {
        let status = self.status.as_ref().expect("a status was reported");
        let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        all.into_iter().find(|status| status.name == name).expect("the container is reported")
    }

    /// `waiting CrashLoopBackOff`, `running`, `terminated Error 1`.
    pub fn state(&self, name: &str) -> String {
        word(self.container(name).state.as_ref())
    }

    pub fn last_state(&self, name: &str) -> String {
        word(self.container(name).last_state.as_ref())
    }

    pub fn condition(&self, name: &str) -> &str {
        let status = self.status.as_ref().expect("a status was reported");
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == name).map_or("", |condition| condition.status.as_str())
    }

    pub fn reasons(&self) -> Vec<&'static str> {
        self.notes.iter().map(|note| note.reason).collect()
    }

    pub fn delete(&mut self, grace_s: i64) {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
        let at = self.now + SignedDuration::from_secs(grace_s);
        // As on the wire: whole seconds.
        self.pod.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::from_second(at.as_second()).unwrap()));
        self.pod.metadata.deletion_grace_period_seconds = Some(grace_s);
    }

    pub fn set_policy(&mut self, base: Duration, max: Duration) {
        self.policy = Policy { base, max, ..Policy::default() };
    }
}

fn word(state: Option<&k8s_openapi::api::core::v1::ContainerState>) -> String {
    let Some(state) = state else { return String::new() };
    if let Some(waiting) = &state.waiting {
        return format!("waiting {}", waiting.reason.as_deref().unwrap_or(""));
    }
    if let Some(end) = &state.terminated {
        return format!("terminated {} {}", end.reason.as_deref().unwrap_or(""), end.exit_code);
    }
    if state.running.is_some() { "running".into() } else { String::new() }
}

fn describe(step: &Step) -> String {
    match step {
        Step::MakeSandbox { spec, .. } => format!("sandbox {}", spec.labels.attempt),
        Step::RefreshVolumes { .. } => "refresh".into(),
        Step::Start { container, spec, .. } => format!("start {container} {}", spec.labels.attempt),
        Step::CancelStart { container } => format!("cancel {container}"),
        Step::PreStop { container, .. } => format!("prestop {container}"),
        Step::Signal { container, signal, .. } => format!("{signal:?} {container}").to_lowercase(),
        Step::Sweep { ids } => format!("sweep {}", ids.len()),
        Step::Clean { ids, .. } => format!("clean {}", ids.len()),
        Step::DeleteObject => "delete".into(),
    }
}
