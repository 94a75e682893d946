//! What a controller answers: the writes that bring one object closer to its desired state. Pure.

use api::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use crate::view::View;

/// An empty plan means converged. The writes take effect together or not at all (one command), so a plan
/// that was made from an old view changes nothing: the driver drops it and plans again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// At most [`WRITES_MAX`]; what does not fit waits for the next plan.
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
