//! A note is written in place: a disk that tears a sector leaves the beginning of the new one and the rest of the old one. Wherever
//! it is torn, whoever reads it takes it for damaged.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::disk::rocks::Rocks;
use crate::disk::room::Room;
use crate::disk::{Batch, Disk as _, Table};
use crate::identity::Identity;
use crate::log::keepsake::Keepsake;
use crate::log::mark::{Mark, is_blank};
use crate::log::rows::{VOTE, is_vote, kept_vote};
use crate::metrics::Metrics;
use crate::record;
use crate::types::{Vote, log_id};

/// All that a tear can make of the two, but for these themselves.
fn torn(old: &[u8], new: &[u8]) -> Vec<Vec<u8>> {
    assert!(old.len() == new.len() && new.len() <= SECTOR, "the one takes the other's place");
    let torn = (1..new.len()).map(|kept| [&new[..kept], &old[kept..]].concat());
    let torn: Vec<Vec<u8>> = torn.filter(|torn| torn != old && torn != new).collect();
    assert!(!torn.is_empty());
    torn
}

#[tokio::test]
async fn a_mark_that_is_torn_vouches_for_nothing_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (rocks, metrics) = (Arc::new(Rocks::open(dir.path()).unwrap()), Arc::new(Metrics::default()));
    let room = Room::new(rocks.clone(), metrics.clone(), CancellationToken::new());
    let kept = || rocks.note(Note::Mark).unwrap().unwrap();
    let found = || {
        let before = metrics.checksum_failures.load(Relaxed);
        let at = Mark::open(room.clone(), &metrics).at();
        (at, metrics.checksum_failures.load(Relaxed) - before)
    };
    let mark = Mark::open(room.clone(), &metrics);
    mark.raise(log_id(1, 9)).await.unwrap();
    for to in [log_id(1, 10), log_id(1, 255), log_id(1, 256), log_id(2, 257), log_id(300, 1 << 40)] {
        let old = kept();
        mark.raise(to).await.unwrap();
        let new = kept();
        for torn in torn(&old, &new) {
            rocks.save_note(Note::Mark, &torn, false).unwrap();
            assert_eq!(found(), (None, 1), "{torn:?} of {old:?} and {new:?}");
            assert!(!is_blank(&torn), "it does not say that nothing was ever durable");
        }
        rocks.save_note(Note::Mark, &new, false).unwrap();
        assert_eq!(found(), (Some(to), 0));
    }
}

#[test]
fn a_copy_of_the_vote_that_is_torn_is_damaged_and_the_other_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    let store = |record: Vec<u8>| {
        let mut batch = Batch::default();
        batch.put(Table::Meta, VOTE, record);
        rocks.write(&batch).unwrap();
    };
    let owner = Identity { cluster_id: "test-cluster".into(), replica: 2 };
    let copy = |vote: Vote| Keepsake { vote, owner: Some(owner.clone()), others: true }.encode();
    for (old, new) in [
        (Vote::new_committed(1, 1), Vote::new(2, 3)),
        (Vote::new(7, 1), Vote::new_committed(7, 1)),
        (Vote::new(126, 3), Vote::new(127, 1)),
        (Vote::new_committed(300, 2), Vote::new(301, 1)),
    ] {
        store(record::encode(&old));
        for torn in torn(&copy(old), &copy(new)) {
            rocks.save_note(Note::Vote, &torn, true).unwrap();
            let error = Keepsake::read(rocks.note(Note::Vote).unwrap()).unwrap_err();
            let is_named = error.to_string().starts_with("the copy of the vote is corrupt");
            assert!(error.kind() == io::ErrorKind::InvalidData && is_named && !is_vote(&torn), "{torn:?}: {error}");
            assert_eq!(kept_vote(&rocks).unwrap(), Some(old), "{torn:?}");
        }
    }
    store(b"damaged, too".to_vec());
    let error = kept_vote(&rocks).expect_err("nobody knows whom it voted for");
    assert!(error.to_string().starts_with("meta record vote is corrupt"), "{error}");
}
