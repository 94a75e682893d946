//! The Python client: runs the script beside this file in the environment that `deploy/setup.sh tests` made.

use std::path::PathBuf;

use crate::harness::{Cluster, package};

#[test]
fn the_python_client_does_its_daily_work() {
    let cache = std::env::var_os("KONTIKI_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/kontiki"));
    let python = cache.join("python/bin/python");
    if !python.exists() {
        println!("left out: {} is missing (deploy/setup.sh tests makes it where python3 is)", python.display());
        return;
    }
    let cluster = Cluster::under_test();
    let namespace = cluster.namespace("clients-python");
    let script = package().join("tests/e2e/clients/kubernetes_client.py");
    let output = cluster.run(python.to_str().unwrap(), &[script.to_str().unwrap(), &namespace.name], "");
    assert!(output.ok && output.stdout.ends_with("done\n"), "{}{}", output.stdout, output.stderr);
}
