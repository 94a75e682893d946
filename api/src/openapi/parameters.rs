//! The parameters that requests take in their path and query. Pure.

/// One parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    /// OpenAPI's type.
    pub of: &'static str,
    pub description: &'static str,
    pub in_path: bool,
}

const fn query(name: &'static str, of: &'static str, description: &'static str) -> Parameter {
    Parameter { name, of, description, in_path: false }
}

const fn path(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, of: "string", description, in_path: true }
}

pub(super) const NAMESPACE: Parameter = path("namespace", "The namespace that the object is in.");
pub(super) const NAME: Parameter = path("name", "The name of the object.");

const PRETTY: Parameter = query("pretty", "string", "If 'true', the answer is indented.");
const DRY_RUN: Parameter =
    query("dryRun", "string", "With 'All', the request is worked through and answered, but nothing is stored.");
const FIELD_MANAGER: Parameter = query("fieldManager", "string", "Who makes this change; at most 128 characters.");
const FIELD_VALIDATION: Parameter = query(
    "fieldValidation",
    "string",
    "What becomes of unknown and duplicate fields. Ignore: they are dropped. Warn (the default): they are dropped, and named in Warning headers. Strict: the request is refused, and they are named.",
);
const RESOURCE_VERSION: Parameter =
    query("resourceVersion", "string", "The state to read: unset is the newest, 0 is any, others are at least as new.");

pub(super) const OF_EVERY_PATH: &[Parameter] = &[PRETTY];
pub(super) const OF_GET: &[Parameter] = &[];
pub(super) const OF_WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
pub(super) const OF_PATCH: &[Parameter] = &[
    DRY_RUN,
    FIELD_MANAGER,
    FIELD_VALIDATION,
    query("force", "boolean", "Takes fields over from other managers. Only for apply patches."),
];
const GRACE_PERIOD: Parameter =
    query("gracePeriodSeconds", "integer", "How long the object may take to end; 0 ends it at once.");
const ORPHAN: Parameter = query("orphanDependents", "boolean", "Deprecated: use propagationPolicy.");
const PROPAGATION: Parameter =
    query("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground.");
const LABEL_SELECTOR: Parameter = query("labelSelector", "string", "Restricts the objects by their labels.");
const FIELD_SELECTOR: Parameter = query("fieldSelector", "string", "Restricts the objects by their fields.");
const LIMIT: Parameter = query("limit", "integer", "At most so many objects are answered, with a token for the rest.");
const CONTINUE: Parameter = query("continue", "string", "The token of the answer before, for the objects after those.");
const VERSION_MATCH: Parameter =
    query("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan.");
const TIMEOUT: Parameter = query("timeoutSeconds", "integer", "How long the call may last.");
const INITIAL_EVENTS: Parameter =
    query("sendInitialEvents", "boolean", "A watch begins with the objects that there are, then a bookmark.");

pub(super) const OF_DELETE: &[Parameter] = &[DRY_RUN, GRACE_PERIOD, ORPHAN, PROPAGATION];
pub(super) const OF_DELETE_COLLECTION: &[Parameter] = &[
    CONTINUE,
    DRY_RUN,
    FIELD_SELECTOR,
    GRACE_PERIOD,
    LABEL_SELECTOR,
    LIMIT,
    ORPHAN,
    PROPAGATION,
    RESOURCE_VERSION,
    VERSION_MATCH,
    INITIAL_EVENTS,
    TIMEOUT,
];
pub(super) const OF_LIST: &[Parameter] = &[
    query("allowWatchBookmarks", "boolean", "A watch sends bookmarks, which tell how far it has got."),
    CONTINUE,
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    LIMIT,
    RESOURCE_VERSION,
    VERSION_MATCH,
    INITIAL_EVENTS,
    TIMEOUT,
    query("watch", "boolean", "Sends changes as they happen, instead of a list."),
];

const CONTAINER: Parameter = query("container", "string", "Which container; may be left out if there is one only.");

pub(super) const OF_LOG: &[Parameter] = &[
    CONTAINER,
    query("follow", "boolean", "Goes on as the log grows."),
    query("limitBytes", "integer", "Ends after so many bytes."),
    query("previous", "boolean", "The log of the container before it was restarted."),
    query("sinceSeconds", "integer", "Only what is not older than so many seconds."),
    query("tailLines", "integer", "Only so many lines from the end."),
    query("timestamps", "boolean", "Puts the time before each line."),
];
pub(super) const OF_STREAM: &[Parameter] = &[
    query("command", "string", "What to run, one parameter per word."),
    CONTAINER,
    query("stderr", "boolean", "Sends what it writes to standard error."),
    query("stdin", "boolean", "Passes standard input to it."),
    query("stdout", "boolean", "Sends what it writes to standard output."),
    query("tty", "boolean", "Gives it a terminal."),
];
pub(super) const OF_PORT_FORWARD: &[Parameter] = &[query("ports", "integer", "The ports to forward.")];
