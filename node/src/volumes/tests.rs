//! Volumes on a real disk, in a directory of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{File, Plan, Source, prepare_mount, remove_pod, set_up};

fn files(list: &[(&str, &str)]) -> Vec<Plan> {
    let file =
        |(path, text): &(&str, &str)| File { path: (*path).into(), bytes: text.as_bytes().to_vec(), mode: 0o640 };
    vec![Plan { name: "v".into(), source: Source::Files(list.iter().map(file).collect()), group: None }]
}

#[test]
fn files_are_exchanged_all_at_once_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    set_up(dir.path(), &files(&[("a", "1"), ("sub/b", "2")])).unwrap();
    let volume = dir.path().join("v");
    assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(volume.join("sub/b")).unwrap(), "2");
    assert_eq!(fs::metadata(volume.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
    // A reader goes through one link: whoever follows it sees one version.
    let first = fs::read_link(volume.join("..data")).unwrap();
    set_up(dir.path(), &files(&[("a", "3"), ("c", "4")])).unwrap();
    assert_ne!(fs::read_link(volume.join("..data")).unwrap(), first);
    assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "3");
    assert!(!volume.join("sub").exists());
    assert!(!volume.join(first).exists());
    let visible = fs::read_dir(&volume).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let mut visible: Vec<String> = visible.filter(|name| !name.starts_with("..")).collect();
    visible.sort();
    assert_eq!(visible, ["a", "c"]);
}

#[test]
fn what_is_right_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let plans = files(&[("a", "1")]);
    set_up(dir.path(), &plans).unwrap();
    let before = fs::metadata(dir.path().join("v/a")).unwrap().modified().unwrap();
    set_up(dir.path(), &plans).unwrap();
    assert_eq!(fs::metadata(dir.path().join("v/a")).unwrap().modified().unwrap(), before);
}

#[test]
fn links_that_could_not_be_made_are_made_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let plans = files(&[("a", "1"), ("sub/b", "2")]);
    set_up(dir.path(), &plans).unwrap();
    let volume = dir.path().join("v");
    let version = fs::read_link(volume.join("..data")).unwrap();
    // As it stands where the disk was full between the files and their links.
    fs::remove_file(volume.join("a")).unwrap();
    fs::remove_file(volume.join("sub")).unwrap();
    fs::write(volume.join("stale"), "").unwrap();
    set_up(dir.path(), &plans).unwrap();
    assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(volume.join("sub/b")).unwrap(), "2");
    assert!(!volume.join("stale").exists());
    assert_eq!(fs::read_link(volume.join("..data")).unwrap(), version, "the files were right");
}

#[test]
fn an_empty_dir_that_was_not_finished_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let unfinished = dir.path().join(".v.new");
    fs::create_dir(&unfinished).unwrap();
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755)).unwrap();
    set_up(dir.path(), &[Plan { name: "v".into(), source: Source::Directory, group: None }]).unwrap();
    assert_eq!(fs::metadata(dir.path().join("v")).unwrap().permissions().mode() & 0o777, 0o777);
    assert!(!unfinished.exists());
}

#[test]
fn an_empty_dir_keeps_what_containers_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let plans = [Plan { name: "v".into(), source: Source::Directory, group: None }];
    set_up(dir.path(), &plans).unwrap();
    fs::write(dir.path().join("v/x"), "kept").unwrap();
    set_up(dir.path(), &plans).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("v/x")).unwrap(), "kept");
    assert_eq!(fs::metadata(dir.path().join("v")).unwrap().permissions().mode() & 0o777, 0o777);
}

#[test]
fn host_paths_are_what_they_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let host = |name: &str, kind: &str| {
        let source = Source::Host { path: path(name), kind: kind.into() };
        set_up(&dir.path().join("volumes"), &[Plan { name: "v".into(), source, group: None }])
    };
    let error = host("none", "Directory").unwrap_err();
    assert_eq!(error.to_string(), format!("hostPath type check failed: {} is not a Directory", path("none")));
    host("made", "DirectoryOrCreate").unwrap();
    host("made", "Directory").unwrap();
    host("file", "FileOrCreate").unwrap();
    assert!(host("file", "Directory").is_err());
    assert!(host("file", "Socket").is_err());
    host("anything", "").unwrap();
    assert!(dir.path().join("anything").is_dir());
}

#[test]
fn a_part_of_a_volume_cannot_lead_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("v");
    fs::create_dir_all(&volume).unwrap();
    prepare_mount(&volume, &volume.join("new/part")).unwrap();
    assert!(volume.join("new/part").is_dir());
    // A container can make such a link in its emptyDir.
    std::os::unix::fs::symlink("/etc", volume.join("evil")).unwrap();
    assert!(prepare_mount(&volume, &volume.join("evil")).is_err());
    assert!(prepare_mount(&volume, &volume.join("evil/made-by-kontiki")).is_err());
    assert!(!std::path::Path::new("/etc/made-by-kontiki").exists());
}

#[test]
fn removing_what_is_not_there_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let pod = dir.path().join("pod");
    remove_pod(&pod).unwrap();
    set_up(&pod.join("volumes"), &files(&[("a", "1")])).unwrap();
    remove_pod(&pod).unwrap();
    assert!(!pod.exists());
}
