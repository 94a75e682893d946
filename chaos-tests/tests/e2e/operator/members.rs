//! `kontiki replica`: one more, one less, one in another's place.

use super::fails;
use super::own::{Own, SOON};
use crate::harness::{eventually, eventually_ok};

#[test]
fn replicas_are_added_removed_and_replaced_and_no_id_is_given_twice() {
    let mut cluster = Own::running(3);
    cluster.writes("first");
    is_added(&mut cluster);
    is_removed(&mut cluster);
    is_replaced(&mut cluster);

    for gone in ["2", "3"] {
        let promoted = cluster.kontiki(&["replica", "promote", gone]);
        fails(promoted, &[&format!("replica {gone} was removed from this cluster: its id is never used again")]);
    }
    for next in [6, 7] {
        add(&cluster, next);
        cluster.kontiki(&["replica", "remove", &next.to_string()]).expect();
    }
    cluster.writes("last");
    cluster.caught_up();
    for id in [1, 4, 5] {
        cluster.kubectl_at(id, &["get", "configmap", "first", "last"]).expect();
    }
    cluster.consists_of(&[1, 4, 5], &[]);
}

/// A new replica gets this id.
#[track_caller]
fn add(cluster: &Own, id: u64) {
    let place = cluster.place_of(id);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let added = cluster.kontiki(&[&["replica", "add"], &place[..]].concat()).expect();
    let start = format!("start it:  kontiki server --config {}", cluster.config(id));
    assert!(added.starts_with(&format!("replica {id} is added as a learner")) && added.contains(&start), "{added}");
    assert!(added.contains(&format!("kontiki replica promote {id}")), "{added}");
}

fn is_added(cluster: &mut Own) {
    add(cluster, 4);
    cluster.consists_of(&[1, 2, 3], &[4]);
    fails(cluster.kontiki(&["replica", "promote", "4"]), &["replica 4 does not answer"]);
    fails(cluster.kontiki(&["replica", "transfer-leadership", "--to", "4"]), &["replica 4 is a learner"]);
    cluster.start(4);
    let promoted = cluster.kontiki(&["replica", "promote", "4", "--wait", "30"]).expect();
    assert_eq!(promoted, "replica 4 votes\n");
    cluster.consists_of(&[1, 2, 3, 4], &[]);
    let led = cluster.kontiki(&["replica", "transfer-leadership", "--to", "4"]).expect();
    assert_eq!(led, "replica 4 leads\n");
    eventually_ok("all see replica 4 lead", SOON, || {
        let table = cluster.kontiki(&["replica", "list"]).expect();
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let row = table.lines().map(cells).find(|row| row[0] == "4").expect(&table);
        if row[1..3] == ["yes", "leader"] && row[7] == "up" { Ok(()) } else { Err(table) }
    });
}

fn is_removed(cluster: &mut Own) {
    let removed = cluster.kontiki(&["replica", "remove", "2"]).expect();
    assert!(removed.starts_with("replica 2 is removed; its process ends by itself"), "{removed}");
    cluster.consists_of(&[1, 3, 4], &[]);
    is_told_that_it_is_out(cluster, 2);
    cluster.start(2);
    is_told_that_it_is_out(cluster, 2);
    // As after an answer that got lost.
    assert_eq!(cluster.kontiki(&["replica", "remove", "2"]).expect(), removed);
}

#[track_caller]
fn is_told_that_it_is_out(cluster: &mut Own, id: u64) {
    let log = cluster.ends(id);
    assert!(log.contains(&format!("replica {id} was removed from the cluster")), "it does not say why it ends:\n{log}");
}

fn is_replaced(cluster: &mut Own) {
    let place = cluster.place_of(5);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let replace = [&["replica", "replace", "3", "--wait", "30"], &place[..]].concat();
    fails(cluster.kontiki(&replace), &["replica 3 answers: it is not dead; use add, promote, remove"]);
    cluster.kill(3);
    eventually("the death of replica 3 is noticed", SOON, || {
        cluster.members().iter().any(|member| member["id"] == 3 && member["reachable"] == false)
    });
    let said = cluster.beside("replace.out");
    let mut replacing = cluster.begin(&replace, &said);
    let so_far = || std::fs::read_to_string(&said).unwrap();
    eventually("the new replica is added, and it is told how to start it", SOON, || {
        so_far().contains("replica 5 is added as a learner; on its host, start it:")
    });
    cluster.start(5);
    let ended = replacing.wait().unwrap();
    assert!(ended.success(), "{}", so_far());
    assert!(so_far().ends_with("replica 5 votes\nreplica 5 stands in the place of replica 3\n"), "{}", so_far());
    cluster.consists_of(&[1, 4, 5], &[]);
    cluster.start(3);
    is_told_that_it_is_out(cluster, 3);
}
