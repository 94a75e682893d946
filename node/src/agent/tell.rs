//! What the agent's loop has to say: events of Pods and of the node. Acts, through the reporter.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};

use super::run::Agent;
use crate::pod::{self, Quality, full_name, spec_of};
use crate::report::{Regarding, event, node_reference, pod_reference};
use crate::sync::Note;

impl Agent {
    /// Events of Pods that nobody knows are of no use to anybody.
    pub(super) fn tell(&self, uid: &str, note: &Note) {
        let Some(entry) = self.entries.get(uid).filter(|entry| !entry.json.is_empty()) else { return };
        let init = spec_of(&entry.pod).init_containers.iter().flatten();
        let is_init = init.into_iter().any(|container| Some(&container.name) == note.container.as_ref());
        let object = pod_reference(&entry.pod, note.container.as_deref(), is_init);
        self.write_event(object, note.warning, note.reason, &note.message);
    }

    pub(super) fn write_event(&self, object: ObjectReference, warning: bool, reason: &str, message: &str) {
        let regarding = Regarding { object, warning, reason: reason.to_owned(), message: message.to_owned() };
        self.reporter.event(event(&regarding, &self.hands.host.node_name, self.times.wall()));
    }

    /// What is left out for want of privilege is said once.
    pub(super) fn mind_niceties(&mut self, pod: &Pod) {
        if pod::quality(pod) == Quality::Guaranteed && self.niceties_said.insert("oom") {
            let text = format!(
                "A negative oom_score_adj is never asked of the engine, since hosts refuse it without privilege: \
                 Guaranteed Pods such as {} run with 0",
                full_name(pod)
            );
            let node = node_reference(&self.hands.host.node_name);
            self.write_event(node, false, "NicetyLeftOut", &text);
        }
    }
}
