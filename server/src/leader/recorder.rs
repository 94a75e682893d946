//! Events on their way into the store: counted together, limited per object, written in batches. Pure, decides.

use std::collections::BTreeMap;
use std::time::Duration;

use api::Key;
use control::{Note, View, Write, events};
use tokio::time::Instant;

/// How long notes are gathered, so that they do not compete with what they tell of.
pub const GATHER: Duration = Duration::from_millis(250);
/// How many events one command carries.
const BATCH_MAX: usize = 200;
/// More than this are dropped, newest first: events are news, not state.
const PENDING_MAX: usize = 4096;
/// Kubernetes' limit: so many at once for one object, and one more every five minutes.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// A note that could not be written so often is given up.
const FAILURES_MAX: u32 = 3;
/// How many objects the limit is kept for.
const OBJECTS_MAX: usize = 8192;

#[derive(Default)]
pub struct Recorder {
    pending: BTreeMap<Key, Pending>,
    budgets: BTreeMap<String, Budget>,
    dropped: u64,
}

/// A note that waits to be written.
#[derive(Clone, Debug)]
pub struct Pending {
    note: Note,
    component: &'static str,
    count: i32,
    /// How often it was written in vain.
    failures: u32,
}

/// What one command writes, and what to put back if it is refused.
#[derive(Debug, Default)]
pub struct Batch {
    pub writes: Vec<Write>,
    pub notes: Vec<Pending>,
}

struct Budget {
    tokens: f64,
    at: Instant,
}

/// Under which name a controller's events are shown: Kubernetes', where it has one.
pub fn component(controller: &'static str) -> &'static str {
    match controller {
        "scheduler" => "default-scheduler",
        "deployment" => "deployment-controller",
        "replicaset" => "replicaset-controller",
        "node-lifecycle" => "node-controller",
        "endpoints" => "endpoint-controller",
        "endpoint-slices" => "endpoint-slice-controller",
        other => other,
    }
}

impl Recorder {
    pub fn note(&mut self, component: &'static str, note: Note, now: Instant) {
        let key = events::key_of(&note, component);
        if let Some(pending) = self.pending.get_mut(&key) {
            pending.count = pending.count.saturating_add(1);
            return;
        }
        if self.pending.len() >= PENDING_MAX || !self.affords(&note, now) {
            self.dropped += 1;
            return;
        }
        self.pending.insert(key, Pending { note, component, count: 1, failures: 0 });
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many notes were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// The next batch. A namespace that is going or gone takes no events, or it would never be empty.
    pub fn take_batch(&mut self, view: &View) -> Batch {
        let mut batch = Batch::default();
        while batch.writes.len() < BATCH_MAX {
            let Some((key, pending)) = self.pending.pop_first() else { break };
            if view.namespace(&key.namespace).is_some_and(|namespace| !namespace.is_terminating()) {
                batch.writes.push(events::record(&pending.note, pending.component, pending.count, view));
                batch.notes.push(pending);
            }
        }
        batch
    }

    /// The batch was refused: to be tried again, though not for ever.
    pub fn put_back(&mut self, notes: Vec<Pending>) {
        for mut failed in notes {
            failed.failures += 1;
            if failed.failures >= FAILURES_MAX || self.pending.len() >= PENDING_MAX {
                self.dropped += 1;
                continue;
            }
            let pending = self.pending.entry(events::key_of(&failed.note, failed.component));
            pending.and_modify(|newer| newer.count = newer.count.saturating_add(failed.count)).or_insert(failed);
        }
    }

    fn affords(&mut self, note: &Note, now: Instant) -> bool {
        if self.budgets.len() >= OBJECTS_MAX {
            self.budgets.retain(|_, budget| budget.refilled(now) < BURST);
        }
        if self.budgets.len() >= OBJECTS_MAX {
            self.budgets.clear();
        }
        let regarding = &note.regarding;
        let object = match regarding.uid.as_deref() {
            Some(uid) if !uid.is_empty() => uid.to_string(),
            _ => format!("{:?}/{:?}/{:?}", regarding.kind, regarding.namespace, regarding.name),
        };
        let budget = self.budgets.entry(object).or_insert(Budget { tokens: BURST, at: now });
        budget.tokens = budget.refilled(now);
        budget.at = now;
        let affords = budget.tokens >= 1.0;
        if affords {
            budget.tokens -= 1.0;
        }
        affords
    }
}

impl Budget {
    fn refilled(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + since / REFILL.as_secs_f64()).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn note(uid: &str, message: &str) -> Note {
        Note {
            regarding: ObjectReference {
                kind: Some("Pod".into()),
                namespace: Some("default".into()),
                name: Some("web".into()),
                uid: Some(uid.into()),
                ..ObjectReference::default()
            },
            warning: false,
            reason: "Tested".into(),
            message: message.into(),
        }
    }

    fn view_with_namespace(json: &str) -> View {
        let mut view = View::new();
        view.take_in(&Key::new("", "namespaces", "", "default"), 1, Some(json.as_bytes()));
        view
    }

    const NAMESPACE: &str = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default"}}"#;

    #[test]
    fn equal_notes_are_one_event_with_a_count() {
        let mut recorder = Recorder::default();
        let now = Instant::now();
        for message in ["a", "b", "a", "a"] {
            recorder.note("tester", note("1", message), now);
        }
        let writes = recorder.take_batch(&view_with_namespace(NAMESPACE)).writes;
        let counts: Vec<String> = writes
            .iter()
            .map(|write| match write {
                Write::Create { object, .. } => {
                    let event: serde_json::Value = serde_json::from_slice(object).expect("JSON");
                    format!("{} {}", event["message"], event["count"])
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counts.len(), 2);
        assert!(counts.contains(&"\"a\" 3".to_string()) && counts.contains(&"\"b\" 1".to_string()), "{counts:?}");
        assert!(recorder.is_empty());
    }

    #[test]
    fn one_object_cannot_flood() {
        let mut recorder = Recorder::default();
        let start = Instant::now();
        for number in 0..100 {
            recorder.note("tester", note("1", &number.to_string()), start);
        }
        recorder.note("tester", note("2", "another object"), start);
        let view = view_with_namespace(NAMESPACE);
        assert_eq!(recorder.take_batch(&view).writes.len(), 26);
        assert_eq!(recorder.take_dropped(), 75);
        recorder.note("tester", note("1", "later"), start + REFILL);
        recorder.note("tester", note("1", "much"), start + REFILL);
        assert_eq!(recorder.take_batch(&view).writes.len(), 1);
    }

    #[test]
    fn a_namespace_that_goes_gets_no_events() {
        let going = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#;
        let mut recorder = Recorder::default();
        recorder.note("tester", note("1", "a"), Instant::now());
        assert_eq!(recorder.take_batch(&view_with_namespace(going)).writes, []);
    }

    #[test]
    fn a_refused_batch_is_tried_again_but_not_for_ever() {
        let mut recorder = Recorder::default();
        let view = view_with_namespace(NAMESPACE);
        recorder.note("tester", note("1", "a"), Instant::now());
        for attempt in 1..=FAILURES_MAX {
            let batch = recorder.take_batch(&view);
            assert_eq!(batch.writes.len(), 1, "attempt {attempt}");
            recorder.put_back(batch.notes);
        }
        assert!(recorder.is_empty());
        assert_eq!(recorder.take_dropped(), 1);
    }
}
