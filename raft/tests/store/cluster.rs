//! Three replicas in one process: writes, reads, failover, catching up, the fence.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kontiki_raft::{Action, Command, Op, OpenError, Outcome, Precondition, ProposeError, Role, Store};
use proto::seam::Env;

use crate::common::{Cluster, bytes, command, eventually, filled, free_address, in_time, put, value, write};

#[tokio::test]
async fn one_replica_alone_writes_reads_and_remembers() {
    let mut cluster = Cluster::started(1).await;
    let store = cluster.stores[&1].clone();
    assert_eq!(write(&store, "a", "1").await, 1);
    assert_eq!(write(&store, "a", "2").await, 2);
    in_time("a barrier", store.barrier()).await.unwrap();
    assert_eq!(value(&store, "a").as_deref(), Some("2"));
    cluster.stop(1).await;
    assert!(store.propose(command(vec![put("a", "3")])).await.is_err(), "a stopped store takes nothing");

    let store = cluster.start(1).await;
    assert_eq!(value(&store, "a").as_deref(), Some("2"), "before there is a leader");
    assert_eq!(write(&store, "a", "3").await, 3, "revisions go on");
    assert_eq!(store.state().get(b"a").unwrap().created, 1);
}

#[tokio::test]
async fn many_refusals_that_tell_a_large_object_all_arrive() {
    let cluster = Cluster::started(3).await;
    write(&cluster.leader().await, "large", &"x".repeat(1 << 20)).await;
    let follower = cluster.follower().await;
    let late = || {
        let op = Op { precondition: Precondition::AtRevision(9), action: Action::Delete, ..put("large", "") };
        follower.propose(command(vec![op]))
    };
    let answers = in_time("the answers", futures::future::join_all((0..64).map(|_| late()))).await;
    for answer in answers {
        assert!(matches!(&answer, Ok(Outcome::Conflict { current: Some(_), .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn every_replica_takes_writes_and_reads_its_own() {
    let cluster = Cluster::started(3).await;
    for (n, store) in cluster.stores.values().enumerate() {
        let key = format!("key-{n}");
        let revision = write(store, &key, "x").await;
        assert_eq!(revision, n as u64 + 1);
        for reader in cluster.stores.values() {
            in_time("a barrier", reader.barrier()).await.unwrap();
            assert_eq!(value(reader, &key).as_deref(), Some("x"), "after a barrier every replica shows it");
        }
    }
    let leaders = cluster.stores.values().filter(|store| store.standing().borrow().role == Role::Leader).count();
    assert_eq!(leaders, 1);
}

#[tokio::test]
async fn who_waits_for_a_leader_is_told_that_the_replica_stops() {
    let mut cluster = Cluster::of(3);
    let store = cluster.start(1).await;
    let proposed = tokio::spawn({
        let store = store.clone();
        async move { store.propose(command(vec![put("a", "1")])).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    in_time("a stop", store.kill()).await;
    match in_time("an answer", proposed).await.unwrap() {
        Err(ProposeError::Refused(why)) => assert_eq!(why, "this replica has stopped"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_thousand_writers_at_once_share_syncs() {
    const WRITERS: u64 = 1_000;
    const EACH: u64 = 4;
    const MAJORITY: u64 = 2;
    let cluster = Cluster::started(3).await;
    let syncs = || {
        let of = |store: &Store| store.metrics().syncs.load(std::sync::atomic::Ordering::Relaxed);
        cluster.stores.values().map(of).sum::<u64>()
    };
    let before = syncs();
    let writers = (0..WRITERS).map(|n| {
        let store = cluster.stores[&(n % 3 + 1)].clone();
        async move {
            let mut revisions = Vec::new();
            for m in 0..EACH {
                revisions.push(write(&store, &format!("key-{n}-{m}"), "x").await);
            }
            revisions
        }
    });
    let mut revisions = futures::future::join_all(writers).await.concat();
    let syncs = syncs() - before;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=WRITERS * EACH).collect::<Vec<_>>(), "each write has a revision of its own");
    // The bench counts 0.01 to 0.02 for each write, of all three replicas; nobody may need more than 0.05.
    assert!(syncs * 20 <= WRITERS * EACH, "{syncs} syncs for {} writes", WRITERS * EACH);
    // A writer's next write comes when a majority has synced the one before: no sync is for two of them.
    assert!(syncs >= MAJORITY * EACH, "{syncs} syncs for {EACH} writes, one after the other");
    cluster.converged().await;
}

#[tokio::test]
async fn a_conflict_and_a_fence_are_answers_on_every_replica() {
    let cluster = Cluster::started(3).await;
    let revision = write(&cluster.leader().await, "a", "1").await;
    let term = cluster.leader().await.standing().borrow().term;
    for store in cluster.stores.values() {
        let absent = Op { precondition: Precondition::Absent, ..put("a", "2") };
        match store.propose(command(vec![put("b", "1"), absent])).await.unwrap() {
            Outcome::Conflict { key, current } => {
                assert_eq!((key, current.unwrap().revision), (bytes("a"), revision));
            }
            other => panic!("{other:?}"),
        }
        let fenced = Command { fence: Some(term - 1), ..command(vec![put("a", "2")]) };
        assert_eq!(store.propose(fenced).await.unwrap(), Outcome::Fenced { term });
        let own = Command { fence: Some(term), ..command(vec![Op { action: Action::Check, ..put("a", "") }]) };
        assert!(matches!(store.propose(own).await.unwrap(), Outcome::Applied { .. }));
    }
    assert_eq!(cluster.converged().await, revision, "nothing of it took effect");
}

#[tokio::test]
async fn a_dead_leader_is_replaced_at_once_and_comes_back() {
    let mut cluster = Cluster::started(3).await;
    let dead = cluster.leader().await.id();
    let follower = cluster.follower().await;
    write(&follower, "before", "x").await;
    let term = follower.standing().borrow().term;
    cluster.kill(dead).await;
    let started = tokio::time::Instant::now();
    write(&follower, "after", "x").await;
    let gap = started.elapsed();
    assert!(gap < Duration::from_secs(1), "the gap was {gap:?}: the death was not noticed");
    let leader = cluster.leader().await;
    assert!(leader.standing().borrow().leads_in_term > Some(term));
    let noticed = |store: &Store| store.metrics().elections_after_reset.load(Relaxed);
    assert!(cluster.stores.values().map(noticed).sum::<u64>() > 0, "silence was not waited for");

    cluster.start(dead).await;
    cluster.converged().await;
    assert_eq!(value(&cluster.stores[&dead], "after").as_deref(), Some("x"));
    let fenced = Command { fence: Some(term), ..command(vec![put("old", "x")]) };
    let outcome = in_time("a fenced write", cluster.stores[&dead].propose(fenced)).await.unwrap();
    assert!(matches!(outcome, Outcome::Fenced { .. }), "the dead leader's decisions take no effect: {outcome:?}");
}

#[tokio::test]
async fn without_a_majority_nothing_is_acknowledged() {
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = cluster.stores.keys().copied().filter(|id| *id != leader.id()).collect();
    for id in &others {
        cluster.kill(*id).await;
    }
    let late = tokio::time::timeout(Duration::from_millis(700), leader.propose(command(vec![put("a", "1")]))).await;
    assert!(late.is_err(), "acknowledged by a minority: {late:?}");
    assert!(tokio::time::timeout(Duration::from_millis(700), leader.barrier()).await.is_err(), "read by a minority");
    for id in others {
        cluster.start(id).await;
    }
    write(&leader, "b", "1").await;
    cluster.converged().await;
}

#[tokio::test]
async fn what_waits_behind_others_for_a_majority_can_be_taken_back() {
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = cluster.stores.keys().copied().filter(|id| *id != leader.id()).collect();
    for id in &others {
        cluster.kill(*id).await;
    }
    let mut under_way = Vec::new();
    for key in ["first", "second"] {
        let leader = leader.clone();
        under_way.push(tokio::spawn(async move { leader.propose(command(vec![put(key, "1")])).await }));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let late = tokio::time::timeout(Duration::from_millis(300), leader.propose(command(vec![put("third", "1")]))).await;
    assert!(late.is_err(), "acknowledged by a minority: {late:?}");
    for id in others {
        cluster.start(id).await;
    }
    for proposed in under_way {
        let _ = in_time("an answer", proposed).await;
    }
    write(&leader, "b", "1").await;
    cluster.converged().await;
    assert_eq!(value(&leader, "third"), None, "it took effect though nobody waited for it");
}

#[tokio::test]
async fn a_replica_that_lost_its_disk_is_filled_and_only_then_votes() {
    let mut cluster = Cluster::started(3).await;
    let empty = cluster.follower().await.id();
    filled(&cluster).await;
    cluster.stop(empty).await;
    std::fs::remove_dir_all(cluster.dir(empty)).unwrap();
    write(&cluster.leader().await, "later", "x").await;
    let store = cluster.start(empty).await;
    cluster.converged().await;
    assert_eq!(value(&store, "key-7").as_deref(), Some("x"));
    // It takes part again: with it, the others' leader may die.
    in_time("a barrier", store.barrier()).await.unwrap();
    let dead = cluster.leader().await.id();
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.kill(dead).await;
    write(&store, "with its vote", "x").await;
}

#[tokio::test]
async fn the_leadership_is_handed_over_on_request_and_on_shutdown() {
    let mut cluster = Cluster::started(3).await;
    let old = cluster.leader().await;
    let to = cluster.stores.keys().copied().find(|id| *id != old.id()).unwrap();
    in_time("the hand-over", old.transfer_leadership(Some(to))).await.unwrap();
    let leader = cluster.leader().await;
    assert_eq!(leader.id(), to);
    in_time("no leader hands nothing over", old.transfer_leadership(None)).await.unwrap();

    cluster.stop(to).await;
    let next = eventually("the next leader", async || {
        cluster.stores.values().find_map(|store| store.standing().borrow().leads_in_term.map(|_| store.clone()))
    });
    let next = tokio::time::timeout(Duration::from_millis(500), next).await.expect("handed over before it stopped");
    write(&next, "a", "1").await;
}

#[tokio::test]
async fn nothing_is_handed_over_to_who_cannot_take_it() {
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.leader().await;
    let mut others: Vec<u64> = cluster.stores.keys().copied().filter(|id| *id != leader.id()).collect();
    let (dead, well) = (others.remove(0), others.remove(0));
    cluster.kill(dead).await;
    write(&leader, "a", "1").await;
    // Until it is no longer counted among those who answered just now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let term = leader.standing().borrow().term;
    in_time("a refusal", leader.transfer_leadership(Some(dead))).await.expect_err("it is dead");
    write(&leader, "a", "2").await;
    let now = leader.standing().borrow().clone();
    assert_eq!((now.term, now.leads_in_term), (term, Some(term)), "it goes on leading");
    in_time("a hand-over", leader.transfer_leadership(None)).await.unwrap();
    assert_eq!(cluster.leader().await.id(), well);
}

#[tokio::test]
async fn members_tell_who_is_there() {
    let mut cluster = Cluster::started(3).await;
    let dead = cluster.follower().await.id();
    write(&cluster.leader().await, "a", "1").await;
    cluster.converged().await;
    cluster.kill(dead).await;
    let store = cluster.leader().await;
    let members = store.members(Duration::from_secs(1)).await;
    assert_eq!(members.iter().map(|status| status.member.id).collect::<Vec<_>>(), [1, 2, 3]);
    for status in members {
        let up = status.member.id != dead;
        assert_eq!((status.reachable, status.role.is_some(), status.applied_index.is_some()), (up, up, up));
        assert_eq!(status.member.client_address, format!("client-{}", status.member.id));
        if status.member.id == store.id() {
            assert_eq!(status.role, Some(Role::Leader));
        }
    }
}

#[tokio::test]
async fn data_of_another_cluster_or_in_use_is_refused_by_name() {
    let mut cluster = Cluster::started(1).await;
    let open = async |config| Store::open(config, Env::real()).await.err().expect("it is refused");

    let mut config = cluster.config(1);
    config.peer_listen = free_address();
    let error = open(config).await;
    assert!(error.to_string().contains("in use by another process"), "{error}");

    let mut config = cluster.config(1);
    config.dir = cluster.dir(9);
    let error = open(config).await;
    assert!(matches!(&error, OpenError::Listen { address, .. } if *address == cluster.members[0].peer_address));

    cluster.stop(1).await;
    let mut config = cluster.config(1);
    config.cluster_id = "another".into();
    let error = open(config).await;
    assert!(matches!(&error, OpenError::OtherCluster { found, .. } if found == "test-cluster"), "{error}");

    let mut config = cluster.config(1);
    (config.id, config.initial_members[0].id) = (5, 5);
    let error = open(config).await;
    assert!(matches!(&error, OpenError::OtherReplica { found: 1, wanted: 5, .. }), "{error}");

    let mut config = cluster.config(1);
    config.peer_listen = "127.0.0.1:0".into();
    assert!(open(config).await.to_string().contains("peer port"));
}

#[tokio::test]
async fn strangers_are_not_let_in() {
    use kontiki_raft::Config;
    let mut cluster = Cluster::of(3);
    // The third replica has a certificate of the right authority with a name that is no replica's.
    cluster.start(1).await;
    cluster.start(2).await;
    let config = Config { tls: cluster.identity("system:node:n1"), ..cluster.config(3) };
    let stranger = Store::open(config, Env::real()).await.unwrap();
    write(&cluster.leader().await, "secret", "x").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The others speak to it, for it serves with their authority's signature; it may say nothing to them.
    let refused = tokio::time::timeout(Duration::from_millis(500), stranger.barrier()).await;
    assert!(!matches!(refused, Ok(Ok(()))), "a stranger read");
    stranger.kill().await;
}

/// Describing a replica looks at its raft node's metrics. A look within a look, with a writer between the two, would stop
/// it for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_are_described_while_they_change() {
    let cluster = Cluster::started(3).await;
    let stores: Vec<Store> = (0..12).map(|n| cluster.stores[&(n % 3 + 1)].clone()).collect();
    let (asking, writing) = stores.split_at(6);
    let asking = asking.iter().cloned().map(|store| async move {
        for _ in 0..300 {
            let members = in_time("what the members say", store.members(Duration::from_secs(20))).await;
            assert!(members.iter().all(|member| member.reachable), "{members:?}");
        }
    });
    let writing = writing.iter().cloned().enumerate().map(|(n, store)| async move {
        for m in 0..100 {
            write(&store, &format!("key-{n}"), &m.to_string()).await;
        }
    });
    let tasks: Vec<_> = asking.map(tokio::spawn).chain(writing.map(tokio::spawn)).collect();
    for task in tasks {
        task.await.unwrap();
    }
}
