//! `kontiki recover`: what is left of a cluster when most of its replicas are lost.

use super::fails;
use super::own::Own;

#[test]
fn the_survivor_of_a_lost_majority_goes_on_alone_and_the_lost_stay_out() {
    let mut cluster = Own::running(3);
    for n in 0..10 {
        cluster.writes(&format!("kept-{n}"));
    }
    let kept = cluster.held();
    let applied = cluster.caught_up();
    let config = cluster.config(3);
    let recover = ["recover", "--config", &config];
    let recover_now = [&recover[..], &["--yes"]].concat();

    fails(cluster.kontiki(&recover_now), &[&cluster.path("replica-3/data"), "in use by another process"]);
    cluster.kill(3);
    let lost = cluster.writes("only-on-the-lost");
    fails(cluster.kontiki(&recover_now), &["3 of 3 voters are left, which is a majority: nothing is lost"]);
    cluster.kill(2);
    fails(cluster.kontiki(&recover_now), &["2 of 3 voters are left, which is a majority: nothing is lost"]);
    let listed = cluster.kontiki(&["replica", "list"]);
    assert!(
        listed.ok && listed.stderr.starts_with("this may be old: it is what one replica knows"),
        "{}",
        listed.stdout + &listed.stderr
    );
    assert_eq!(cluster.json(&["replica", "list"])["mayBeOld"], true);
    cluster.kill(1);

    let told = cluster.kontiki(&recover).expect();
    let last = told.split("replica 3 has the most: all entries up to ").nth(1);
    let last: u64 = last.and_then(|rest| rest.split('.').next()).and_then(|index| index.parse().ok()).expect(&told);
    assert!(last >= applied, "it had applied {applied}:\n{told}");
    assert_eq!(told.matches("does not answer").count(), 2, "{told}");
    assert!(told.contains(&format!("behind entry {last}, are lost; how many cannot be known here")), "{told}");
    assert!(told.ends_with("nothing was changed; with --yes replica 3 goes on alone\n"), "{told}");
    assert_eq!(cluster.kontiki(&recover).expect(), told, "asking changes nothing");

    let made = cluster.kontiki(&recover_now).expect();
    let epoch = format!("{}-epoch-1", cluster.id());
    assert!(made.contains(&format!("replica 3 is a cluster of one, {epoch}. Start it as before")), "{made}");
    cluster.start(3);
    cluster.serves();
    assert_eq!(cluster.held(), kept);
    cluster.consists_of(&[3], &[]);
    assert!(cluster.writes("after") > lost);
    cluster.has_forgotten(lost);

    let second = cluster.kontiki(&["recover", "--config", &cluster.config(1), "--yes"]);
    fails(second, &["replica 3 runs, and says: the cluster was recovered without this replica"]);

    // The lost come back: one as it was, one with an empty disk.
    std::fs::remove_dir_all(cluster.path("replica-2/data")).unwrap();
    for id in [1, 2] {
        cluster.start(id);
        let log = cluster.ends(id);
        let why = format!("the cluster was recovered without this replica: it is {epoch} now");
        assert!(log.contains(&why), "replica {id} does not say why it ends:\n{log}");
    }
    assert_eq!(cluster.json(&["replica", "list"])["leader"], 3);
    cluster.consists_of(&[3], &[]);
    assert_eq!(cluster.held().len(), kept.len() + 1);
}
