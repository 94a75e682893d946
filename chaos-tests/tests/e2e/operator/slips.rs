//! What an operator gets wrong: the wrong file, the wrong directory, the wrong number. Each is told in one line, and nothing
//! is made or changed.

use std::path::{Path, PathBuf};

use super::fails;
use super::own::{Own, host};

/// What people give where a file of some kind is wanted; and what is said of it, `kontiki snapshot`'s words last.
const WRONG: [(&str, &str, &str); 4] = [
    ("nowhere", "No such file or directory", "there is no "),
    ("directory", "Is a directory", "Is a directory"),
    ("empty", "missing field `clusterId`", "it is no Kontiki snapshot"),
    ("words", "invalid type", "it is no Kontiki snapshot"),
];

/// A cluster that runs, the files of one that never ran, and things that are not what they are taken for.
struct Scene {
    cluster: Own,
    other: Own,
    snapshot: String,
}

impl Scene {
    fn new() -> Scene {
        let scene = Scene { cluster: Own::running(1), other: Own::new(1), snapshot: String::new() };
        std::fs::create_dir(scene.at("directory")).unwrap();
        std::fs::write(scene.at("empty"), "").unwrap();
        std::fs::write(scene.at("words"), "these are only words\n").unwrap();
        let snapshot = scene.at("snapshot");
        scene.cluster.kontiki(&["snapshot", "save", &snapshot]).expect();
        Scene { snapshot, ..scene }
    }

    fn at(&self, name: &str) -> String {
        self.other.path(name)
    }

    /// Each command is refused with its words; the files, other than those that a replica works on, and the members stay.
    #[track_caller]
    fn refuses(&self, slips: &[(Vec<&str>, Vec<&str>)]) {
        for (args, words) in slips {
            let before = (files(&self.other.path("")), self.cluster.voters_and_learners());
            fails(self.cluster.kontiki(args), words);
            let after = (files(&self.other.path("")), self.cluster.voters_and_learners());
            assert!(before == after, "{args:?} left something behind: {:?}, {:?}", names(&after.0), after.1);
        }
    }
}

type Files = Vec<(PathBuf, Vec<u8>)>;

fn names(files: &Files) -> Vec<&Path> {
    files.iter().map(|(path, _)| path.as_path()).collect()
}

/// All files and directories below, with what is in them.
fn files(dir: &str) -> Files {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::from(dir)]);
    while let Some(next) = open.pop() {
        match std::fs::read_dir(&next) {
            Ok(entries) => {
                open.extend(entries.map(|entry| entry.unwrap().path()));
                found.push((next, Vec::new()));
            }
            Err(_) => found.push((next.clone(), std::fs::read(&next).unwrap())),
        }
    }
    found.sort();
    found
}

#[test]
fn a_wrong_file_is_named_with_what_is_wrong_and_nothing_is_left_half_made() {
    let scene = Scene::new();
    let (config, own_config, snapshot) = (scene.other.config(1), scene.cluster.config(1), scene.snapshot.as_str());
    let data = scene.other.path("replica-1/data");
    for (name, as_config, as_snapshot) in WRONG {
        let file = scene.at(name);
        scene.refuses(&[
            (vec!["snapshot", "status", &file], vec![&file, as_snapshot]),
            (vec!["snapshot", "restore", &file, "--config", &config], vec![&file, as_snapshot]),
            (vec!["snapshot", "restore", snapshot, "--config", &file], vec![&file, as_config]),
            (vec!["recover", "--config", &file, "--yes"], vec![&file, as_config]),
        ]);
    }
    let (nowhere, words) = (scene.at("nowhere/new.snap"), scene.at("words"));
    scene.refuses(&[
        (vec!["snapshot", "save", snapshot], vec![snapshot, "exists already"]),
        (vec!["snapshot", "save", &nowhere], vec![&nowhere, "No such file or directory"]),
        (vec!["snapshot", "restore", snapshot, "--config", &own_config], vec!["is not empty"]),
        (
            vec!["snapshot", "restore", snapshot, "--config", &own_config, "--data-dir", &nowhere],
            vec!["the snapshot is of cluster", "needs an id of its own"],
        ),
        (
            vec!["snapshot", "restore", snapshot, "--config", &config, "--data-dir", &words],
            vec!["cannot make the data directory", &words, "exists"],
        ),
        (vec!["recover", "--config", &config, "--yes"], vec![&data, "no replica ever ran on it"]),
    ]);
    // No replica of that cluster runs.
    let unsaved = scene.at("unsaved.snap");
    let kubeconfig = scene.at("kubeconfig");
    scene.refuses(&[(vec!["snapshot", "save", &unsaved, "--kubeconfig", &kubeconfig], vec!["refused"])]);
    assert!(!Path::new(&nowhere).exists() && !Path::new(&data).exists());

    std::fs::create_dir(&data).unwrap();
    std::fs::write(format!("{data}/CURRENT"), "garbage").unwrap();
    scene.refuses(&[(vec!["snapshot", "restore", snapshot, "--config", &config], vec![&data, "is not empty"])]);
    fails(scene.cluster.kontiki(&["recover", "--config", &config, "--yes"]), &[&data, "Corruption"]);
    // The files that were given to the verbs are as good as before.
    std::fs::remove_dir_all(&data).unwrap();
    scene.cluster.kontiki(&["snapshot", "restore", snapshot, "--config", &config]).expect();
}

#[test]
fn a_wrong_replica_is_refused_with_the_right_ones_and_the_members_stay() {
    let scene = Scene::new();
    let unknown = vec!["there is no replica 9", "the replicas are replica 1"];
    let (port, own) = (scene.other.port_of(4).to_string(), scene.cluster.path(""));
    let taken = scene.cluster.port_of(1).to_string();
    let host = host();
    let add = |dir, port| vec!["replica", "add", "--host", &host, "--dir", dir, "--port", port];
    let replace = |id, dir| vec!["replica", "replace", id, "--host", &host, "--dir", dir, "--port", &port];
    let (nowhere, directory, words, other) =
        (scene.at("nowhere"), scene.at("directory"), scene.at("words"), scene.at(""));
    scene.refuses(&[
        (vec!["replica", "promote", "9"], unknown.clone()),
        (vec!["replica", "promote", "9", "--wait", "5"], unknown.clone()),
        (vec!["replica", "remove", "9"], unknown.clone()),
        (vec!["replica", "transfer-leadership", "--to", "9"], unknown.clone()),
        (replace("9", &own), unknown),
        (vec!["replica", "remove", "1"], vec!["replica 1 is the last voter"]),
        (replace("1", &own), vec!["replica 1 answers: it is not dead"]),
        (add(&nowhere, &port), vec![&nowhere, "No such file or directory"]),
        (add(&words, &port), vec![&words, "is missing", "kontiki init"]),
        (add(&directory, &port), vec![&directory, "is missing", "kontiki init"]),
        (add(&other, &port), vec![&other, "belongs to cluster", &scene.other.id()]),
        (add(&own, "65535"), vec!["--port 65535"]),
        (add(&own, &taken), vec!["is the address of replica 1 already"]),
    ]);
    for id in ["nine", "-1", ""] {
        let said = scene.cluster.kontiki(&["replica", "promote", "--", id]).expect_failure();
        assert!(said.starts_with("error: ") && said.contains("<ID>"), "{id:?}: {said}");
    }
    let nowhere = scene.at("cluster-of-no-host");
    let own = ["--dir", &own, "--port", &port, "--host", "no such host"];
    for args in [
        [&["replica", "add"][..], &own].concat(),
        [&["replica", "replace", "1"][..], &own].concat(),
        vec!["init", "--dir", &nowhere, "--replica-host", "no such host {}"],
        vec!["init", "--dir", &nowhere, "--node-host", "no such host {}"],
        vec!["init", "--dir", &nowhere, "--proxy-host", "no such host {}"],
    ] {
        let said = scene.cluster.kontiki(&args).expect_failure();
        assert!(said.starts_with("error: invalid value 'no such host"), "{args:?}: {said}");
        assert!(said.contains("host <") && said.contains("' ' cannot stand in the name"), "{args:?}: {said}");
    }
    assert!(!Path::new(&nowhere).exists());
    assert!(!Path::new(&scene.cluster.path("replica-2")).exists(), "files were made for a replica that is none");
    scene.cluster.writes("after");
}

#[test]
fn a_wrong_name_or_revision_is_told() {
    let scene = Scene::new();
    scene.cluster.writes("known");
    let future = ["get", "configmaps", "--at-revision", "4000000000"].to_vec();
    scene.refuses(&[
        (vec!["history", "configmap", "unknown"], vec!["configmaps \"unknown\" not found"]),
        (vec!["history", "nonsense", "known"], vec!["no kind \"nonsense\"", "configmaps"]),
        (vec!["history", "configmaps"], vec!["name one of the configmaps"]),
        (vec!["get", "configmap", "unknown", "--at-revision", "5"], vec!["configmaps \"unknown\" not found"]),
        (vec!["get", "configmaps", "--at-revision", "0"], vec!["revisions begin at 1"]),
        (vec!["get", "configmap", "known", "--at-revision", "0"], vec!["revisions begin at 1"]),
        (future, vec!["Too large resource version: 4000000000", "current: "]),
    ]);
    for args in [&["history", "configmap", "known", "--limit=0"][..], &["get", "configmap", "--at-revision", "new"]] {
        let said = scene.cluster.kontiki(args).expect_failure();
        assert!(said.starts_with("error: invalid value"), "{args:?}: {said}");
    }
}
