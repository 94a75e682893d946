//! Pods of every sort on real Docker: many are applied at once, then each is looked at.

mod endings;
mod hooks;
mod probes;
mod reach;
mod surroundings;

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Namespace, eventually_ok};

/// Long enough for a container that is restarted twice on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// The Pods of a namespace at one moment.
struct Pods(Vec<Value>);

impl Pods {
    fn of(namespace: &Namespace) -> Pods {
        Pods(namespace.json(&["get", "pods"])["items"].as_array().unwrap().clone())
    }

    #[track_caller]
    fn get(&self, name: &str) -> &Value {
        self.0.iter().find(|pod| pod["metadata"]["name"] == name).unwrap_or_else(|| panic!("no Pod {name}"))
    }

    /// What a JSON pointer finds in a Pod; null when there is nothing.
    #[track_caller]
    fn at(&self, name: &str, pointer: &str) -> &Value {
        self.get(name).pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The same in the status of a Pod's first container.
    #[track_caller]
    fn container(&self, name: &str, pointer: &str) -> &Value {
        self.at(name, &format!("/status/containerStatuses/0{pointer}"))
    }

    #[track_caller]
    fn restarts(&self, name: &str) -> u64 {
        self.container(name, "/restartCount").as_u64().unwrap_or(0)
    }
}

/// Waits until every one of `(Pod, JSON pointer, value)` holds at the same time; fails with those that do not.
#[track_caller]
fn wait_for(namespace: &Namespace, facts: &[(&str, &str, Value)]) -> Pods {
    eventually_ok("the Pods are as they should be", SOON, || {
        let pods = Pods::of(namespace);
        let wrong: Vec<String> = facts
            .iter()
            .filter(|(name, pointer, value)| pods.at(name, pointer) != value)
            .map(|(name, pointer, value)| format!("{name} {pointer}: {}, not {value}", pods.at(name, pointer)))
            .collect();
        if wrong.is_empty() { Ok(pods) } else { Err(wrong.join("\n")) }
    })
}

/// The STATUS column of `kubectl get pods`, by Pod.
fn status_column(namespace: &Namespace) -> Vec<(String, String)> {
    let table = namespace.kubectl(&["get", "pods", "--no-headers"]).expect();
    let row = |line: &str| {
        let mut cells = line.split_whitespace();
        Some((cells.next()?.to_owned(), cells.nth(1)?.to_owned()))
    };
    table.lines().filter_map(row).collect()
}
