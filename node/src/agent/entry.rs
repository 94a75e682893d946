//! What the agent's loop keeps of one Pod, and whether its status must be told once more. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::directory::Place;
use crate::pod::{name, namespace, on_host_network, spec_of};
use crate::report::merged_fields;
use crate::runtime::{Container, ContainerId, Labels};
use crate::sync::{Memory, ProbeKind, sandbox};

/// Containers whose Pod nobody knows any more end within this.
const ORPHAN_GRACE_S: i64 = 5;

/// A report that is not to be seen for so long was refused, or overtaken by an older one, which a replica had held back.
const DOUBT: SignedDuration = SignedDuration::from_secs(5);

pub struct Entry {
    pub pod: Arc<Pod>,
    /// As it was sent, to see whether it has changed.
    pub json: Bytes,
    pub removed: bool,
    pub memory: Memory,
    /// With the time at which each was seen.
    pub containers: BTreeMap<ContainerId, (Instant, Container)>,
    /// The status that was last handed to the reporter.
    pub sent: Option<PodStatus>,
    /// The Pod has come with that status since.
    pub confirmed: bool,
    /// When to look whether it has: a while after it was handed over, or the Pod came with another one.
    pub doubt_at: Option<Timestamp>,
    /// The status that was told a second time for that: not a third time.
    pub retold: Option<PodStatus>,
    pub starts: BTreeMap<String, CancellationToken>,
    pub probes: BTreeMap<(ContainerId, ProbeKind), CancellationToken>,
    pub recheck_at: Option<Timestamp>,
}

impl Entry {
    pub fn new(pod: Pod, json: Bytes) -> Entry {
        Entry {
            memory: Memory::of(&pod),
            sent: pod.status.clone(),
            confirmed: false,
            doubt_at: None,
            retold: None,
            pod: Arc::new(pod),
            json,
            removed: false,
            containers: BTreeMap::new(),
            starts: BTreeMap::new(),
            probes: BTreeMap::new(),
            recheck_at: None,
        }
    }

    /// For containers that no Pod accounts for: what their labels tell of it.
    pub fn orphan(labels: &Labels) -> Entry {
        let metadata = ObjectMeta {
            name: Some(labels.pod_name.clone()),
            namespace: Some(labels.pod_namespace.clone()),
            uid: Some(labels.pod_uid.clone()),
            ..ObjectMeta::default()
        };
        let spec = PodSpec { termination_grace_period_seconds: Some(ORPHAN_GRACE_S), ..PodSpec::default() };
        let pod = Pod { metadata, spec: Some(spec), status: None };
        Entry { removed: true, ..Entry::new(pod, Bytes::new()) }
    }

    /// The Pod's object is another one now. Where it has had the status that was sent last, and has another one again, an older
    /// report was carried out late: the newest is told once more. Where it was not seen with that status it may yet come.
    pub fn renew(&mut self, pod: Pod, json: Bytes, now: Timestamp) {
        if is_written_off(&pod) {
            self.sent = None;
        }
        (self.pod, self.json, self.removed) = (Arc::new(pod), json, false);
        let stands = self.stands();
        if self.confirmed && !stands {
            self.sent = None;
        }
        self.confirmed = stands;
        self.doubt_at = (!stands && self.sent.is_some()).then(|| now + DOUBT);
    }

    /// Is there nothing in this status that was not handed to the reporter, or stood there when the agent began?
    pub fn has_told(&self, status: &PodStatus) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent == status || covers(Some(sent), status))
    }

    /// This status is handed to the reporter, who does not say what becomes of it.
    pub fn told(&mut self, status: PodStatus, now: Timestamp) {
        self.sent = Some(status);
        self.confirmed = false;
        self.doubt_at = Some(now + DOUBT);
    }

    /// What was sent has had its time to arrive. Returns whether it must be told once more.
    pub fn doubt(&mut self, now: Timestamp) -> bool {
        if self.doubt_at.is_none_or(|at| at > now) {
            return false;
        }
        self.doubt_at = None;
        let again = !self.stands() && self.sent.is_some() && self.sent != self.retold;
        if again {
            self.retold = self.sent.take();
        }
        again
    }

    /// Its containers are here, and no Pod that could be read has accounted for them.
    pub fn is_orphan(&self) -> bool {
        self.json.is_empty()
    }

    /// As assignments name the Pod.
    pub fn key(&self) -> String {
        format!("pods/{}/{}", namespace(&self.pod), name(&self.pod))
    }

    fn stands(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| covers(self.pod.status.as_ref(), sent))
    }

    pub fn containers(&self) -> Vec<Container> {
        self.containers.values().map(|(_, container)| container.clone()).collect()
    }

    /// `host`: the address of Pods on the host's network. A sandbox that has ended may still be here, with the address that
    /// it had.
    pub fn place(&self, host: IpAddr) -> Place {
        let spec = spec_of(&self.pod);
        let names = spec.init_containers.iter().flatten().chain(&spec.containers).map(|one| one.name.clone());
        let containers = self.containers();
        let ip = match on_host_network(&self.pod) {
            true => Some(host),
            false => sandbox(&containers).and_then(|sandbox| sandbox.ip),
        };
        Place { uid: crate::pod::uid(&self.pod).to_owned(), names: names.collect(), ip, containers }
    }
}

/// The leader has not heard of this node for a while and called its Pods unready (`node_lifecycle/evict.rs`). That stands
/// until their statuses are reported anew, though they are what they were.
fn is_written_off(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| {
        condition.type_ == "Ready" && condition.status == "False" && condition.reason.as_deref() == Some("NodeNotReady")
    })
}

/// Would it change nothing to merge what was sent into what stands there?
fn covers(stored: Option<&PodStatus>, sent: &PodStatus) -> bool {
    serde_json::to_value(stored).is_ok_and(|stored| covers_value(&stored, &merged_fields(sent)))
}

/// Conditions are merged by type: those of others stand beside the agent's own. All other lists are replaced, and `null`
/// removes.
fn covers_value(stored: &Value, sent: &Value) -> bool {
    match sent {
        Value::Object(sent) => sent.iter().all(|(name, sent)| match (name.as_str(), sent) {
            ("conditions", Value::Array(sent)) => sent.iter().all(|sent| has_condition(&stored["conditions"], sent)),
            (name, sent) => covers_value(&stored[name], sent),
        }),
        sent => stored == sent,
    }
}

fn has_condition(stored: &Value, sent: &Value) -> bool {
    let mut stored = stored.as_array().into_iter().flatten();
    stored.any(|stored| stored["type"] == sent["type"] && covers_value(stored, sent))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::runtime::{Exit, Role, State};

    fn pod(status: &Value) -> Pod {
        Pod { status: Some(serde_json::from_value(status.clone()).unwrap()), ..Pod::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn pending() -> Value {
        json!({"phase": "Pending"})
    }

    fn running() -> Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    }

    fn unready(reason: &str) -> Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "reason": reason}]})
    }

    /// It was reported to run, and nobody has seen it so yet.
    fn reported() -> Entry {
        Entry { sent: pod(&running()).status, ..Entry::new(pod(&pending()), Bytes::new()) }
    }

    /// Seed 6 of the simulated clusters: the leader's word came between the report and the sight of it.
    #[test]
    fn a_pod_that_was_called_unready_is_told_again_at_once_though_it_was_never_seen_as_reported() {
        let mut entry = reported();
        entry.renew(pod(&unready("NodeNotReady")), Bytes::new(), at(0));
        assert_eq!(entry.sent, None);
        let mut entry = reported();
        entry.renew(pod(&unready("ContainersNotReady")), Bytes::new(), at(0));
        assert_eq!(entry.sent, pod(&running()).status, "that was its own word, and the newest may yet come");
    }

    /// Seed 111 of the simulated clusters: all that was ever seen is the older report, which a replica had held back.
    #[test]
    fn a_report_that_is_not_seen_to_arrive_is_told_once_more_after_a_while_and_not_a_third_time() {
        let mut entry = reported();
        entry.renew(pod(&pending()), Bytes::new(), at(0));
        assert!(!entry.doubt(at(4)) && entry.sent.is_some(), "it may yet come");
        assert!(entry.doubt(at(5)) && entry.sent.is_none());
        entry.sent = pod(&running()).status;
        entry.renew(pod(&pending()), Bytes::new(), at(6));
        assert!(!entry.doubt(at(60)) && entry.sent.is_some());
        let mut entry = reported();
        entry.renew(pod(&running()), Bytes::new(), at(0));
        assert!(!entry.doubt(at(60)) && entry.sent.is_some(), "it has arrived");
    }

    fn sandbox_at(ip: &str, attempt: u32, state: State) -> (Instant, Container) {
        let text = String::new;
        let labels = Labels {
            cluster: text(),
            node: text(),
            pod_uid: text(),
            pod_namespace: text(),
            pod_name: text(),
            container: text(),
            role: Role::Pause,
            attempt,
            hash: text(),
            sandbox: text(),
            failures: 0,
        };
        let (id, ip) = (ContainerId(ip.to_owned()), ip.parse().ok());
        (Instant::now(), Container { id, labels, state, image_id: text(), ip, tty: false })
    }

    #[test]
    fn a_pod_is_where_that_sandbox_is_that_runs_or_where_its_host_is() {
        let host: IpAddr = "192.168.0.1".parse().unwrap();
        let runs = State::Running { started_at: at(1) };
        let (started_at, finished_at) = (at(0), at(1));
        let ended = State::Exited(Exit { started_at, finished_at, exit_code: 137, oom_killed: false, message: None });
        let mut entry = Entry::new(pod(&running()), Bytes::new());
        // Engines give ids in no order.
        entry.containers.insert(ContainerId("z".into()), sandbox_at("10.0.0.1", 0, ended));
        assert_eq!(entry.place(host).ip, None);
        entry.containers.insert(ContainerId("a".into()), sandbox_at("10.0.0.2", 1, runs));
        assert_eq!(entry.place(host).ip, "10.0.0.2".parse().ok());
        let spec = PodSpec { host_network: Some(true), ..PodSpec::default() };
        entry.pod = Arc::new(Pod { spec: Some(spec), ..Pod::default() });
        assert_eq!(entry.place(host).ip, Some(host));
    }

    #[test]
    fn a_report_stands_beside_conditions_of_others_and_not_beside_what_it_takes_away() {
        let scheduled = json!({"type": "PodScheduled", "status": "True"});
        let with = |own: Value| pod(&json!({"phase": "Running", "conditions": [scheduled, own]}));
        let mut entry = reported();
        entry.renew(with(json!({"type": "Ready", "status": "True"})), Bytes::new(), at(0));
        assert!(entry.confirmed && entry.doubt_at.is_none());
        entry.renew(with(json!({"type": "Ready", "status": "True", "reason": "Older"})), Bytes::new(), at(1));
        assert_eq!((entry.confirmed, &entry.sent), (false, &None), "the newest is told again at once");
        let begun = Entry::new(with(json!({"type": "Ready", "status": "True"})), Bytes::new());
        assert!(begun.has_told(&pod(&running()).status.unwrap()), "an agent that begins finds it told");
        assert!(!begun.has_told(&pod(&unready("ContainersNotReady")).status.unwrap()));
    }

    #[test]
    fn a_report_is_told_once_more_though_nothing_was_heard_of_its_pod_since() {
        let status = || pod(&running()).status.unwrap();
        let mut entry = Entry::new(pod(&pending()), Bytes::new());
        entry.told(status(), at(0));
        assert!(!entry.doubt(at(4)) && entry.sent == Some(status()));
        assert!(entry.doubt(at(5)) && entry.sent.is_none());
        entry.told(status(), at(5));
        assert!(!entry.doubt(at(60)) && entry.sent.is_some(), "not a third time");
    }
}
