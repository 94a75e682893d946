//! What a write that failed says: whether it certainly took no effect, and what stood there, where it was refused for that.
//! Decides; pure.

use client::Error;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::check::linear::{Effect, Value};
use crate::store::seen::Ended;

/// What the cluster refused, it did not do; nor what it never heard.
pub fn ended(error: &Error, key: &str, intent: Effect) -> Ended {
    if let Some(seen) = stood(error, key, intent) {
        return Ended::Done(seen, None);
    }
    match error.code() {
        Some(400..500 | 507) => Ended::Refused,
        Some(_) => Ended::Unknown,
        None if matches!(error, Error::Unreachable(_)) => Ended::Refused,
        None => Ended::Unknown,
    }
}

/// A refusal is a reading of what stands there. It is of the time of the call: a replica refuses on a state that it has confirmed
/// since, or on the one that the command met. And it is of no earlier try of the same write: the SDK sends one again only after
/// an answer that nothing was done, or when it was never sent.
fn stood(error: &Error, key: &str, intent: Effect) -> Option<Effect> {
    let Error::Api(status) = error else { return None };
    // It may be about the namespace.
    let about = status.details.as_ref()?;
    if about.kind != ConfigMap::URL_PATH_SEGMENT || about.name != key {
        return None;
    }
    match (status.code, status.reason.as_str()) {
        (404, "NotFound") => Some(Effect::Read(None)),
        (409, "AlreadyExists") => Some(Effect::Stands { not: None }),
        (409, "Conflict") => Some(Effect::Stands { not: expected(intent) }),
        _ => None,
    }
}

/// The value that had the revision which was insisted on: another revision has another value.
fn expected(intent: Effect) -> Value {
    match intent {
        Effect::Swap { expected, .. } => expected,
        Effect::Read(_) | Effect::Write(_) | Effect::Replace(_) | Effect::Stands { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SWAP: Effect = Effect::Swap { expected: Some(3), new: Some(4) };

    /// In one word, or as what was seen.
    fn judged(code: u16, reason: &str, kind: &str, intent: Effect) -> String {
        let status = json!({
            "code": code, "reason": reason, "message": "", "status": "Failure", "kind": "Status", "apiVersion": "v1",
            "details": {"kind": kind, "name": "a"},
        });
        let error = Error::Api(serde_json::from_value(status).unwrap());
        told(ended(&error, "a", intent))
    }

    fn told(ended: Ended) -> String {
        match ended {
            Ended::Done(effect, None) => format!("{effect:?}"),
            Ended::Done(_, Some(revision)) => panic!("nobody told the revision {revision}"),
            Ended::Refused => "refused".into(),
            Ended::Unknown => "unknown".into(),
        }
    }

    #[test]
    fn a_refusal_tells_what_stood_there_where_it_is_about_that() {
        let of = |effect: Effect| format!("{effect:?}");
        let write = Effect::Write(Some(4));
        assert_eq!(judged(404, "NotFound", "configmaps", SWAP), of(Effect::Read(None)));
        assert_eq!(judged(409, "AlreadyExists", "configmaps", SWAP), of(Effect::Stands { not: None }));
        assert_eq!(judged(409, "Conflict", "configmaps", SWAP), of(Effect::Stands { not: Some(3) }));
        assert_eq!(judged(409, "Conflict", "configmaps", write), of(Effect::Stands { not: None }));
        assert_eq!(judged(404, "NotFound", "namespaces", write), "refused");
        assert_eq!(judged(403, "Forbidden", "configmaps", write), "refused");
        assert_eq!(judged(507, "InsufficientStorage", "configmaps", write), "refused");
        assert_eq!(judged(500, "InternalError", "configmaps", write), "unknown");
    }

    #[test]
    fn what_was_never_sent_was_not_done_and_of_what_was_sent_nobody_knows() {
        assert_eq!(told(ended(&Error::Unreachable("no answer".into()), "a", SWAP)), "refused");
        assert_eq!(told(ended(&Error::Unknown("it broke".into()), "a", SWAP)), "unknown");
    }
}
