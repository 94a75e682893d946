//! Starting where something is in the way: a clear message, an exit code that is not 0, and nothing is damaged.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{Cluster, Output, eventually, eventually_ok};

/// A cluster of one replica (and the configuration of one node) in a directory of its own, run by the test.
struct Alone {
    binary: PathBuf,
    dir: TempDir,
    port: u16,
}

impl Alone {
    fn new() -> Alone {
        let alone = Alone {
            binary: Cluster::under_test().binary().clone(),
            dir: tempfile::tempdir().unwrap(),
            port: three_free_ports(),
        };
        let port = alone.port.to_string();
        alone.run(&["init", "--dir", alone.path(""), "--replicas", "1", "--nodes", "1", "--port", &port]).expect();
        alone
    }

    fn path(&self, below: &str) -> &str {
        let path = self.dir.path().join(below).display().to_string();
        path.trim_end_matches('/').to_owned().leak()
    }

    /// Runs to the end, which must come soon.
    fn run(&self, args: &[&str]) -> Output {
        self.run_with("", args)
    }

    fn run_with(&self, docker_host: &str, args: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["-k", "2", "20"]).arg(&self.binary).args(args).env("DOCKER_HOST", docker_host);
        command.env("KUBECONFIG", self.path("kubeconfig")).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_ne!(
            output.status.code(),
            Some(124),
            "{args:?} did not end:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Output {
            ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A copy of a configuration file with one text replaced by another; its path.
    fn changed(&self, file: &str, from: &str, to: &str) -> &str {
        let text = std::fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        let copy = self.path("changed.yaml");
        std::fs::write(copy, text.replace(from, to)).unwrap();
        copy
    }

    fn serve(&self, config: &str) -> Serving<'_> {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut command = Command::new(&self.binary);
        command.args(["server", "--config", config]).stdin(Stdio::null()).stderr(log);
        let serving = Serving { alone: self, process: command.spawn().unwrap() };
        eventually("the replica serves", Duration::from_secs(20), || serving.kubectl(&["get", "--raw", "/readyz"]).ok);
        serving
    }
}

/// A replica that runs; ended, with time to do so in order, when dropped.
struct Serving<'a> {
    alone: &'a Alone,
    process: Child,
}

impl Serving<'_> {
    fn kubectl(&self, args: &[&str]) -> Output {
        let server = format!("--server=https://127.0.0.1:{}", self.alone.port);
        let kubeconfig = format!("--kubeconfig={}", self.alone.path("kubeconfig"));
        Cluster::under_test().kubectl(&[&[kubeconfig.as_str(), &server, "--request-timeout=10s"], args].concat())
    }

    fn writes(&self, name: &str) {
        self.kubectl(&["create", "configmap", name, "--from-literal=a=b"]).expect();
    }

    fn holds(&self, name: &str) {
        assert_eq!(self.kubectl(&["get", "configmap", name, "-o", "jsonpath={.data.a}"]).expect(), "b");
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let told = Instant::now();
        while told.elapsed() < Duration::from_secs(10) && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            println!("--- its log\n{}", std::fs::read_to_string(self.alone.path("log")).unwrap_or_default());
        }
    }
}

/// The first of three free ports in a row.
fn three_free_ports() -> u16 {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (0..100)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())
        .find(|first| *first < 65_000 && free(first + 1) && free(first + 2))
        .expect("three free ports in a row")
}

/// The command fails, and its one line of explanation has these words.
#[track_caller]
fn fails(output: Output, words: &[&str]) {
    let said = output.expect_failure();
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("kontiki: ")), "{said}");
}

#[test]
fn a_port_that_is_taken() {
    let alone = Alone::new();
    let (server, node) = (alone.path("replica-1/config.yaml"), alone.path("node-1/config.yaml"));
    for (offset, verb, config) in [(0, "server", server), (1, "server", server), (2, "node", node)] {
        let port = alone.port + offset;
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        fails(alone.run(&[verb, "--config", config]), &[&format!("127.0.0.1:{port}"), "Address already in use"]);
    }
    alone.serve(server).writes("after");
}

#[test]
fn data_of_another_cluster_or_in_use() {
    let alone = Alone::new();
    let config = alone.path("replica-1/config.yaml");
    let serving = alone.serve(config);
    serving.writes("mine");
    // The same replica a second time, on other ports.
    let free = three_free_ports();
    let text = std::fs::read_to_string(config).unwrap();
    let text = text.replace(&alone.port.to_string(), &free.to_string());
    let elsewhere = alone.path("elsewhere.yaml");
    std::fs::write(elsewhere, text.replace(&(alone.port + 1).to_string(), &(free + 1).to_string())).unwrap();
    let data = alone.path("replica-1/data");
    fails(alone.run(&["server", "--config", elsewhere]), &[data, "in use by another process"]);
    serving.writes("still-served");
    drop(serving);

    let other = Alone::new();
    let foreign = other.changed("replica-1/config.yaml", other.path("replica-1/data"), data);
    fails(other.run(&["server", "--config", foreign]), &[data, "belongs to cluster"]);
    let renumbered = alone.changed("replica-1/config.yaml", "id: 1", "id: 2");
    fails(alone.run(&["server", "--config", renumbered]), &[data, "belongs to replica 1"]);
    let serving = alone.serve(config);
    serving.holds("mine");
    serving.holds("still-served");
}

#[test]
fn a_configuration_that_cannot_be_used() {
    let alone = Alone::new();
    let noise: Vec<u8> = (0..2000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    std::fs::write(alone.path("noise"), noise).unwrap();
    std::fs::write(alone.path("empty"), "").unwrap();
    std::fs::write(alone.path("broken"), "clusterId: [1, 2").unwrap();
    for verb in ["server", "node"] {
        for (file, words) in [
            ("nowhere.yaml", "No such file"),
            ("noise", "UTF-8"),
            ("empty", "missing field"),
            ("broken", "line 1"),
            ("pki", "Is a directory"),
        ] {
            let file = alone.path(file);
            fails(alone.run(&[verb, "--config", file]), &[file, words]);
        }
    }
    for (process, from, to, words) in [
        ("replica-1", "\nlisten:", "\nlisen:", &["unknown field `lisen`", "`listen`"][..]),
        ("replica-1", "\nid: 1", "\nid: one", &["id: ", "\"one\""]),
        ("replica-1", "\nid: 1", "\nid: 7", &["members", "7"]),
        ("replica-1", "\nlisten: 127.0.0.1:", "\nlisten: nonsense-", &["cannot listen on nonsense-"]),
        ("replica-1", "/pki\n", "/nothing\n", &["/nothing/api.crt", "No such file"]),
        ("replica-1", "/data\n", "/config.yaml\n", &["/config.yaml", "data directory"]),
        ("node-1", "\nname: node-1", "\nname: Node_1", &["name: ", "\"Node_1\"", "lower case"]),
        ("node-1", "address: 127.0.0.1", "address: here", &["address: ", "IP address"]),
        ("node-1", "10.244.0.0/16", "10.244.0.0/160", &["podSubnet: ", "10.244.0.0/160"]),
        ("node-1", "- 127.0.0.1:", "- 127.0.0.1/", &["replicas: ", "host:port"]),
        ("node-1", "\nclusterId: ", "\nclusterId: ''\nlabels: {} # ", &["clusterId is empty"]),
        ("node-1", "/pki\n", "/nothing\n", &["/nothing/node.crt", "No such file"]),
    ] {
        let config = alone.changed(&format!("{process}/config.yaml"), from, to);
        let verb = if process == "node-1" { "node" } else { "server" };
        fails(alone.run(&[verb, "--config", config]), words);
    }
    alone.serve(alone.path("replica-1/config.yaml")).writes("after");
}

#[test]
fn no_container_engine() {
    let alone = Alone::new();
    let config = alone.path("node-1/config.yaml");
    // A socket that nobody listens on, as a crashed engine leaves it.
    let dead = alone.path("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(dead).unwrap());
    for (socket, words) in [("unix:///no/such/docker.sock", "/no/such/docker.sock"), (dead, "refused")] {
        let words = ["no container engine", "is Docker running?", words];
        fails(alone.run_with(socket, &["node", "--config", config]), &words);
        assert!(!Path::new(alone.path("node-1/data")).exists(), "an agent that cannot begin leaves no trace");
    }
}

#[test]
fn damaged_data_is_refused_and_left_as_it_is() {
    let alone = Alone::new();
    let config = alone.path("replica-1/config.yaml");
    alone.serve(config).writes("before");
    let current = Path::new(alone.path("replica-1/data")).join("CURRENT");
    let whole = std::fs::read(&current).unwrap();
    std::fs::write(&current, "garbage").unwrap();
    fails(alone.run(&["server", "--config", config]), &[alone.path("replica-1/data"), "Corruption"]);
    std::fs::write(&current, whole).unwrap();
    alone.serve(config).holds("before");
}

#[test]
fn a_full_disk() {
    let alone = Alone::new();
    let small = alone.path("small");
    std::fs::create_dir(small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs", small]).output();
    if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
        println!("left out: a small file system cannot be mounted here ({mounted:?})");
        return;
    }
    let _mount = Mount(small);
    let filler = Path::new(small).join("filler");
    let fill = || {
        std::process::Command::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", filler.display()))
            .output()
    };
    let config = alone.changed("replica-1/config.yaml", alone.path("replica-1/data"), &format!("{small}/data"));
    let full = ["cannot be opened", "No space left on device", small];

    // Nothing was ever set aside on it: it cannot begin.
    fill().unwrap();
    fails(alone.run(&["server", "--config", config]), &full);
    std::fs::remove_file(&filler).unwrap();
    {
        let serving = alone.serve(config);
        serving.writes("kept");
        serving.writes("given-up");
        let reserve = Path::new(small).join("data/reserve");
        eventually("some room is set aside", Duration::from_secs(10), || reserve.exists());
    }

    // It has a reserve to begin with: it shows what it has, takes deletes, and says why it takes nothing new.
    fill().unwrap();
    let serving = alone.serve(config);
    serving.holds("kept");
    eventually_ok("what grows the state is refused with the reason", Duration::from_secs(10), || {
        let output = serving.kubectl(&["create", "configmap", "refused"]);
        let refused = !output.ok && output.stderr.contains("insufficient storage");
        if refused { Ok(()) } else { Err(output.stdout + &output.stderr) }
    });
    serving.kubectl(&["delete", "configmap", "given-up"]).expect();
    std::fs::remove_file(&filler).unwrap();
    eventually_ok("it takes writes again", Duration::from_secs(10), || {
        let output = serving.kubectl(&["create", "configmap", "after"]);
        if output.ok { Ok(()) } else { Err(output.stderr) }
    });
    serving.holds("kept");
}

/// Unmounted when dropped.
struct Mount<'a>(&'a str);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}
