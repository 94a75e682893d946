//! What a person needs to see when a test failed: the cluster's status, the ends of its logs, the test's objects. Acts.

use crate::harness::{Cluster, Logs, Namespace};

const PROCESSES: [&str; 6] = ["replica-1", "replica-2", "replica-3", "node-1", "node-2", "node-3"];
const LINES: usize = 30;

/// Prints a cluster's status and the end of the log of each of its processes.
pub fn cluster(cluster: &Cluster, logs: &Logs) {
    let status = cluster.kontiki(&["status"]);
    println!("--- kontiki status\n{}{}", status.stdout, status.stderr);
    for process in PROCESSES {
        let log = match logs {
            Logs::Files => {
                let bytes = std::fs::read(cluster.dir().join(process).join("log")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Logs::Containers(prefix) => {
                let output = cluster.docker(&["logs", "--tail", &LINES.to_string(), &format!("{prefix}{process}_1")]);
                format!("{}{}", output.stdout, output.stderr)
            }
        };
        println!("--- the end of the log of {process}\n{}", end_of(&log));
    }
}

/// Prints a namespace's Pods and events.
pub fn namespace(namespace: &Namespace) {
    for args in [&["get", "pods", "-o", "wide"][..], &["get", "events", "--sort-by=.lastTimestamp"]] {
        let output = namespace.kubectl(args);
        println!("--- kubectl -n {} {}\n{}{}", namespace.name, args.join(" "), output.stdout, output.stderr);
    }
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
