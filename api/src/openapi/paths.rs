//! Which requests can be made at which paths: from the table of kinds, before any notation. Pure.

use super::parameters::{self, Parameter};
use crate::kinds::{KINDS, Kind, Subresource};

/// One path with its operations.
pub(super) struct Endpoint {
    pub path: String,
    pub parameters: Vec<&'static Parameter>,
    pub operations: Vec<Operation>,
}

pub(super) struct Operation {
    /// "get", "post", …
    pub method: &'static str,
    /// `x-kubernetes-action`
    pub action: &'static str,
    pub id: String,
    pub description: String,
    /// `x-kubernetes-group-version-kind`
    pub kind: (&'static str, &'static str, &'static str),
    pub parameters: &'static [Parameter],
    pub body: Body,
    pub answer: Answer,
}

pub(super) enum Body {
    None,
    /// An object of this definition.
    Object(String),
    Patch,
    DeleteOptions,
}

pub(super) enum Answer {
    /// An object of this definition.
    Object(String),
    Text,
}

pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Media types of patches that the server takes.
pub(super) const PATCHES: &[&str] = crate::patch::MEDIA_TYPES;

/// All endpoints of a group and version.
pub(super) fn endpoints(group: &str, version: &str) -> Vec<Endpoint> {
    KINDS.iter().filter(|kind| kind.group == group && kind.version == version).flat_map(of_kind).collect()
}

/// The definition of lists of the kind: `io.k8s.api.core.v1.PodList`.
pub(super) fn list_definition(kind: &Kind) -> String {
    let item = (kind.schema_name)();
    let package = item.rsplit_once('.').map_or("", |(package, _)| package);
    format!("{package}.{}", kind.list_kind)
}

fn of_kind(kind: &'static Kind) -> Vec<Endpoint> {
    let base = match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    let (scope, outer) = match kind.namespaced {
        true => ("/namespaces/{namespace}", vec![&parameters::NAMESPACE]),
        false => ("", vec![]),
    };
    let named: Vec<&Parameter> = std::iter::once(&parameters::NAME).chain(outer.iter().copied()).collect();
    let collection = format!("{base}{scope}/{}", kind.plural);
    let item = format!("{collection}/{{name}}");
    let mut endpoints = vec![
        Endpoint { path: collection, parameters: outer, operations: of_collection(kind) },
        Endpoint { path: item.clone(), parameters: named.clone(), operations: of_item(kind) },
    ];
    for subresource in kind.subresources {
        let path = format!("{item}/{}", subresource.name());
        endpoints.push(Endpoint { path, parameters: named.clone(), operations: of_subresource(kind, *subresource) });
    }
    if kind.namespaced {
        let path = format!("{base}/{}", kind.plural);
        let mut operations = of_collection(kind);
        operations.retain(|operation| operation.action == "list");
        for operation in &mut operations {
            operation.id = format!("list{}{}ForAllNamespaces", group_version(kind), kind.kind);
        }
        endpoints.push(Endpoint { path, parameters: vec![], operations });
    }
    endpoints
}

/// One thing that can be done.
struct Verb {
    method: &'static str,
    action: &'static str,
    /// Begins the operation's id.
    id: &'static str,
    /// Begins its description.
    words: &'static str,
}

const fn verb(method: &'static str, action: &'static str, id: &'static str, words: &'static str) -> Verb {
    Verb { method, action, id, words }
}

const LIST: Verb = verb("get", "list", "list", "list or watch");
const CREATE: Verb = verb("post", "post", "create", "create a");
const DELETE_ALL: Verb = verb("delete", "deletecollection", "deleteCollection", "delete all");
const READ: Verb = verb("get", "get", "read", "read the");
const REPLACE: Verb = verb("put", "put", "replace", "replace the");
const CHANGE: Verb = verb("patch", "patch", "patch", "change parts of the");
const DELETE: Verb = verb("delete", "delete", "delete", "delete the");
const CONNECT: [Verb; 2] =
    [verb("get", "connect", "connectGet", "connect to"), verb("post", "connect", "connectPost", "connect to")];

/// What the operations of one path have in common.
struct Maker {
    kind: &'static Kind,
    suffix: &'static str,
    /// What the operations are about.
    of: (&'static str, &'static str, &'static str),
}

impl Maker {
    fn make(&self, verb: &Verb, parameters: &'static [Parameter], body: Body, answer: Answer) -> Operation {
        let Maker { kind, suffix, of } = self;
        let scope = if kind.namespaced { "Namespaced" } else { "" };
        let id = format!("{}{}{scope}{}{}", verb.id, group_version(kind), kind.kind, capitalized(suffix));
        let part = if suffix.is_empty() { String::new() } else { format!("{suffix} of ") };
        let description = format!("{} {part}{}", verb.words, kind.kind);
        Operation { method: verb.method, action: verb.action, id, description, kind: *of, parameters, body, answer }
    }
}

fn of_collection(kind: &'static Kind) -> Vec<Operation> {
    let maker = Maker { kind, suffix: "", of: (kind.group, kind.version, kind.kind) };
    let own = || (kind.schema_name)().into_owned();
    let mut operations = Vec::new();
    if kind.verbs.contains(&"list") {
        let answer = Answer::Object(list_definition(kind));
        operations.push(maker.make(&LIST, parameters::OF_LIST, Body::None, answer));
    }
    if kind.verbs.contains(&"create") {
        operations.push(maker.make(&CREATE, parameters::OF_WRITE, Body::Object(own()), Answer::Object(own())));
    }
    if kind.verbs.contains(&"deletecollection") {
        let (of, answer) = (parameters::OF_DELETE_COLLECTION, Answer::Object(STATUS.into()));
        operations.push(maker.make(&DELETE_ALL, of, Body::DeleteOptions, answer));
    }
    operations
}

fn of_item(kind: &'static Kind) -> Vec<Operation> {
    let maker = Maker { kind, suffix: "", of: (kind.group, kind.version, kind.kind) };
    let mut operations = read_and_write(&maker, kind.verbs, &(kind.schema_name)());
    if kind.verbs.contains(&"delete") {
        let answer = Answer::Object(STATUS.into());
        operations.push(maker.make(&DELETE, parameters::OF_DELETE, Body::DeleteOptions, answer));
    }
    operations
}

/// get, update and patch of one object, or of a part that is an object.
fn read_and_write(maker: &Maker, verbs: &[&str], definition: &str) -> Vec<Operation> {
    let answer = || Answer::Object(definition.into());
    let mut operations = Vec::new();
    if verbs.contains(&"get") {
        operations.push(maker.make(&READ, parameters::OF_GET, Body::None, answer()));
    }
    if verbs.contains(&"update") {
        operations.push(maker.make(&REPLACE, parameters::OF_WRITE, Body::Object(definition.into()), answer()));
    }
    if verbs.contains(&"patch") {
        operations.push(maker.make(&CHANGE, parameters::OF_PATCH, Body::Patch, answer()));
    }
    operations
}

fn of_subresource(kind: &'static Kind, subresource: Subresource) -> Vec<Operation> {
    let of = subresource.of_kind().unwrap_or((kind.group, kind.version, kind.kind));
    let maker = Maker { kind, suffix: subresource.name(), of };
    let definition = crate::schema::roots()
        .find(|root| (root.group, root.version, root.kind) == of)
        .map_or_else(|| (kind.schema_name)().into_owned(), |root| root.definition().into_owned());
    let connect = |of| CONNECT.iter().map(|verb| maker.make(verb, of, Body::None, Answer::Text)).collect();
    match subresource {
        Subresource::Status | Subresource::Scale | Subresource::Finalize => {
            read_and_write(&maker, subresource.verbs(), &definition)
        }
        Subresource::Log => vec![maker.make(&READ, parameters::OF_LOG, Body::None, Answer::Text)],
        Subresource::Exec | Subresource::Attach => connect(parameters::OF_STREAM),
        Subresource::PortForward => connect(parameters::OF_PORT_FORWARD),
        Subresource::Binding | Subresource::Eviction => {
            let (body, answer) = (Body::Object(definition.clone()), Answer::Object(definition));
            vec![maker.make(&CREATE, parameters::OF_WRITE, body, answer)]
        }
    }
}

/// `CoreV1`, `DiscoveryV1`
fn group_version(kind: &Kind) -> String {
    let group = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    format!("{}{}", capitalized(group), capitalized(kind.version))
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + characters.as_str())
}
