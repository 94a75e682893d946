//! A real small file system that is really full, under real RocksDB. Needs the right to mount; without it the tests
//! say so and check nothing: `integrity.rs` has the same stories on a disk in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kontiki_raft::{Action, Op, ProposeError, Store};
use proto::seam::Env;
use tokio::time::Instant;

use crate::common::{Cluster, PATIENCE, command, eventually, in_time, put, value, write};

/// A tmpfs that is unmounted when it is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Small> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Small(at.into())),
            failed => {
                eprintln!("SKIPPED: a file system cannot be mounted here: {failed:?}");
                None
            }
        }
    }

    /// Takes all the room there is. What is given back meanwhile is taken in the next call.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        for bytes in [1 << 20, 4 << 10] {
            let block = vec![7u8; bytes];
            while file.write_all(&block).is_ok() {}
        }
    }

    /// The same, but for so many bytes.
    fn fill_up_to(&self, left: u64) {
        self.fill();
        let filler = std::fs::OpenOptions::new().write(true).open(self.filler()).unwrap();
        filler.set_len(filler.metadata().unwrap().len() - left).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn relieve(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

async fn level(store: &Store, wanted: u64) {
    let reached = async || (store.metrics().space_level.load(Relaxed) == wanted).then_some(());
    eventually("the level of the disk", reached).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_on_a_full_file_system_comes_back_by_itself() {
    let mut cluster = Cluster::of(3);
    let Some(small) = Small::mount(&cluster.dir(3)) else { return };
    for id in 1..=3 {
        cluster.start(id).await;
    }
    let full = cluster.stores[&3].clone();
    if cluster.leader().await.id() == 3 {
        full.transfer_leadership(None).await.unwrap();
    }
    let leader = cluster.leader().await;
    write(&leader, "before", "x").await;
    let large = "x".repeat(20_000);
    let deadline = Instant::now() + PATIENCE;
    // Until the reserve is used up as well.
    while full.metrics().space_level.load(Relaxed) != 2 {
        small.fill();
        write(&leader, "during", &large).await;
        assert!(Instant::now() < deadline, "it never ran out of room");
    }
    for n in 0..50 {
        write(&leader, &format!("meanwhile-{n}"), &large).await;
    }
    assert!(full.health().is_ok() && value(&full, "before").is_some());
    small.relieve();
    cluster.converged().await;
    level(&full, 0).await;
    assert!(full.metrics().disk_heals.load(Relaxed) > 0, "the database was opened anew");
    in_time("a read", full.barrier()).await.unwrap();

    // Nothing of it was lost.
    cluster.kill(3).await;
    let full = cluster.start(3).await;
    cluster.converged().await;
    assert_eq!(value(&full, "meanwhile-49").as_deref(), Some(&large[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_alone_refuses_growth_deletes_and_loses_nothing_acknowledged() {
    let mut cluster = Cluster::of(1);
    let Some(small) = Small::mount(&cluster.dir(1)) else { return };
    let store = cluster.start(1).await;
    cluster.leader().await;
    for n in 0..10 {
        write(&store, &format!("old-{n}"), "x").await;
    }
    let filler = tokio::time::timeout(Duration::from_secs(1), async {
        while store.metrics().space_level.load(Relaxed) == 0 {
            small.fill();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    filler.await.expect("the lack of room is noticed within a second");
    let refused = eventually("a refusal", async || store.propose(command(vec![put("new", "x")])).await.err()).await;
    assert!(matches!(refused, ProposeError::NoSpace(_)), "{refused}");
    let delete = Op { action: Action::Delete, ..put("old-1", "") };
    in_time("a delete", store.propose(command(vec![delete]))).await.unwrap();
    write(&store, "old-2", "changed").await;
    in_time("a read", store.barrier()).await.unwrap();

    // A crash with a full disk, and a start on it.
    cluster.kill(1).await;
    small.fill();
    let early = Store::open(cluster.config(1), Env::real()).await;
    if let Ok(store) = &early {
        store.kill().await;
    }
    small.relieve();
    let store = cluster.start(1).await;
    cluster.leader().await;
    assert_eq!(value(&store, "old-1"), None);
    assert_eq!(value(&store, "old-2").as_deref(), Some("changed"));
    write(&store, "new", "x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserve_from_before_a_restart_is_there_for_a_full_file_system() {
    let mut cluster = Cluster::of(1);
    let Some(small) = Small::mount(&cluster.dir(1)) else { return };
    let reserved = async |store: &Store| {
        let held = async || (store.metrics().disk_reserve_bytes.load(Relaxed) == 2 << 20).then_some(());
        eventually("the reserve", held).await;
    };
    let store = cluster.start(1).await;
    cluster.leader().await;
    write(&store, "old", &"x".repeat(20_000)).await;
    reserved(&store).await;
    cluster.kill(1).await;
    // Enough to start with, and too little to set a reserve aside.
    small.fill_up_to(4 << 20);
    let store = cluster.start(1).await;
    cluster.leader().await;
    reserved(&store).await;
    small.fill();
    // While the reserve is given back, nothing is taken.
    let overwrite = async |value: &str| {
        let command = || command(vec![put("old", value)]);
        eventually("a write", async || store.propose(command()).await.ok()).await;
    };
    let deadline = Instant::now() + PATIENCE;
    for n in 0.. {
        let value = n.to_string().repeat(20_000);
        overwrite(&value[..20_000]).await;
        if !cluster.dir(1).join("reserve").exists() {
            break;
        }
        assert!(Instant::now() < deadline, "the reserve is not given back");
    }
    overwrite("after").await;
    in_time("a read", store.barrier()).await.unwrap();
    assert_eq!((value(&store, "old").as_deref(), store.metrics().disk_reserve_bytes.load(Relaxed)), (Some("after"), 0));
}
