//! Snapshots saved, checked and restored; survivors of a lost majority that go on.

use std::path::Path;
use std::time::Duration;

use kontiki_raft::offline::{self, NewReplica, REVISION_JUMP};
use kontiki_raft::{Member, MemberChange, News, OpenError, Store, backup};
use proto::seam::Env;

use crate::common::{Cluster, PATIENCE, bytes, eventually, filled, in_time, value, write};

async fn save(store: &Store, file: &Path) -> backup::Header {
    let backup = store.backup(1_000).await.unwrap();
    let header = backup.header.clone();
    let whole: Vec<u8> = backup.pieces().flat_map(|piece| piece.to_vec()).collect();
    std::fs::write(file, whole).unwrap();
    header
}

fn new_replica(cluster: &Cluster, id: u64, cluster_id: &str) -> NewReplica {
    NewReplica { id, cluster_id: cluster_id.into(), dir: cluster.dir(id), members: cluster.members.clone() }
}

async fn start(cluster: &mut Cluster, id: u64, cluster_id: &str) -> Result<Store, OpenError> {
    let config = kontiki_raft::Config { cluster_id: cluster_id.into(), ..cluster.config(id) };
    let store = Store::open(config, Env::real()).await?;
    cluster.stores.insert(id, store.clone());
    Ok(store)
}

#[tokio::test]
async fn a_restored_cluster_has_the_state_a_new_identity_and_no_past() {
    let old = Cluster::started(3).await;
    let mut revision = 0;
    for n in 0..50 {
        revision = write(&old.stores[&1], &format!("key-{n}"), "x").await;
    }
    old.converged().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot");
    let header = save(&old.follower().await, &file).await;
    assert_eq!((header.revision, header.objects, header.cluster_id.as_str()), (revision, 50, "test-cluster"));

    let mut new = Cluster::of(3);
    let same = offline::restore(&file, &new_replica(&new, 1, "test-cluster"), REVISION_JUMP).await.unwrap_err();
    assert!(same.to_string().contains("an id of its own"), "{same}");
    for id in 1..=3 {
        offline::restore(&file, &new_replica(&new, id, "another"), REVISION_JUMP).await.unwrap();
    }
    let again = offline::restore(&file, &new_replica(&new, 1, "another"), REVISION_JUMP).await.unwrap_err();
    assert!(again.to_string().contains("is not empty"), "{again}");
    for id in 1..=3 {
        start(&mut new, id, "another").await.unwrap();
    }
    let leader = new.leader().await;
    assert_eq!(value(&leader, "key-7").as_deref(), Some("x"));
    let next = write(&leader, "new", "1").await;
    assert_eq!(next, revision + REVISION_JUMP + 1);
    new.converged().await;
    for old_revision in [0, revision - 1, revision, revision + 1, revision + 10_000] {
        let gone = leader.watch(bytes(""), old_revision).err();
        assert_eq!(gone.expect("the past is gone").oldest, revision + REVISION_JUMP, "after {old_revision}");
    }
    let mut watcher = leader.watch(bytes(""), next - 1).unwrap();
    assert!(matches!(in_time("news", watcher.next()).await.unwrap(), News::Changes(changes) if changes.len() == 1));
    // It is a whole cluster: it remembers, and it grows.
    let dead = leader.id();
    new.kill(dead).await;
    write(&new.leader().await.clone(), "later", "1").await;
    start(&mut new, dead, "another").await.unwrap();
    new.converged().await;
}

#[tokio::test]
async fn an_interrupted_restore_starts_nothing_and_can_be_done_again() {
    let old = Cluster::started(1).await;
    filled(&old).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot");
    save(&old.leader().await, &file).await;
    let mut new = Cluster::of(1);
    let data = new.dir(1);
    std::fs::create_dir_all(&data).unwrap();
    for left in ["restore-unfinished", "000004.log"] {
        std::fs::write(data.join(left), "").unwrap();
    }
    let refused = start(&mut new, 1, "another").await.err().expect("it is no new replica's directory");
    assert!(refused.to_string().contains("was not finished: restore it again"), "{refused}");
    offline::restore(&file, &new_replica(&new, 1, "another"), REVISION_JUMP).await.unwrap();
    assert!(!data.join("restore-unfinished").exists());
    let store = start(&mut new, 1, "another").await.unwrap();
    assert_eq!(value(&store, "key-7").as_deref(), Some("x"));
}

#[tokio::test]
async fn of_two_who_restore_into_one_directory_the_second_is_refused() {
    let old = Cluster::started(1).await;
    filled(&old).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot");
    save(&old.leader().await, &file).await;
    let mut new = Cluster::of(1);
    let replica = new_replica(&new, 1, "another");
    let mut first = Box::pin(offline::restore(&file, &replica, REVISION_JUMP));
    assert!(futures::poll!(&mut first).is_pending(), "it writes");
    let second = offline::restore(&file, &replica, REVISION_JUMP).await.unwrap_err();
    assert!(second.to_string().contains("is being restored into"), "{second}");
    in_time("the first", first).await.unwrap();
    let store = start(&mut new, 1, "another").await.unwrap();
    assert_eq!(value(&store, "key-7").as_deref(), Some("x"));
}

#[tokio::test]
async fn a_damaged_snapshot_leaves_nothing_behind() {
    let old = Cluster::started(1).await;
    write(&old.stores[&1], "a", &"x".repeat(1000)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot");
    save(&old.stores[&1], &file).await;
    let mut whole = std::fs::read(&file).unwrap();
    let middle = whole.len() / 2;
    whole[middle] ^= 4;
    std::fs::write(&file, whole).unwrap();
    let new = Cluster::of(1);
    let error = offline::restore(&file, &new_replica(&new, 1, "another"), REVISION_JUMP).await.unwrap_err().to_string();
    assert!(error.contains("snapshot: it is damaged at byte") && error.contains("checksum"), "{error}");
    assert!(!new.dir(1).exists(), "no directory came of it");
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_is_no_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot");
    let said = backup::read_file(&file, |_, _| Ok(())).unwrap_err().to_string();
    assert_eq!(said, format!("there is no {}", file.display()));
    let new = Cluster::of(1);
    let error = offline::restore(&file, &new_replica(&new, 1, "another"), REVISION_JUMP).await.unwrap_err().to_string();
    assert_eq!(error, said);
    assert!(!new.dir(1).exists(), "no directory came of it");
}

#[tokio::test]
async fn the_survivor_of_a_lost_majority_goes_on_and_the_others_are_out() {
    let mut cluster = Cluster::started(3).await;
    filled(&cluster).await;
    let revision = cluster.converged().await;
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    let found = offline::inspect(&cluster.dir(2)).await.unwrap();
    assert_eq!((found.replica, found.voters.len(), found.cluster_id.as_str()), (2, 3, "test-cluster"));
    assert!(found.last_index >= 20 && !found.abstains && found.fenced.is_none(), "{found:?}");
    let wrong = offline::recover(&cluster.dir(2), 3, 0).await.unwrap_err();
    assert!(wrong.to_string().contains("belongs to replica 2"), "{wrong}");
    assert_eq!(offline::recover(&cluster.dir(2), 2, 0).await.unwrap(), "test-cluster-epoch-1");

    // The configuration is as it was.
    let survivor = cluster.start(2).await;
    assert_eq!(cluster.leader().await.id(), 2);
    assert_eq!(survivor.cluster_id(), "test-cluster-epoch-1");
    assert_eq!(value(&survivor, "key-19").as_deref(), Some("x"));
    assert!(write(&survivor, "after", "1").await > revision + REVISION_JUMP);
    assert!(survivor.watch(bytes(""), revision).is_err(), "what the lost ones promised may be another past");

    // An old member comes back: it is told, and stops; with or without its data it has no say.
    let old = cluster.start(3).await;
    let mut removed = old.removed();
    let why = in_time("the news", removed.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(why.contains("was recovered without this replica"), "{why}");
    cluster.stores.remove(&3);
    old.kill().await;
    let change = MemberChange::Promote { id: 3 };
    let refused = survivor.change_members(change, PATIENCE / 2).await.unwrap_err();
    assert!(refused.to_string().contains("never used again"), "{refused}");

    // New ones make it three again.
    cluster.members.retain(|member| member.id == 2);
    for wanted in [4, 5] {
        let id = cluster.add().await;
        assert_eq!(id, wanted);
        start(&mut cluster, id, "test-cluster-epoch-1").await.unwrap();
        cluster.promote(id).await;
    }
    cluster.converged().await;
    cluster.kill(2).await;
    let left = cluster.leader().await;
    assert_eq!(value(&left, "after").as_deref(), Some("1"));
    write(&left, "end", "1").await;
}

#[tokio::test]
async fn a_replica_that_was_never_filled_does_not_count_and_lost_nothing() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.stores[&1], "a", "x").await;
    cluster.converged().await;
    // Nobody fills an empty one while one of the others is away.
    for id in [2, 3] {
        cluster.kill(id).await;
    }
    std::fs::remove_dir_all(cluster.dir(3)).unwrap();
    let found = eventually("it is written down that it abstains", async || {
        cluster.start(3).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.kill(3).await;
        let found = offline::inspect(&cluster.dir(3)).await.unwrap();
        found.abstains.then_some(found)
    })
    .await;
    assert_eq!((found.replica, found.last_index, found.lost_data), (3, 0, false), "{found:?}");
}

#[tokio::test]
async fn a_replica_says_whether_it_leads_and_why_it_takes_no_part_and_its_data_says_that_it_was_fenced() {
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.leader().await;
    let odd = cluster.follower().await;
    let third = (1..=3).find(|id| ![leader.id(), odd.id()].contains(id)).unwrap();
    odd.poison();
    write(&leader, "poisoned", "x").await;
    let differs = |why: &str| why.contains(&format!("the state of replica {} differs", odd.id()));
    eventually("the fence", async || odd.health().err().filter(|unwell| differs(&unwell.0))).await;

    let others: Vec<Member> = cluster.members.iter().filter(|member| member.id != third).cloned().collect();
    let identity = cluster.identity(&format!("kontiki:replica:{third}"));
    let ask = async || offline::ask(&others, "test-cluster", &identity, Env::real().net, PATIENCE).await.unwrap();
    let said = ask().await;
    let (of_leader, of_odd) = (said[&leader.id()].as_ref().unwrap(), said[&odd.id()].as_ref().unwrap());
    assert!(of_leader.leads && !of_leader.abstains && of_leader.idle.is_none(), "{of_leader:?}");
    assert!(!of_odd.leads && !of_odd.abstains && of_odd.idle.as_deref().is_some_and(differs), "{of_odd:?}");

    cluster.kill(odd.id()).await;
    let found = offline::inspect(&cluster.dir(odd.id())).await.unwrap();
    assert!(found.fenced.as_deref().is_some_and(differs) && !found.abstains, "{found:?}");

    // Nobody fills an empty one while one of the others is away.
    cluster.kill(third).await;
    std::fs::remove_dir_all(cluster.dir(odd.id())).unwrap();
    cluster.start(odd.id()).await;
    let said = eventually("it abstains", async || {
        let answer = ask().await.remove(&odd.id())?.ok()?;
        answer.abstains.then_some(answer)
    })
    .await;
    assert!(said.idle.as_deref().is_some_and(|why| why.contains("is new or was emptied")), "{said:?}");
}

#[tokio::test]
async fn what_runs_or_is_empty_is_not_touched() {
    let cluster = Cluster::started(1).await;
    let error = offline::recover(&cluster.dir(1), 1, 0).await.unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    let error = offline::inspect(&cluster.dir(9)).await.unwrap_err();
    assert!(error.to_string().contains("no replica ever ran"), "{error}");
}
