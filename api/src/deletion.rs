//! What deleting an object means: decides between removing it, marking it, and leaving it. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Time};

use crate::kinds::Kind;
use crate::object;
use crate::status::{FieldErrors, Path, Status};

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";
/// The finalizer in a Namespace's spec: set until the namespace is empty.
pub const KUBERNETES: &str = "kubernetes";

#[derive(Clone, Debug, PartialEq)]
pub enum Deletion {
    /// Nothing holds it: take it out of the store.
    Remove,
    /// Store these bytes instead: the object is now being deleted.
    Mark(Vec<u8>),
    /// It is being deleted already, and this request asks for nothing more.
    Unchanged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents become nobody's.
    Orphan,
    /// The garbage collector removes dependents afterwards.
    Background,
    /// The object stays until its dependents are gone.
    Foreground,
}

/// How to delete; all that is absent is left to the kind's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub grace_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    /// Refused with a conflict if the object is another one.
    pub uid: Option<String>,
    /// Refused with a conflict if the object was changed since.
    pub revision: Option<u64>,
    pub dry_run: bool,
}

impl TryFrom<DeleteOptions> for Options {
    type Error = Status;

    fn try_from(given: DeleteOptions) -> Result<Options, Status> {
        let mut errors = FieldErrors::default();
        let field = |name| Path::Root.field(name);
        let propagation = match (given.propagation_policy.as_deref(), given.orphan_dependents) {
            (Some(policy), Some(_)) => {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                errors.invalid(&field("propagationPolicy"), policy, detail);
                None
            }
            (Some("Orphan"), None) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some("Background"), None) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), None) => Some(Propagation::Foreground),
            (Some(policy), None) => {
                let known = ["Foreground", "Background", "Orphan"];
                errors.not_supported(&field("propagationPolicy"), policy, &known);
                None
            }
            (None, None) => None,
        };
        let dry_run = given.dry_run.unwrap_or_default();
        for value in dry_run.iter().filter(|value| *value != "All") {
            errors.not_supported(&field("dryRun"), value, &["All"]);
        }
        let preconditions = given.preconditions.unwrap_or_default();
        let revision = match preconditions.resource_version.as_deref() {
            None | Some("") => None,
            Some(text) => text.parse().map(Some).unwrap_or_else(|_| {
                errors.invalid(&field("preconditions").field("resourceVersion"), text, "must be a whole number");
                None
            }),
        };
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", errors));
        }
        let uid = preconditions.uid.filter(|uid| !uid.is_empty());
        Ok(Options {
            grace_seconds: given.grace_period_seconds,
            propagation,
            uid,
            revision,
            dry_run: !dry_run.is_empty(),
        })
    }
}

/// Decides what becomes of an object that stands in the store at `revision`. Asked again with the result, it
/// answers `Unchanged` or `Remove`, so retries are harmless.
pub fn delete(
    kind: &Kind,
    stored: &[u8],
    revision: u64,
    options: &Options,
    now: Timestamp,
) -> Result<Deletion, Status> {
    let mut meta = object::object_meta(stored).map_err(Status::internal)?;
    check_preconditions(kind, &meta, revision, options)?;
    match (kind.group, kind.kind) {
        ("", "Pod") => delete_pod(stored, meta, options, now),
        ("", "Namespace") => delete_namespace(kind, stored, meta, options, now),
        _ => {
            set_finalizers(&mut meta, options.propagation);
            Ok(finish(stored, meta, 0, now))
        }
    }
}

/// Whether an object that was just changed has nothing left that holds it, and is to be removed instead of
/// stored: it is being deleted, and its last finalizer is gone.
pub fn is_released(kind: &Kind, stored: &[u8]) -> bool {
    let Ok(meta) = object::meta(stored) else { return false };
    if meta.deletion_timestamp.is_none() || !meta.finalizers.is_empty() {
        return false;
    }
    match (kind.group, kind.kind) {
        ("", "Pod") => meta.deletion_grace_period_seconds.unwrap_or(0) == 0,
        ("", "Namespace") => !namespace_is_held(stored),
        _ => true,
    }
}

fn check_preconditions(kind: &Kind, meta: &ObjectMeta, revision: u64, options: &Options) -> Result<(), Status> {
    let name = meta.name.as_deref().unwrap_or_default();
    let uid = meta.uid.as_deref().unwrap_or_default();
    let why = match (&options.uid, options.revision) {
        (Some(asked), _) if asked != uid => {
            format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}")
        }
        (_, Some(asked)) if asked != revision => format!(
            "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {revision}"
        ),
        _ => return Ok(()),
    };
    Err(Status::conflict(kind, name, why))
}

fn delete_pod(stored: &[u8], mut meta: ObjectMeta, options: &Options, now: Timestamp) -> Result<Deletion, Status> {
    let pod: Pod = serde_json::from_slice(stored).map_err(Status::internal)?;
    let grace = pod_grace_seconds(&pod, options);
    let was_marked = meta.deletion_timestamp.is_some();
    let old_grace = meta.deletion_grace_period_seconds.unwrap_or(0);
    let changed = set_finalizers(&mut meta, options.propagation);
    if was_marked {
        // A second request can only shorten the grace.
        let shorter = old_grace > 0 && (options.grace_seconds.is_some() || grace == 0) && grace < old_grace;
        if old_grace > 0 && !shorter {
            return Ok(if changed { Deletion::Mark(object::replace_meta(stored, &meta)) } else { Deletion::Unchanged });
        }
        if shorter {
            let begun = meta.deletion_timestamp.as_ref().map_or(now, |time| earlier(time.0, old_grace));
            meta.deletion_timestamp = Some(Time(later(begun, grace)));
            meta.deletion_grace_period_seconds = Some(grace);
            if grace > 0 {
                return Ok(Deletion::Mark(object::replace_meta(stored, &meta)));
            }
        }
    }
    Ok(finish(stored, meta, grace, now))
}

/// Nobody runs it, or nothing of it runs any more: no grace is needed. Else only a request that asks for none gets none, and
/// says that the Pod has ended. A spec that gives none counts as a second (unlike in Kubernetes): without a mark the object
/// would be gone, and its name to be had, before its agent has ended the containers.
fn pod_grace_seconds(pod: &Pod, options: &Options) -> i64 {
    let spec = pod.spec.as_ref();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let assigned = spec.and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
    if !assigned || matches!(phase, Some("Succeeded" | "Failed")) {
        return 0;
    }
    let of_spec = || spec.and_then(|spec| spec.termination_grace_period_seconds).map(|seconds| seconds.max(1));
    match options.grace_seconds.or_else(of_spec).unwrap_or(crate::kinds::pod::GRACE_SECONDS_DEFAULT) {
        negative if negative < 0 => 1,
        seconds => seconds.min(GRACE_SECONDS_MAX),
    }
}

/// A year: keeps sums with timestamps far from overflow.
const GRACE_SECONDS_MAX: i64 = 366 * 24 * 3600;

/// Namespaces that the cluster cannot do without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

fn delete_namespace(
    kind: &Kind,
    stored: &[u8],
    mut meta: ObjectMeta,
    options: &Options,
    now: Timestamp,
) -> Result<Deletion, Status> {
    let name = meta.name.clone().unwrap_or_default();
    if IMMORTAL.contains(&name.as_str()) {
        return Err(Status::forbidden(kind, &name, "this namespace may not be deleted"));
    }
    let mut namespace: Namespace = serde_json::from_slice(stored).map_err(Status::internal)?;
    if !namespace_is_held(stored) {
        set_finalizers(&mut meta, options.propagation);
        return Ok(finish(stored, meta, 0, now));
    }
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Deletion::Unchanged);
    }
    namespace.metadata.deletion_timestamp = Some(Time(now));
    namespace.status.get_or_insert_default().phase = Some("Terminating".into());
    Ok(Deletion::Mark(object::encode(&namespace)))
}

fn namespace_is_held(stored: &[u8]) -> bool {
    let namespace: Namespace = serde_json::from_slice(stored).unwrap_or_default();
    namespace.spec.and_then(|spec| spec.finalizers).is_some_and(|finalizers| !finalizers.is_empty())
}

/// Marks what finalizers or a grace period hold, removes the rest.
fn finish(stored: &[u8], mut meta: ObjectMeta, grace_seconds: i64, now: Timestamp) -> Deletion {
    let held = meta.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
    if !held && grace_seconds == 0 {
        return Deletion::Remove;
    }
    if meta.deletion_timestamp.is_none() {
        meta.deletion_timestamp = Some(Time(later(now, grace_seconds)));
        meta.deletion_grace_period_seconds = Some(grace_seconds);
        meta.generation = meta.generation.map(|generation| generation + 1);
    }
    let marked = object::replace_meta(stored, &meta);
    if marked == stored { Deletion::Unchanged } else { Deletion::Mark(marked) }
}

/// The finalizers that the propagation policy asks for; without one they stay as they are.
fn set_finalizers(meta: &mut ObjectMeta, propagation: Option<Propagation>) -> bool {
    let wanted = match propagation {
        None => return false,
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) => None,
    };
    let before = meta.finalizers.take().unwrap_or_default();
    let others = before.iter().filter(|finalizer| *finalizer != ORPHAN && *finalizer != FOREGROUND);
    let after: Vec<String> = others.cloned().chain(wanted.map(String::from)).collect();
    let changed = after != before;
    meta.finalizers = (!after.is_empty()).then_some(after);
    changed
}

fn later(from: Timestamp, seconds: i64) -> Timestamp {
    from.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(from)
}

fn earlier(from: Timestamp, seconds: i64) -> Timestamp {
    from.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(from)
}

#[cfg(test)]
mod tests;
