//! Scheduler, agents and containers in one: binds pods, makes them ready, and takes away the deleted ones.

use api::deletion::Options;
use api::{Key, kinds};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::World;

pub const NODES: [&str; 3] = ["n1", "n2", "n3"];

impl World {
    /// One round for the pods that are chosen. Images with "broken" in their names never get ready. Answers
    /// whether there was anything to do.
    pub fn kubelet(&mut self, chosen: impl Fn(&Key) -> bool) -> bool {
        let mut busy = false;
        for key in self.keys("", "pods").into_iter().filter(|key| chosen(key)) {
            let Some(pod) = self.view.get(&key).and_then(|entry| entry.pod()).cloned() else { continue };
            if pod.metadata.deletion_timestamp.is_some() {
                busy = true;
                self.delete(&key, &Options { grace_seconds: Some(0), ..Options::default() });
            } else if is_new(&pod) {
                busy = true;
                self.run(&key, &pod);
            }
        }
        busy
    }

    /// A running pod is ready, or no longer.
    pub fn set_ready(&mut self, key: &Key, ready: bool) {
        let Some(pod) = self.view.get(key).and_then(|entry| entry.pod()).cloned() else { return };
        let mut pod = Pod::clone(&pod);
        let status = pod.status.get_or_insert_default();
        if status.phase.as_deref() == Some("Running") {
            let condition = PodCondition {
                type_: "Ready".into(),
                status: if ready { "True" } else { "False" }.into(),
                last_transition_time: Some(Time(self.view.now)),
                ..PodCondition::default()
            };
            let conditions = status.conditions.get_or_insert_default();
            conditions.retain(|condition| condition.type_ != "Ready");
            conditions.push(condition);
            self.put(key, Some(api::object::encode(&pod)));
        }
    }

    pub fn set_phase(&mut self, key: &Key, phase: &str) {
        let Some(pod) = self.view.get(key).and_then(|entry| entry.pod()).cloned() else { return };
        let mut pod = Pod::clone(&pod);
        pod.status.get_or_insert_default().phase = Some(phase.into());
        self.put(key, Some(api::object::encode(&pod)));
    }

    fn run(&mut self, key: &Key, pod: &Pod) {
        let mut pod = pod.clone();
        if self.view.get(key).is_some_and(|entry| entry.bound_to().is_none()) {
            let node = NODES.iter().min_by_key(|node| self.view.pods_on(node).count()).unwrap();
            kinds::pod::binding::assign(&mut pod, node, self.view.now);
        }
        let is_broken = image(pod.spec.as_ref()).contains("broken");
        pod.status.get_or_insert_default().phase = Some(if is_broken { "Pending" } else { "Running" }.into());
        self.put(key, Some(api::object::encode(&pod)));
        self.set_ready(key, true);
    }
}

fn is_new(pod: &Pod) -> bool {
    let unbound = pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none());
    let pending = pod.status.as_ref().is_none_or(|status| matches!(status.phase.as_deref(), None | Some("Pending")));
    unbound || pending && !image(pod.spec.as_ref()).contains("broken")
}

fn image(spec: Option<&PodSpec>) -> &str {
    spec.and_then(|spec| spec.containers.first()?.image.as_deref()).unwrap_or_default()
}
