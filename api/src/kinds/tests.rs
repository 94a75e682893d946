//! Runs `testdata/kinds/*.txt`: what goes in, and what comes out. `REWRITE=1` writes down what came out instead.
//!
//! A case is a command line, a YAML body, `----`, and the outcome, up to an empty line. Commands: `create <plural>`,
//! `update`, `status`, `scale`, `bind`, `finalize` and `delete`, the latter six on the object stored last. `allocate`
//! takes addresses; taken are those that the file's Services hold.

use std::fmt::Write as _;
use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use serde_json::Value;

use super::*;
use crate::deletion::{self, Deletion};
use crate::object;

const REVISION: u64 = 7;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

#[derive(Default)]
struct Runner {
    kind: Option<&'static Kind>,
    stored: Vec<u8>,
    /// What the last admitted object replaced.
    before: Option<Vec<u8>>,
    claims: Vec<service::Claim>,
}

impl Runner {
    fn run(&mut self, command: &str, body: &str) -> String {
        let body: Value = serde_yaml::from_str(body).unwrap();
        let body = serde_json::to_vec(&body).unwrap();
        match self.step(command, &body) {
            Ok(outcome) => outcome,
            Err(status) => show_status(&status),
        }
    }

    fn step(&mut self, command: &str, body: &[u8]) -> Result<String, Status> {
        let (verb, plural) = command.split_once(' ').unwrap_or((command, ""));
        if verb == "create" {
            self.kind = KINDS.iter().find(|kind| kind.plural == plural);
        }
        let kind = self.kind.expect("the plural of a kind");
        let old = self.stored.clone();
        let old = old.as_slice();
        let meta = object::meta(old).unwrap_or_default();
        let namespace = if kind.namespaced { "default" } else { "" };
        let create = Operation::Create { uid: "u-1", now: now(), random: 1 };
        let update = Operation::Update { old, revision: REVISION };
        let request = Request { namespace, name: &meta.name, body, operation: update };
        let admitted = match verb {
            "create" => kind.admit(&Request { name: "", operation: create, ..request })?,
            "update" => kind.admit(&request)?,
            "status" => {
                let operation = Operation::UpdateStatus { old, revision: REVISION };
                kind.admit(&Request { operation, ..request })?
            }
            "scale" => scale::write(kind, &request)?,
            "finalize" => namespace::finalize(kind, &request)?,
            "bind" => {
                self.stored = pod::binding::apply(&request, old, now())?;
                return Ok(self.show());
            }
            "allocate" => return self.allocate(),
            "delete" => return self.delete(body),
            _ => panic!("unknown command {command:?}"),
        };
        let before = admitted.object.clone();
        self.before = (verb != "create").then(|| old.to_vec());
        self.stored = admitted.object;
        // Admitting what was admitted changes nothing: defaults are complete, and stored objects are valid.
        if let Effect::Put = admitted.effect {
            let (namespace, name) = (admitted.namespace.as_str(), admitted.name.as_str());
            let operation = Operation::Update { old: &before, revision: REVISION };
            let again = kind.admit(&Request { namespace, name, body: &before, operation })?;
            assert_eq!(again.effect, Effect::Unchanged, "{}", String::from_utf8_lossy(&again.object));
        }
        Ok(match admitted.effect {
            Effect::Put => self.show(),
            Effect::Remove => "removed\n".into(),
            Effect::Unchanged => "unchanged\n".into(),
        })
    }

    fn allocate(&mut self) -> Result<String, Status> {
        let taken = self.claims.clone();
        let allocation = service::allocate(&self.stored, self.before.as_deref(), &|claim| taken.contains(&claim), 0)?;
        let mut text = String::new();
        for claim in &allocation.take {
            writeln!(text, "take {}", claim.key()).unwrap();
        }
        for claim in &allocation.release {
            writeln!(text, "release {}", claim.key()).unwrap();
        }
        self.claims.retain(|claim| !allocation.release.contains(claim));
        self.claims.extend(&allocation.take);
        let held = service::held(&allocation.object);
        assert!(held.iter().all(|claim| self.claims.contains(claim)));
        self.stored = allocation.object;
        Ok(if text.is_empty() { "nothing\n".into() } else { text })
    }

    fn delete(&mut self, body: &[u8]) -> Result<String, Status> {
        let options: Option<DeleteOptions> = serde_json::from_slice(body).unwrap();
        let options = deletion::Options::try_from(options.unwrap_or_default())?;
        Ok(match deletion::delete(self.kind.unwrap(), &self.stored, REVISION, &options, now())? {
            Deletion::Remove => "removed\n".into(),
            Deletion::Unchanged => "unchanged\n".into(),
            Deletion::Mark(marked) => {
                self.stored = marked;
                self.show()
            }
        })
    }

    fn show(&self) -> String {
        let mut value: Value = serde_json::from_slice(&self.stored).unwrap();
        let metadata = value["metadata"].as_object_mut().unwrap();
        assert_eq!(metadata.remove("uid"), Some("u-1".into()));
        assert_eq!(metadata.remove("creationTimestamp"), Some("2026-01-02T03:04:05Z".into()));
        serde_yaml::to_string(&value).unwrap()
    }
}

fn show_status(status: &Status) -> String {
    let mut text = format!("{} {}\n", status.code, status.reason);
    match &status.details {
        Some(details) if status.reason == "Invalid" => {
            for cause in &details.causes {
                writeln!(text, "{}: {}", cause.field, cause.message).unwrap();
            }
        }
        _ => writeln!(text, "{}", status.message).unwrap(),
    }
    text
}

fn run_file(name: &str) {
    // Asked now: checkouts may share what was built.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
    let path = PathBuf::from(package).join("testdata/kinds").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut runner = Runner::default();
    let mut seen = String::new();
    for case in text.split("\n\n").filter(|case| !case.trim().is_empty()) {
        let (input, expected) = case.split_once("----").unwrap_or_else(|| panic!("no ---- in {case:?}"));
        let commented: Vec<&str> = input.lines().filter(|line| line.starts_with('#')).collect();
        let (command, body) = input[commented.iter().map(|line| line.len() + 1).sum()..].split_once('\n').unwrap();
        let outcome = runner.run(command, body);
        if std::env::var_os("REWRITE").is_none() {
            assert_eq!(outcome.trim(), expected.trim(), "in {name}:\n{input}");
        }
        writeln!(seen, "{}----\n{}\n", input, outcome.trim_end()).unwrap();
    }
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, seen).unwrap();
    }
}

macro_rules! files {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            run_file(concat!(stringify!($name), ".txt"));
        }
    )*};
}

files! { pod pod_faults pod_update deployment replica_set service namespace_node data events seeds deletion }

#[test]
fn the_table_is_consistent() {
    for kind in KINDS {
        assert_eq!(find(kind.group, kind.version, kind.plural).map(|found| found.kind), Some(kind.kind));
        assert_eq!(find_kind(kind.group, kind.version, kind.kind).map(|found| found.plural), Some(kind.plural));
        assert_eq!(kind.list_kind, format!("{}List", kind.kind));
        assert!((kind.schema_name)().starts_with("io.k8s.api."));
        for word in kind.short_names.iter().chain([&kind.plural, &kind.singular, &kind.kind]) {
            assert_eq!(find_spoken(word).map(|found| found.kind), Some(kind.kind), "{word}");
        }
    }
    assert_eq!(find_spoken("deploy.apps").map(|kind| kind.plural), Some("deployments"));
    assert!(find_spoken("deploy.core").is_none() && find("apps", "v1", "pods").is_none());
}

#[test]
fn a_scale_shows_what_the_object_says() {
    let stored = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"default","uid":"u-1"},"spec":{"replicas":3,"selector":{"matchLabels":{"app":"web"}},"template":{}},"status":{"replicas":2}}"#;
    assert_eq!(
        String::from_utf8(scale::read(stored, 9).unwrap()).unwrap(),
        r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"web","namespace":"default","resourceVersion":"9","uid":"u-1"},"spec":{"replicas":3},"status":{"replicas":2,"selector":"app=web"}}"#
    );
}

#[test]
fn a_stale_or_foreign_body_is_refused() {
    let kind = find("", "v1", "configmaps").unwrap();
    let stored = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"default","uid":"u-1"}}"#;
    for (metadata, expected) in [
        (r#"{"name":"a","resourceVersion":"7"}"#, Ok(true)),
        (r#"{"name":"a"}"#, Ok(false)),
        (r#"{}"#, Ok(false)),
        (r#"{"name":"a","resourceVersion":"6"}"#, Err((409, "modified"))),
        (r#"{"name":"a","resourceVersion":"x"}"#, Err((400, "whole number"))),
        (r#"{"name":"a","uid":"u-2"}"#, Err((409, "UID in precondition: u-2, UID in object meta: u-1"))),
        (r#"{"name":"b"}"#, Err((400, "does not match the name on the URL"))),
        (r#"{"name":"a","namespace":"other"}"#, Err((400, "does not match the namespace"))),
    ] {
        let body = format!(r#"{{"metadata":{metadata},"data":{{"k":"v"}}}}"#);
        let operation = Operation::Update { old: stored, revision: REVISION };
        let outcome = kind.admit(&Request { namespace: "default", name: "a", body: body.as_bytes(), operation });
        match (outcome, expected) {
            (Ok(admitted), Ok(conditional)) => assert_eq!(admitted.conditional, conditional, "{metadata}"),
            (Err(status), Err((code, part))) => {
                assert!(status.code == code && status.message.contains(part), "{metadata}: {status:?}")
            }
            (outcome, _) => panic!("{metadata}: {outcome:?}"),
        }
    }
}

#[test]
fn broken_bodies_are_answered() {
    let kind = find("", "v1", "pods").unwrap();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in ["", "{", "null", "[]", "1", "{\"metadata\":[]}", "{\"spec\":{\"containers\":{}}}", deep.as_str()] {
        let operation = Operation::Create { uid: "u", now: now(), random: 0 };
        let request = Request { namespace: "default", name: "", body: body.as_bytes(), operation };
        let status = kind.admit(&request).unwrap_err();
        assert_eq!(status.code, 400, "{status:?}");
        assert!(status.message.len() < 400, "{}", status.message.len());
    }
}
