//! Plans as people read them: one line for each write and event.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kontiki_control::{Plan, Write};
use serde_json::Value;

use super::World;

impl World {
    /// Checks are left out.
    pub(super) fn text(&self, controller: usize, plan: &Plan) -> String {
        let mut out = String::new();
        let name = self.controllers[controller].name();
        for write in &plan.writes {
            match write {
                Write::Create { key, .. } => writeln!(out, "{name}: create {key}"),
                Write::Delete { key, .. } => writeln!(out, "{name}: delete {key}"),
                Write::Check { .. } => Ok(()),
                Write::Update { key, object, .. } => {
                    let before = serde_json::from_slice(&self.stored[key]).unwrap();
                    let after = serde_json::from_slice(object).unwrap();
                    let mut changes = Vec::new();
                    differences("", &before, &after, &mut changes);
                    writeln!(out, "{name}: update {key}: {}", changes.join(", "))
                }
            }
            .unwrap();
        }
        for note in &plan.events {
            let kind = if note.warning { "Warning" } else { "Normal" };
            writeln!(out, "{name}: {kind} {}: {}", note.reason, note.message).unwrap();
        }
        out
    }
}

/// `path: before -> after` for every leaf that differs; times are left out, since they differ all the time.
fn differences(path: &str, before: &Value, after: &Value, out: &mut Vec<String>) {
    if before == after || path.ends_with("Time") {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let side = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
            differences(&format!("{path}/{name}"), &side(old), &side(new), out);
        }
    } else if path == "/status/conditions" {
        let all = |side: &Value| side.as_array().cloned().unwrap_or_default();
        let (old, new) = (all(before), all(after));
        let said = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_string();
        let is_left = |it: &&Value| !new.iter().any(|other| other["type"] == it["type"]);
        out.extend(old.iter().filter(is_left).map(|it| format!("no {}", said(it, "type"))));
        let news = new.iter().filter(|it| !old.contains(it));
        out.extend(news.map(|it| format!("{}={} {}", said(it, "type"), said(it, "status"), said(it, "reason"))));
    } else {
        out.push(format!("{}: {before} -> {after}", path.trim_start_matches('/')));
    }
}
