use futures::stream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::disk::rocks::Rocks;
use crate::disk::room::Room;
use crate::disk::{Disk as _, Table};
use crate::state::State;
use crate::types::{StoredMembership, log_id};

fn snapshot() -> (Vote, Snapshot) {
    let mut state = State::default();
    for n in 0..30u64 {
        let object = Versioned { revision: n + 1, created: n + 1, value: vec![n as u8; 40_000].into() };
        state.insert(format!("object-{n:02}").into(), object);
    }
    state.set_revision(30);
    let membership = StoredMembership::default();
    let image = Image { state, last_applied: Some(log_id(2, 30)), membership, staged: None };
    let vote = wire::vote_in(Some(proto::peer::Vote { term: 2, replica: 1, committed: true })).unwrap();
    (vote, Snapshot { meta: image.meta(), snapshot: image })
}

/// What is left of it on the receiver's disk, and what came of it.
async fn received(parts: Vec<SnapshotPart>) -> (usize, Result<(Vote, Snapshot), Status>) {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::default());
    let disk = Arc::new(Rocks::open(dir.path()).unwrap());
    let room = Room::new(disk.clone(), metrics.clone(), CancellationToken::new());
    let generations = Generations::open(room, 0).unwrap();
    let received = async {
        let arriving = Arriving::begin(stream::iter(parts.into_iter().map(Ok))).await?;
        Ok::<_, Status>((arriving.vote, arriving.receive(&generations, &metrics).await?))
    };
    let received = received.await;
    let rows = disk.scan(Table::Objects, b"", &[0xff; 9], usize::MAX).unwrap().len();
    (rows, received)
}

#[tokio::test]
async fn a_snapshot_arrives_as_it_was_sent() {
    let (vote, sent) = snapshot();
    let (rows, received) = received(encode(vote, &sent).collect()).await;
    let (by, snapshot) = received.unwrap();
    assert_eq!((by, rows, &snapshot.meta), (vote, 30, &sent.meta));
    assert_eq!(snapshot.snapshot.state.digest(), sent.snapshot.state.digest());
}

#[tokio::test]
async fn one_that_is_not_as_it_was_sent_is_refused_and_leaves_nothing_behind() {
    type Damage = fn(&mut Vec<SnapshotPart>);
    fn chunk(part: &mut SnapshotPart) -> &mut SnapshotChunk {
        let Some(Part::Chunk(chunk)) = &mut part.part else { panic!("a chunk") };
        chunk
    }
    let cases: [(&str, Damage); 8] = [
        ("a chunk's checksum does not match", |parts| {
            let chunk = chunk(&mut parts[2]);
            let mut rows = chunk.rows.to_vec();
            rows[100_000] ^= 1;
            chunk.rows = rows.into();
        }),
        ("a chunk's checksum does not match", |parts| chunk(&mut parts[1]).crc ^= 1),
        ("the snapshot's checksum does not match", |parts| drop(parts.remove(1))),
        ("the snapshot's checksum does not match", |parts| parts.swap(1, 2)),
        ("the snapshot's objects do not match the digest", |parts| {
            let Some(Part::Head(head)) = &mut parts[0].part else { panic!("a head") };
            head.digest ^= 1;
        }),
        ("the snapshot ended early", |parts| drop(parts.pop())),
        ("the snapshot has no head", |parts| drop(parts.remove(0))),
        ("the snapshot has a part out of place", |parts| parts.insert(2, parts[0].clone())),
    ];
    for (why, damage) in cases {
        let (vote, sent) = snapshot();
        let mut parts: Vec<SnapshotPart> = encode(vote, &sent).collect();
        assert!(parts.len() >= 5, "several chunks");
        damage(&mut parts);
        let (rows, received) = received(parts).await;
        let status = received.expect_err(why);
        assert!(status.message().starts_with(why), "{why}: {status}");
        assert_eq!(rows, 0, "{why}");
    }
}
