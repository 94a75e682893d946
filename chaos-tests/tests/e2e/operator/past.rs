//! `kontiki history` and `kontiki get --at-revision`: who changed what, and what it was before.

use super::fails;
use super::own::{Own, SOON};
use crate::harness::eventually_ok;

const ADMIN: &str = "kubernetes-admin";
const CONTROLLER: &str = "system:kontiki:deployment";

fn deployment(image: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{selector: {{matchLabels: {{a: b}}}}, \
         template: {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{{name: main, image: '{image}'}}]}}}}}}}}"
    )
}

/// A row of the table.
#[derive(Clone, Debug)]
struct Row {
    revision: u64,
    when: String,
    who: String,
    what: String,
}

fn history(cluster: &Own, args: &[&str]) -> Vec<Row> {
    let table = cluster.kontiki(&[&["history"], args].concat()).expect();
    let (head, rows) = table.split_once('\n').unwrap_or((&table, ""));
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["REVISION", "WHEN", "WHO", "WHAT"], "{table}");
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut next = || words.next().expect(line);
        let (revision, when, who) = (next().parse().expect(line), next(), next());
        Row { revision, when, who, what: words.collect::<Vec<_>>().join(" ") }
    };
    rows.lines().map(row).collect()
}

/// The row by this author with these words, once it is there.
#[track_caller]
fn told(cluster: &Own, who: &str, words: &str) -> Row {
    eventually_ok(&format!("{who} is told to have done it: {words}"), SOON, || {
        let rows = history(cluster, &["deploy", "web"]);
        rows.iter().rfind(|row| row.who == who && row.what.contains(words)).cloned().ok_or(format!("{rows:?}"))
    })
}

#[test]
fn who_changed_what_is_told_and_what_was_is_shown_until_it_is_forgotten() {
    let mut cluster = Own::running(1);
    let old = cluster.writes("old");
    cluster.kontiki_with_input(&["apply", "-f", "-"], &deployment("one:1")).expect();
    let created = told(&cluster, ADMIN, "created");
    let followed = told(&cluster, CONTROLLER, "status.");
    cluster.kontiki(&["scale", "deploy/web", "--replicas", "3"]).expect();
    let scaled = told(&cluster, ADMIN, "spec.replicas");
    cluster.kontiki_with_input(&["apply", "-f", "-"], &deployment("two:2")).expect();
    let changed = told(&cluster, ADMIN, "spec.template.spec.containers");
    cluster.kontiki(&["delete", "deploy", "web"]).expect();
    let deleted = told(&cluster, ADMIN, "deleted");

    let rows = history(&cluster, &["deploy/web"]);
    assert!(rows.windows(2).all(|pair| pair[0].revision < pair[1].revision), "{rows:?}");
    assert!(
        rows.iter().all(|row| row.when.ends_with('Z') && row.when.len() == "2026-11-21T16:56:19Z".len()),
        "{rows:?}"
    );
    assert_eq!(rows[0].revision, created.revision);
    assert_eq!(history(&cluster, &["deploy", "web", "--limit", "1"])[0].revision, deleted.revision);

    for (row, replicas, image) in
        [(&created, 1, "one:1"), (&followed, 1, "one:1"), (&scaled, 3, "one:1"), (&changed, 3, "two:2")]
    {
        let web = cluster.json(&["get", "deploy", "web", "--at-revision", &row.revision.to_string()]);
        let found = (&web["spec"]["replicas"], &web["spec"]["template"]["spec"]["containers"][0]["image"]);
        assert_eq!(found, (&replicas.into(), &image.into()), "at {row:?}");
    }
    let at = changed.revision.to_string();
    let table = cluster.kontiki(&["get", "deploy", "web", "--at-revision", &at]).expect();
    assert!(table.starts_with("NAME") && table.contains("\nweb ") && table.contains("0/3"), "{table}");
    let sets = cluster.kontiki(&["get", "rs", "--at-revision", &at, "-o", "name"]).expect();
    assert!(sets.lines().count() == 1 && sets.starts_with("replicaset.apps/web-"), "{sets}");
    // Before it was there and after it was gone.
    for revision in [created.revision - 1, deleted.revision] {
        let asked = cluster.kontiki(&["get", "deploy", "web", "--at-revision", &revision.to_string()]);
        fails(asked, &["deployments.apps \"web\" not found"]);
    }
    is_forgotten(&mut cluster, old);
}

/// With a history of a second: what is older is refused, the oldest that is left is named, and can be read.
fn is_forgotten(cluster: &mut Own, created: u64) {
    cluster.kill(1);
    let config = std::fs::read_to_string(cluster.config(1)).unwrap();
    std::fs::write(cluster.config(1), config + "historySeconds: 1\n").unwrap();
    cluster.start(1);
    cluster.serves();
    let told = eventually_ok("the past is forgotten", SOON, || {
        let told = cluster.kontiki(&["history", "configmap", "old"]);
        if told.ok && told.stdout.is_empty() { Ok(told.stderr) } else { Err(told.stdout + &told.stderr) }
    });
    assert!(told.starts_with("no change since revision "), "{told}");
    assert!(told.ends_with(", and none is known from before it\n"), "{told}");
    // Of what was deleted before, nothing at all is known.
    eventually_ok("the deleted one is forgotten, too", SOON, || {
        let told = cluster.kontiki(&["history", "deploy", "web"]);
        if told.stderr.contains("deployments.apps \"web\" not found") { Ok(()) } else { Err(told.stdout) }
    });
    let at = created.to_string();
    // The window moves on, though only as far as something was written.
    eventually_ok("the oldest revision is named, and can be read", SOON, || {
        let gone = fails(cluster.kontiki(&["get", "configmap", "old", "--at-revision", &at]), &["Expired", &at]);
        let numbers = gone.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok());
        let oldest = numbers.max().filter(|oldest| *oldest > created).expect(&gone);
        let read = cluster.kontiki(&["get", "configmap", "old", "-o", "name", "--at-revision", &oldest.to_string()]);
        if read.ok && read.stdout == "configmap/old\n" { Ok(()) } else { Err(gone + &read.stdout + &read.stderr) }
    });
}
