//! `kontiki history`: who changed an object, when and what. Acts; `paths` decides what is told.

use jiff::Timestamp;
use proto::api::{Change, HistoryRequest};
use serde_json::Value;

use super::{Context, Failure, print, resource};

#[derive(clap::Args)]
pub struct Args {
    /// Such as `deploy/web`, or `deploy web`; also one that was deleted.
    #[arg(required = true, num_args = 1..=2)]
    what: Vec<String>,
    /// So many of the newest changes.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
}

/// Paths that are named of one change.
const PATHS: usize = 4;
/// They change with every change, or say nothing to a person.
const NOISE: [&str; 3] = ["metadata.generation", "metadata.resourceVersion", "metadata.managedFields"];

pub async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let wanted = resource::parse(&args.what)?;
    let [(kind, names)] = &wanted[..] else { return Err(Failure::new("name one object")) };
    let [name] = &names[..] else { return Err(Failure::new(format!("name one of the {}", kind.plural))) };
    let target = Some(resource::target(kind, &context.namespace, name));
    let found = context.client.history(HistoryRequest { target, limit: args.limit }).await?;
    if found.changes.is_empty() {
        eprintln!("no change since revision {}, and none is known from before it", found.oldest);
        return Ok(());
    }
    let mut table = print::plain(["REVISION", "WHEN", "WHO", "WHAT"]);
    let mut before = None;
    for change in found.changes {
        let object = serde_json::from_slice::<Value>(&change.json)?;
        let what = what(&change, before.as_ref(), &object);
        table.add_row([change.resource_version, when(change.at_ms), change.author, what]);
        before = Some(object);
    }
    say!("{}", table.trim_fmt());
    Ok(())
}

fn when(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| format!("{at:.0}"))
}

fn what(change: &Change, before: Option<&Value>, object: &Value) -> String {
    match (change.r#type.as_str(), before) {
        ("ADDED", _) => "created".into(),
        ("DELETED", _) => "deleted".into(),
        (_, None) => "changed".into(),
        (_, Some(before)) => {
            let mut found = Vec::new();
            paths("", before, object, &mut found);
            found.retain(|path| !NOISE.contains(&path.as_str()));
            let more = found.len().saturating_sub(PATHS);
            found.truncate(PATHS);
            match more {
                0 if found.is_empty() => "changed".into(),
                0 => found.join(", "),
                more => format!("{}, and {more} more", found.join(", ")),
            }
        }
    }
}

/// Where two objects differ. A list counts as a whole.
fn paths(at: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                let field = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                paths(&path, &field(before), &field(after), found);
            }
        }
        (before, after) if before == after => {}
        _ => found.push(at.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_told_by_its_paths() {
        let change = |kind: &str| Change { r#type: kind.into(), ..Default::default() };
        let before = json!({"metadata": {"generation": 1}, "spec": {"replicas": 1, "list": [1]}});
        let after = json!({"metadata": {"generation": 2}, "spec": {"replicas": 3, "list": [1, 2]}, "status": {"a": 1}});
        assert_eq!(what(&change("MODIFIED"), Some(&before), &after), "spec.list, spec.replicas, status");
        assert_eq!(what(&change("MODIFIED"), None, &after), "changed");
        assert_eq!(what(&change("MODIFIED"), Some(&after), &after), "changed");
        assert_eq!(what(&change("DELETED"), Some(&after), &after), "deleted");
        let many = json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1});
        assert_eq!(what(&change("MODIFIED"), Some(&json!({})), &many), "a, b, c, d, and 2 more");
    }
}
