//! `kontiki snapshot`: from a running cluster to a file, from the file to another cluster.

use std::os::unix::fs::PermissionsExt as _;

use super::fails;
use super::own::Own;

#[test]
fn a_backup_begins_a_new_cluster_and_no_client_takes_the_past_for_the_present() {
    let old = Own::running(3);
    let versions: Vec<u64> = (0..20).map(|n| old.writes(&format!("saved-{n}"))).collect();
    let (first, last) = (versions[0], versions[19]);
    let kept = old.held();
    assert_eq!(kept.len(), 20, "{kept:?}");
    let file = old.beside("backup.snap");
    let saved = old.kontiki(&["snapshot", "save", &file]).expect();
    let behind = old.writes("behind");

    let (whole, revision) = is_described(&old, &file, &saved);
    assert!(last <= revision && revision < behind, "{last} <= {revision} < {behind}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it holds the Secrets");
    assert!(!std::path::Path::new(&format!("{file}.part")).exists());

    let mut new = Own::new(3);
    is_refused_when_damaged(&new, &whole);
    for id in 1..=3 {
        let restored = new.kontiki(&["snapshot", "restore", &file, "--config", &new.config(id)]).expect();
        assert!(restored.starts_with(&format!("replica {id} of cluster {} begins in ", new.id())), "{restored}");
        assert!(restored.contains("restore the same file for each of the 3 replicas"), "{restored}");
    }
    let again = new.kontiki(&["snapshot", "restore", &file, "--config", &new.config(1)]);
    fails(again, &[&new.path("replica-1/data"), "is not empty"]);

    (1..=3).for_each(|id| new.start(id));
    new.serves();
    assert_eq!(new.held(), kept);
    new.consists_of(&[1, 2, 3], &[]);
    // The last one the file does not know: its revision was given behind it.
    for version in [first, last, revision, behind] {
        new.has_forgotten(version);
    }
    let present = new.writes("new");
    assert!(present > revision + 1_000_000, "{present} is not far from {revision}");
    new.writes("newest");
    let seen = new.watched_since(present);
    assert!(seen.contains("ADDED") && seen.contains("newest") && !seen.contains("ERROR"), "{seen}");
    assert_eq!(old.held().len(), 21, "the old cluster goes on");
}

/// `save` and `status` say what the file is. Returns its bytes and its revision.
fn is_described(old: &Own, file: &str, saved: &str) -> (Vec<u8>, u64) {
    let status = old.json(&["snapshot", "status", file]);
    let (objects, revision) = (status["objects"].as_u64().unwrap(), status["revision"].as_u64().unwrap());
    assert_eq!(saved, format!("{file}: {objects} objects at revision {revision}, whole\n"));
    assert!(objects >= 20, "{status}");
    assert_eq!((&status["clusterId"], &status["whole"]), (&old.id().into(), &true.into()));
    let table = old.kontiki(&["snapshot", "status", file]).expect();
    let rows: Vec<(&str, &str)> = table.lines().filter_map(|line| line.split_once(' ')).collect();
    let says = |name: &str, words: &str| rows.iter().any(|row| row.0 == name && row.1.trim().starts_with(words));
    assert!(says("cluster", &old.id()) && says("revision", &revision.to_string()), "{table}");
    assert!(says("objects", &format!("{objects}, ")) && table.contains("every checksum matches"), "{table}");
    (std::fs::read(file).unwrap(), revision)
}

/// Whichever byte is another: the commands name the file and the place, and begin nothing.
fn is_refused_when_damaged(new: &Own, whole: &[u8]) {
    let damaged = new.beside("damaged.snap");
    let end = whole.len() - 1;
    for (at, words) in [
        (0, "is no Kontiki snapshot"),
        (20, "damaged at byte 16, in the header"),
        (end / 2, "in part 1 (the first objects): its checksum does not match"),
        (end, "its checksum does not match"),
    ] {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0xff;
        std::fs::write(&damaged, bytes).unwrap();
        let told = fails(new.kontiki(&["snapshot", "status", &damaged]), &[&damaged, words]);
        let restored = new.kontiki(&["snapshot", "restore", &damaged, "--config", &new.config(1)]);
        assert_eq!(fails(restored, &[]), told);
        assert!(!std::path::Path::new(&new.path("replica-1/data")).exists(), "it began from a damaged file");
    }
}
