//! Runs the stories in `scenarios/`: commands and, after `----`, what the controllers did about them.
//!
//! A block is one command a line, or `apply` with YAML after it. `REWRITE=1` writes what happens into the files.

mod world;

use std::fmt::Write as _;
use std::path::Path;

use api::Key;
use api::deletion::{Options, Propagation};
use serde_json::Value;
use world::World;

fn run(name: &str) {
    // Asked now: checkouts may share what was built.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this");
    let path = Path::new(&package).join("tests/scenarios").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut world = World::new();
    let mut out = String::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let block = block.trim_matches('\n');
        if block.lines().all(|line| line.starts_with('#')) {
            writeln!(out, "{block}\n").unwrap();
            continue;
        }
        let input = block.split("\n----").next().unwrap();
        writeln!(out, "{input}\n----\n{}\n", execute(&mut world, input).trim_end()).unwrap();
    }
    let out = out.replace("----\n\n", "----\n");
    if std::env::var("REWRITE").is_ok() {
        std::fs::write(&path, out.trim_end().to_string() + "\n").unwrap();
    } else {
        assert_eq!(out.trim_end(), text.trim_end(), "{name} went another way (REWRITE=1 takes it over)");
    }
}

fn execute(world: &mut World, input: &str) -> String {
    world.log.clear();
    let lines: Vec<&str> = input.lines().filter(|line| !line.starts_with('#')).collect();
    if let ["apply", yaml @ ..] = lines.as_slice() {
        return match world.apply(&yaml.join("\n")) {
            Ok(_) => String::new(),
            Err(why) => format!("refused: {why}"),
        };
    }
    let mut out = String::new();
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (verb, what, rest) = (words.next().unwrap(), words.next().unwrap_or(""), words.next().unwrap_or(""));
        match verb {
            "settle" => world.settle(),
            "converge" => world.converge(),
            "kubelet" => {
                world.kubelet(|_| true);
            }
            "wait" => {
                world.advance(what.parse().unwrap());
                world.settle();
            }
            "patch" => {
                if let Err(why) = world.patch(&key(world, what), &serde_json::from_str(rest).unwrap()) {
                    writeln!(out, "refused: {why}").unwrap();
                }
            }
            "delete" => world.delete(&key(world, what), &options(rest)),
            "ready" => world.set_ready(&key(world, what), rest == "yes"),
            "phase" => world.set_phase(&key(world, what), rest),
            "show" | "list" => {}
            other => panic!("what is {other}?"),
        }
        out.push_str(&std::mem::take(&mut world.log));
        match verb {
            "show" => {
                let object = world.json(&key(world, what)).unwrap_or(Value::Null);
                writeln!(out, "{}", timeless(object.pointer(rest).unwrap_or(&Value::Null))).unwrap();
            }
            "list" => world.view.entries().filter(|entry| entry.key.to_string().starts_with(what)).for_each(|entry| {
                let state = if entry.is_terminating() { " terminating" } else { "" };
                writeln!(out, "{}{state}", entry.key).unwrap();
            }),
            _ => {}
        }
    }
    out
}

/// `core/pods/default/#1` is the second of the pods.
fn key(world: &World, text: &str) -> Key {
    let key = Key::decode(text.as_bytes()).unwrap();
    match key.name.strip_prefix('#') {
        None => key,
        Some(at) => world
            .view
            .of_kind_in(&key.group, &key.resource, &key.namespace)
            .nth(at.parse().unwrap())
            .unwrap()
            .key
            .as_ref()
            .clone(),
    }
}

fn options(text: &str) -> Options {
    let propagation = match text {
        "foreground" => Some(Propagation::Foreground),
        "orphan" => Some(Propagation::Orphan),
        _ => Some(Propagation::Background),
    };
    Options { propagation, ..Options::default() }
}

/// Without the fields that say when.
fn timeless(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(name, _)| !name.ends_with("Time"));
            Value::Object(kept.map(|(name, value)| (name.clone(), timeless(value))).collect())
        }
        Value::Array(all) => Value::Array(all.iter().map(timeless).collect()),
        other => other.clone(),
    }
}

macro_rules! stories {
    ($($name:ident)*) => { $(#[test] fn $name() { run(concat!(stringify!($name), ".txt")); })* };
}

stories! {
    deployment_rolls
    deployment_history
    deployment_pauses
    deployment_scales
    deployment_recreates
    deployment_is_stuck
    replica_set_keeps_the_number
    replica_set_claims
    garbage_is_collected
    namespace_goes
    pods_nobody_looks_after
}
