//! What a path of the Kubernetes API names. Pure.

use api::kinds::{self, Kind};
use api::status::Status;

use crate::objects::Target;

/// A longer path names nothing of ours.
const SEGMENTS_MAX: usize = 8;

/// Reads `/api/v1/…` and `/apis/<group>/<version>/…`. 404 for what is not served.
pub fn target(path: &str) -> Result<Target, Status> {
    let segments = segments(path).ok_or_else(Status::no_such_path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(Status::no_such_path()),
    };
    let (namespace, rest) = match rest {
        // `namespaces/<name>` is the namespace itself, and so are its parts.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] if group.is_empty() => ("", rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        _ => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return Err(Status::no_such_path()),
    };
    let kind = kinds::find(group, version, plural).ok_or_else(Status::no_such_path)?;
    if !is_placed(kind, namespace, name) || !is_part(kind, subresource) {
        return Err(Status::no_such_path());
    }
    Ok(Target { kind, namespace: namespace.into(), name: name.into(), subresource: subresource.into() })
}

/// An object of a namespaced kind has a namespace, others have none.
fn is_placed(kind: &Kind, namespace: &str, name: &str) -> bool {
    if kind.namespaced { !namespace.is_empty() || name.is_empty() } else { namespace.is_empty() }
}

fn is_part(kind: &Kind, subresource: &str) -> bool {
    subresource.is_empty() || kind.subresources.iter().any(|part| part.name() == subresource)
}

/// The decoded segments. `None`: too many, an empty one, or no valid encoding.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments = Vec::new();
    for segment in path.split('/') {
        let segment = decode(segment)?;
        // A slash that hides in an encoding would reach another object's key.
        if segment.is_empty() || segment.contains('/') || segments.len() == SEGMENTS_MAX {
            return None;
        }
        segments.push(segment);
    }
    Some(segments)
}

fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                bytes.push((digit()? * 16 + digit()?) as u8);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_they_name() {
        for (path, expected) in [
            ("/api/v1/pods", Some(("pods", "", "", ""))),
            ("/api/v1/namespaces/default/pods", Some(("pods", "default", "", ""))),
            ("/api/v1/namespaces/default/pods/web", Some(("pods", "default", "web", ""))),
            ("/api/v1/namespaces/default/pods/web/log", Some(("pods", "default", "web", "log"))),
            ("/api/v1/namespaces/default", Some(("namespaces", "", "default", ""))),
            ("/api/v1/namespaces/default/finalize", Some(("namespaces", "", "default", "finalize"))),
            ("/api/v1/namespaces", Some(("namespaces", "", "", ""))),
            ("/api/v1/nodes/n%2D1/status", Some(("nodes", "", "n-1", "status"))),
            ("/apis/apps/v1/namespaces/a/deployments/d/scale", Some(("deployments", "a", "d", "scale"))),
            ("/apis/apps/v1/deployments/", Some(("deployments", "", "", ""))),
            ("/api/v1/pods/web", None),
            ("/api/v1/namespaces/default/nodes", None),
            ("/api/v1/namespaces/default/pods/web/scale", None),
            ("/api/v1/namespaces/default/pods/a%2Fb", None),
            ("/api/v1/namespaces/default/pods/%zz", None),
            ("/api/v1/namespaces/default/pods/%2", None),
            ("/api/v1//pods", None),
            ("/api/v2/pods", None),
            ("/apis/apps/v1/pods", None),
            ("/api", None),
            ("/", None),
            ("", None),
        ] {
            let found = target(path).ok();
            let found = found.as_ref().map(|t| (t.kind.plural, &*t.namespace, &*t.name, &*t.subresource));
            assert_eq!(found, expected, "{path}");
        }
    }
}
