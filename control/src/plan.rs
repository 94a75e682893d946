//! What a controller answers: the writes that bring one object closer to its desired state. Pure.

use api::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use crate::view::View;

/// An empty plan means converged. The writes take effect together or not at all (one command), so a plan
/// that was made from an old view changes nothing: the driver drops it and plans again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// At most [`WRITES_MAX`] and about [`BYTES_MAX`]; what does not fit waits for the next plan.
    pub writes: Vec<Write>,
    /// Recorded after the writes took effect; counted, never part of the command.
    pub events: Vec<Note>,
    /// Plan this key again at this time, whether or not something changes before.
    pub recheck_at: Option<Timestamp>,
    /// Why, in words, for the log.
    pub reason: String,
}

/// Bounds one command, and with it the time during which nothing else is applied.
pub const WRITES_MAX: usize = 500;
/// As above, where objects are large. The store refuses a command of twice as much, and would refuse it for ever: the
/// rest is for the object that the plan is made for.
pub const BYTES_MAX: usize = 4 << 20;

/// What one command still takes, counted while a plan is made. One write is left for the object that the plan is made
/// for. Once something did not fit, nothing does: what comes first is not overtaken.
#[derive(Debug, Default)]
pub struct Room {
    writes: usize,
    bytes: usize,
    is_full: bool,
}

impl Room {
    /// Counts the write if it fits. The first one always does, since no command is smaller.
    pub fn takes(&mut self, write: &Write) -> bool {
        let bytes = self.bytes + write.bytes();
        let fits = self.writes == 0 || self.writes < WRITES_MAX - 1 && bytes <= BYTES_MAX;
        self.is_full |= !fits;
        if !self.is_full {
            (self.writes, self.bytes) = (self.writes + 1, bytes);
        }
        !self.is_full
    }

    /// Whether something did not fit.
    pub fn is_full(&self) -> bool {
        self.is_full
    }
}

/// For writes that do not depend on each other: keeps the first ones that fit. Answers whether others wait.
pub fn cut_to_fit(writes: &mut Vec<Write>) -> bool {
    let mut room = Room::default();
    let fitting = writes.iter().take_while(|write| room.takes(write)).count();
    writes.truncate(fitting);
    room.is_full()
}

#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The key must be absent. `object` is the complete JSON except `metadata.uid` and
    /// `metadata.creationTimestamp`, which the driver stamps.
    Create { key: Key, object: Vec<u8> },
    /// Replaces the object that was last changed at `at`. Complete JSON, status included; the resourceVersion
    /// in it is ignored.
    Update { key: Key, object: Vec<u8>, at: u64 },
    /// Removes it for good: deletion rules (finalizers, grace) were seen to before.
    Delete { key: Key, at: u64 },
    /// Writes nothing; the command is void unless the object still stands at `at`.
    Check { key: Key, at: u64 },
}

impl Write {
    /// About what it adds to a command.
    pub fn bytes(&self) -> usize {
        let (key, object_bytes) = match self {
            Write::Create { key, object } | Write::Update { key, object, .. } => (key, object.len()),
            Write::Delete { key, .. } | Write::Check { key, .. } => (key, 0),
        };
        key.group.len() + key.resource.len() + key.namespace.len() + key.name.len() + object_bytes
    }
}

/// The claims that go with what `writes` delete: the command that carries them deletes these as well.
pub fn released_claims(writes: &[Write], view: &View) -> Vec<Key> {
    let deleted = writes.iter().filter_map(|write| match write {
        Write::Delete { key, .. } => view.get(key).filter(|entry| entry.service().is_some()),
        _ => None,
    });
    deleted.flat_map(|entry| api::kinds::service::held(&entry.encode())).map(|claim| claim.key()).collect()
}

/// An event to record: what a person reads in `kubectl describe`.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub regarding: ObjectReference,
    /// Warning, or Normal.
    pub warning: bool,
    pub reason: String,
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(number: usize, bytes: usize) -> Write {
        Write::Create { key: Key::new("", "configmaps", "default", &format!("m{number}")), object: vec![b' '; bytes] }
    }

    #[test]
    fn a_command_takes_few_large_writes_or_many_small_ones() {
        let kept = |bytes: &[usize]| {
            let mut writes: Vec<Write> = bytes.iter().enumerate().map(|(n, bytes)| create(n, *bytes)).collect();
            let more = cut_to_fit(&mut writes);
            (writes.len(), more)
        };
        const MIB: usize = 1 << 20;
        assert_eq!(kept(&[]), (0, false));
        assert_eq!(kept(&[10; WRITES_MAX - 1]), (WRITES_MAX - 1, false));
        assert_eq!(kept(&[10; WRITES_MAX]), (WRITES_MAX - 1, true));
        assert_eq!(kept(&[MIB; 3]), (3, false));
        assert_eq!(kept(&[MIB; 8]), (3, true), "the keys count as well");
        assert_eq!(kept(&[5 * MIB, 10]), (1, true), "one goes in any case");
        assert_eq!(kept(&[3 * MIB, 2 * MIB, 10]), (1, true), "nothing overtakes");
    }

    #[test]
    fn a_deleted_service_gives_its_claims_back() {
        let mut view = View::new();
        let key = Key::new("", "services", "default", "web");
        let service = br#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"type":"NodePort",
            "clusterIP":"10.96.0.7","clusterIPs":["10.96.0.7"],"ports":[{"port":80,"nodePort":30080}]}}"#;
        view.take_in(&key, 5, Some(service));
        let claims = |write| released_claims(&[write], &view).iter().map(Key::to_string).collect::<Vec<_>>();
        let held = ["claims/service-ip/-/10.96.0.7", "claims/node-port/-/30080"];
        assert_eq!(claims(Write::Delete { key: key.clone(), at: 5 }), held);
        assert_eq!(claims(Write::Check { key, at: 5 }), [""; 0]);
    }
}
