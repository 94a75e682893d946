//! Full disks and states that differ: who is concerned takes no part and says so, and the rest goes on.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kontiki_raft::{Action, HistoryError, Op, ProposeError, ReadError, Role, Store};
use tokio::time::Instant;

use crate::common::disk::{Memory, TOTAL, on_memory, start_on};
use crate::common::{Cluster, PATIENCE, bytes, command, eventually, in_time, put, value, write};

async fn level(store: &Store, wanted: u64) {
    let reached = async || (store.metrics().space_level.load(Relaxed) == wanted).then_some(());
    eventually("the level of the disk", reached).await;
}

#[tokio::test]
async fn a_full_follower_does_not_stop_the_cluster_and_comes_back_by_itself() {
    let (cluster, disks) = on_memory(3).await;
    let leader = cluster.leader().await;
    let full = cluster.follower().await;
    write(&leader, "before", "x").await;
    cluster.converged().await;
    let disk = &disks[&full.id()];
    disk.set_free(0);
    let until = Instant::now() + Duration::from_secs(2);
    // The reserve is used up as well.
    while Instant::now() < until {
        disk.set_free(0);
        write(&leader, "during", "x").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    level(&full, 2).await;
    assert_eq!(value(&full, "before").as_deref(), Some("x"), "it shows what it has");
    assert_eq!(full.standing().borrow().role, Role::Learner, "it takes no part");
    write(&leader, "new", "x").await;
    in_time("a read", leader.barrier()).await.unwrap();

    disk.set_free(TOTAL);
    cluster.converged().await;
    level(&full, 0).await;
    in_time("a read", full.barrier()).await.unwrap();
    write(&full, "after", "x").await;
}

#[tokio::test]
async fn a_leader_with_little_room_hands_over_and_a_cluster_with_little_room_refuses_growth_only() {
    let (cluster, disks) = on_memory(3).await;
    let old = cluster.leader().await;
    write(&old, "doomed", "x").await;
    disks[&old.id()].set_free(30 << 20);
    let handed_over = eventually("another leader", async || {
        let leader = old.standing().borrow().leader?;
        (leader != old.id()).then_some(leader)
    });
    let leader = cluster.stores[&handed_over.await].clone();
    write(&leader, "fits", "x").await;

    for disk in disks.values() {
        disk.set_free(30 << 20);
    }
    for store in cluster.stores.values() {
        level(store, 1).await;
    }
    let follower = cluster.follower().await;
    let refused = eventually("a refusal", async || follower.propose(command(vec![put("new", "x")])).await.err()).await;
    assert!(matches!(&refused, ProposeError::NoSpace(why) if why.contains("new would be new")), "{refused}");
    write(&follower, "fits", "y").await;
    let delete = Op { action: Action::Delete, ..put("doomed", "") };
    in_time("a delete", follower.propose(command(vec![delete]))).await.unwrap();
    in_time("a read", follower.barrier()).await.unwrap();
    assert_eq!(value(&follower, "doomed"), None);

    disks.values().for_each(|disk| disk.set_free(TOTAL));
    eventually("room", async || follower.propose(command(vec![put("new", "x")])).await.ok()).await;
}

#[tokio::test]
async fn a_leader_whose_disk_is_suddenly_full_is_replaced() {
    let (cluster, disks) = on_memory(3).await;
    let old = cluster.leader().await;
    write(&old, "before", "x").await;
    let disk = &disks[&old.id()];
    let others: Vec<&Store> = cluster.stores.values().filter(|store| store.id() != old.id()).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Neither the free room nor the reserve is left.
        disk.set_free(0);
        let _ = tokio::time::timeout(Duration::from_millis(50), old.propose(command(vec![put("before", "y")]))).await;
        if others.iter().any(|store| store.standing().borrow().leads_in_term.is_some()) {
            break;
        }
        assert!(Instant::now() < deadline, "nobody took over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    write(others[0], "after", "x").await;
    disk.set_free(TOTAL);
    cluster.converged().await;
    in_time("a read", old.barrier()).await.unwrap();
    assert_eq!(value(&old, "after").as_deref(), Some("x"));
}

/// Applies a write wrongly on one replica. Returns how long it took until that one was fenced.
async fn diverge(cluster: &Cluster, odd: &Store) -> Duration {
    odd.poison();
    let leader = cluster.leader().await;
    write(&leader, "poisoned", "x").await;
    let started = Instant::now();
    eventually("the fence", async || odd.health().err()).await;
    started.elapsed()
}

async fn is_fenced(odd: &Store, others: &[Store]) {
    let unwell = odd.health().unwrap_err().to_string();
    assert!(unwell.contains(&format!("the state of replica {} differs", odd.id())), "{unwell}");
    assert!(matches!(in_time("a read", odd.barrier()).await, Err(ReadError::Fenced(_))));
    assert!(odd.trusted().is_err());
    assert!(matches!(odd.propose(command(vec![put("a", "b")])).await, Err(ProposeError::Refused(_))));
    for other in others {
        let members = other.members(Duration::from_secs(2)).await;
        let troubled: Vec<u64> =
            members.iter().filter(|status| status.trouble.is_some()).map(|status| status.member.id).collect();
        assert_eq!(troubled, [odd.id()], "named by the others, and nobody else is");
        assert!(other.health().is_ok());
    }
}

#[tokio::test]
async fn an_odd_follower_is_fenced_within_a_second_and_stays_so() {
    let (mut cluster, disks) = on_memory(3).await;
    let odd = cluster.follower().await;
    let mut watcher = odd.watch(bytes(""), 0).unwrap();
    let took = diverge(&cluster, &odd).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    let ended = async { while watcher.next().await.is_ok() {} };
    in_time("the end of its watches", ended).await;
    let others: Vec<Store> = cluster.stores.values().filter(|store| store.id() != odd.id()).cloned().collect();
    is_fenced(&odd, &others).await;
    write(&others[0], "on", "x").await;

    cluster.kill(odd.id()).await;
    let odd = start_on(&mut cluster, &disks, odd.id()).await.unwrap();
    is_fenced(&odd, &[]).await;
    write(&others[1], "and on", "x").await;
}

#[tokio::test]
async fn who_has_begun_to_look_back_is_told_nothing_once_the_fence_is_shut() {
    let (cluster, _disks) = on_memory(3).await;
    let leader = cluster.leader().await;
    let first = write(&leader, "a", "1").await;
    write(&leader, "a", "2").await;
    cluster.converged().await;
    let odd = cluster.follower().await;
    // Two at a time may look back, and these do not get on.
    let (mut one, mut other) = (Box::pin(odd.state_at(first)), Box::pin(odd.state_at(first)));
    assert!(futures::poll!(&mut one).is_pending() && futures::poll!(&mut other).is_pending());
    let (mut state, mut key) = (Box::pin(odd.state_at(first)), Box::pin(odd.key_at(b"a", first)));
    let mut changes = Box::pin(odd.changes(b"a", 9, usize::MAX));
    assert!(futures::poll!(&mut state).is_pending() && futures::poll!(&mut key).is_pending());
    assert!(futures::poll!(&mut changes).is_pending(), "they wait for their turn");
    diverge(&cluster, &odd).await;
    drop((one, other));
    let refused = [
        in_time("a state", state).await.err(),
        in_time("a key", key).await.err(),
        in_time("changes", changes).await.err().map(HistoryError::from),
        odd.state_at(odd.state().revision()).await.err(),
    ];
    for error in refused {
        assert!(matches!(&error, Some(HistoryError::Untold(why)) if why.0.contains("differs")), "{error:?}");
    }
}

#[tokio::test]
async fn one_that_was_fenced_and_is_emptied_comes_back_under_the_same_leader() {
    let (mut cluster, mut disks) = on_memory(3).await;
    let leader = cluster.leader().await;
    let odd = cluster.follower().await;
    diverge(&cluster, &odd).await;
    cluster.kill(odd.id()).await;
    disks.insert(odd.id(), Memory::new());
    let back = start_on(&mut cluster, &disks, odd.id()).await.unwrap();
    eventually("a filled replica", async || in_time("a read", back.barrier()).await.ok()).await;
    assert_eq!(value(&back, "poisoned").as_deref(), Some("x"));
    // So that the leader asks for its state a few times.
    for n in 0..3 {
        write(&back, "on", &n.to_string()).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        back.health().unwrap();
    }
    cluster.converged().await;
    assert_eq!(leader.standing().borrow().role, Role::Leader, "it led all the time");
    // It is looked at as before.
    let took = diverge(&cluster, &back).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    is_fenced(&back, &[leader]).await;
}

#[tokio::test]
async fn an_odd_leader_is_fenced_within_a_second_and_replaced() {
    let (cluster, _disks) = on_memory(3).await;
    let odd = cluster.leader().await;
    let took = diverge(&cluster, &odd).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    let others: Vec<Store> = cluster.stores.values().filter(|store| store.id() != odd.id()).cloned().collect();
    write(&others[0], "on", "x").await;
    is_fenced(&odd, &others).await;
    let leader = others.iter().find(|store| store.standing().borrow().leads_in_term.is_some());
    assert!(leader.is_some(), "one of the others leads");
}

#[tokio::test]
async fn two_states_without_a_majority_serve_nobody_until_the_third_decides() {
    let (mut cluster, disks) = on_memory(3).await;
    write(&cluster.leader().await, "a", "x").await;
    cluster.converged().await;
    let absent = cluster.follower().await.id();
    cluster.kill(absent).await;
    let leader = cluster.leader().await;
    let odd = cluster.follower().await;
    odd.poison();
    write(&leader, "poisoned", "x").await;
    for store in [&leader, &odd] {
        let why = eventually("the doubt", async || store.health().err()).await.to_string();
        assert!(why.contains("no majority agrees"), "{why}");
    }
    start_on(&mut cluster, &disks, absent).await.unwrap();
    eventually("the verdict", async || odd.health().err().filter(|why| why.to_string().contains("differs"))).await;
    eventually("the end of the doubt", async || leader.health().ok()).await;
    write(&leader, "on", "x").await;
}

#[tokio::test]
async fn who_doubts_its_state_fills_nobody_with_it() {
    let (mut cluster, disks) = on_memory(3).await;
    write(&cluster.leader().await, "a", "x").await;
    cluster.converged().await;
    let absent = cluster.follower().await.id();
    cluster.kill(absent).await;
    let odd = cluster.leader().await;
    let right = cluster.follower().await;
    odd.poison();
    write(&odd, "poisoned", "x").await;
    for store in [&odd, &right] {
        let why = eventually("the doubt", async || store.health().err()).await.to_string();
        assert!(why.contains("no majority agrees"), "{why}");
    }
    // Who was away can only be filled by a snapshot now.
    odd.compact_log().await;
    let back = start_on(&mut cluster, &disks, absent).await.unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // On a machine that is slow enough the right one is elected meanwhile, which decides it too: it still has its log.
        let leads = right.standing().borrow().leads_in_term.is_some();
        assert!(leads || right.health().is_err(), "the doubt ended while the odd one leads");
    }
    assert_eq!(back.metrics().snapshots_installed.load(Relaxed), 0);
    // A person ends it: the right one still has its log.
    cluster.kill(odd.id()).await;
    eventually("the end of the doubt", async || right.health().ok()).await;
    write(&right, "on", "x").await;
    eventually("what was written", async || value(&back, "on")).await;
    assert_eq!(value(&back, "poisoned").as_deref(), Some("x"));
}

#[tokio::test]
async fn a_fenced_one_that_runs_on_makes_nobody_doubt() {
    let (mut cluster, _disks) = on_memory(3).await;
    let leader = cluster.leader().await;
    let odd = cluster.follower().await;
    diverge(&cluster, &odd).await;
    let silent = cluster.stores.keys().copied().find(|id| ![leader.id(), odd.id()].contains(id)).unwrap();
    cluster.kill(silent).await;
    // The two that are left have two states.
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        leader.health().unwrap();
    }
}

#[tokio::test]
async fn replicas_under_load_and_after_a_snapshot_agree() {
    let mut cluster = Cluster::started(3).await;
    let behind = cluster.follower().await.id();
    cluster.kill(behind).await;
    let leader = cluster.leader().await;
    for n in 0..20 {
        write(&leader, &format!("key-{n}"), "x").await;
    }
    leader.compact_log().await;
    let store = cluster.start(behind).await;
    let writers = (0..8).map(|n| {
        let store = cluster.stores[&(n % 3 + 1)].clone();
        async move {
            for i in 0..200 {
                write(&store, &format!("load-{n}-{}", i % 20), &i.to_string()).await;
            }
        }
    });
    futures::future::join_all(writers).await;
    cluster.converged().await;
    let digest = |store: &Store| store.metrics().state_digest.load(Relaxed);
    let (expected, before) = (digest(&leader), leader.metrics().comparisons.load(Relaxed));
    eventually("comparisons", async || (leader.metrics().comparisons.load(Relaxed) > before + 2).then_some(())).await;
    for store in cluster.stores.values() {
        assert_eq!(digest(store), expected);
        assert!(store.health().is_ok(), "{:?}", store.health());
    }
    assert_eq!(store.metrics().snapshots_installed.load(Relaxed), 1);
}
