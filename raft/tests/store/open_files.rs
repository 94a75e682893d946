//! A process that may open no more files, as one with very many connections: the store waits until it may, and loses nothing.
//! Each test has a process of its own.

use std::fs::File;
use std::sync::atomic::Ordering::Relaxed;

use kontiki_raft::ProposeError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::{Cluster, eventually, in_time, put, value, write};

/// As much as a store needs, and some more.
const FILES_MAX: u64 = 200;

/// Every file that this process may open.
fn all_of_them() -> Vec<File> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(FILES_MAX), ..getrlimit(Resource::Nofile) }).unwrap();
    let taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let error = File::open("/dev/null").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()), "{error}");
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_may_open_no_file_waits_and_loses_nothing() {
    let mut cluster = Cluster::started(1).await;
    let store = cluster.stores[&1].clone();
    write(&store, "before", "x").await;
    let taken = all_of_them();
    // What needs no new file goes on; at some time RocksDB needs one.
    let writing = tokio::spawn({
        let (store, large) = (store.clone(), "x".repeat(1 << 20));
        async move {
            for written in 0.. {
                let key = format!("large-{written}");
                match store.propose(crate::common::command(vec![put(&key, &large)])).await {
                    Ok(_) => {}
                    // The outcome of the one that waits may be unknown.
                    Err(ProposeError::NoSpace(_) | ProposeError::Unknown(_) | ProposeError::Refused(_)) => {
                        return written;
                    }
                }
            }
            unreachable!("it ends with the first that is not written")
        }
    });
    eventually("a write that waits", async || (store.metrics().space_waits.load(Relaxed) > 0).then_some(())).await;
    assert!(store.health().is_ok(), "{:?}", store.health());
    assert_eq!(value(&store, "before").as_deref(), Some("x"));
    drop(taken);
    let written: u64 = in_time("the writes", writing).await.unwrap();
    let takes_part = async || (store.metrics().space_level.load(Relaxed) == 0).then_some(());
    eventually("the end of the wait", takes_part).await;
    write(&store, "after", "x").await;
    assert!(store.health().is_ok(), "{:?}", store.health());
    cluster.kill(1).await;
    let store = cluster.start(1).await;
    in_time("a barrier", store.barrier()).await.unwrap();
    let all = ["before", "after"].map(str::to_owned).into_iter().chain((0..written).map(|n| format!("large-{n}")));
    for key in all {
        assert!(value(&store, &key).is_some(), "{key} is lost");
    }
}
