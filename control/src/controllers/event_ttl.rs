//! Deletes events that nothing added to for an hour. Pure, decides.

use api::Key;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;

use crate::plan::WRITES_MAX;
use crate::view::{Change, Entry};
use crate::{Controller, Plan, View, Write};

/// As in Kubernetes.
pub const AGE_MAX: SignedDuration = SignedDuration::from_hours(1);
/// Events that end in the same minute go together, so that an hour of them costs sixty looks at the whole.
const BATCH_SECONDS: i64 = 60;

/// Its keys are minutes: those in which events end.
pub struct EventTtl;

impl Controller for EventTtl {
    fn name(&self) -> &'static str {
        "event-ttl"
    }

    fn affected(&self, change: &Change, _: &View) -> Vec<Key> {
        change.after.as_ref().and_then(minute_of).map(key).into_iter().collect()
    }

    fn plan(&self, view: &View, key: &Key) -> Plan {
        let Ok(minute) = key.name.parse::<i64>() else { return Plan::default() };
        let Ok(due) = Timestamp::from_second(minute.saturating_mul(BATCH_SECONDS)) else { return Plan::default() };
        if view.now < due {
            return Plan { recheck_at: Some(due), ..Plan::default() };
        }
        let mut ended = view
            .of_kind("", "events")
            .filter(|entry| minute_of(entry).is_some_and(|ends| ends <= minute))
            .map(|entry| Write::Delete { key: Key::clone(&entry.key), at: entry.revision });
        let writes: Vec<Write> = ended.by_ref().take(WRITES_MAX).collect();
        let recheck_at = ended.next().map(|_| view.now);
        let reason = format!("{} events are older than {AGE_MAX:#}", writes.len());
        Plan { writes, recheck_at, reason, ..Plan::default() }
    }
}

fn key(minute: i64) -> Key {
    Key::new("", "events", "", &minute.to_string())
}

/// The first full minute at which the event has ended.
fn minute_of(entry: &Entry) -> Option<i64> {
    let event = entry.event()?;
    let last = last_said(event).or_else(|| entry.meta.creation_timestamp.as_ref().map(|time| time.0))?;
    let ends = last.as_second().saturating_add(AGE_MAX.as_secs());
    Some(ends.div_euclid(BATCH_SECONDS) + 1)
}

fn last_said(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    [series, last, first].into_iter().flatten().max()
}
