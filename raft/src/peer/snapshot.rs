//! A snapshot on its way to a follower: in chunks with checksums, straight from the shared state on one side and
//! straight to a fresh generation on the other. Acts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use proto::peer::snapshot_part::Part;
use proto::peer::{SnapshotChunk, SnapshotHead, SnapshotPart, SnapshotTail};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::channels::Client;
use super::wire;
use crate::command::Versioned;
use crate::machine::image::Image;
use crate::machine::objects::{Generations, Stage};
use crate::metrics::Metrics;
use crate::types::{Snapshot, SnapshotMeta, Vote};

const CHUNK_BYTES: usize = 512 << 10;
/// A receiver that takes no chunk, or a sender that gives none, for this long has died.
const STALL: Duration = Duration::from_secs(10);

/// Sends the snapshot and waits until it is installed. `installed_within`: how long the receiver may take after
/// the last chunk. Returns the receiver's vote.
pub async fn send(
    mut client: Client,
    vote: Vote,
    snapshot: Snapshot,
    installed_within: Duration,
    metrics: &Arc<Metrics>,
) -> Result<Vote, Status> {
    // A short queue: what the receiver does not take is not made.
    let (parts, queue) = tokio::sync::mpsc::channel(2);
    let feeding = async {
        for part in encode(vote, &snapshot) {
            if let Some(Part::Chunk(chunk)) = &part.part {
                Metrics::add(&metrics.snapshot_bytes_sent, chunk.rows.len() as u64);
            }
            match tokio::time::timeout(STALL, parts.send(part)).await {
                Ok(Ok(())) => tokio::task::yield_now().await,
                // The call has ended and says why itself.
                Ok(Err(_)) => break,
                Err(_) => return Err(Status::deadline_exceeded("the receiver takes no more chunks")),
            }
        }
        drop(parts);
        tokio::time::sleep(installed_within).await;
        Err(Status::deadline_exceeded("the snapshot was not installed in time"))
    };
    let reply = tokio::select! {
        late = feeding => return late,
        reply = client.install_snapshot(ReceiverStream::new(queue)) => reply?,
    };
    Metrics::add(&metrics.snapshots_sent, 1);
    Ok(wire::vote_in(reply.into_inner().vote)?)
}

/// Made while it is sent: no second copy of the state comes into being.
fn encode(vote: Vote, snapshot: &Snapshot) -> impl Iterator<Item = SnapshotPart> {
    let membership = &snapshot.meta.last_membership;
    let head = SnapshotHead {
        vote: Some(wire::vote_out(&vote)),
        last: snapshot.meta.last_log_id.as_ref().map(wire::log_id_out),
        membership_at: membership.log_id().as_ref().map(wire::log_id_out),
        membership: wire::membership_out(membership.membership()),
        revision: snapshot.snapshot.state.revision(),
        digest: snapshot.snapshot.state.digest(),
    };
    let mut objects = snapshot.snapshot.state.objects();
    let (mut crc, mut count, mut ended) = (crc32fast::Hasher::new(), 0, false);
    let rest = std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut rows = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 3));
        while rows.len() < CHUNK_BYTES
            && let Some(row) = objects.next()
        {
            count += 1;
            rows = postcard::to_extend(&row, rows).expect("an object has an encoding");
        }
        ended = rows.is_empty();
        Some(match ended {
            true => Part::Tail(SnapshotTail { objects: count, crc: crc.clone().finalize() }),
            false => {
                let own = crc32fast::hash(&rows);
                crc.update(&own.to_le_bytes());
                Part::Chunk(SnapshotChunk { rows: rows.into(), crc: own })
            }
        })
    });
    std::iter::once(Part::Head(head)).chain(rest).map(|part| SnapshotPart { part: Some(part) })
}

/// A snapshot that has begun to come in.
pub struct Arriving<S> {
    pub vote: Vote,
    meta: SnapshotMeta,
    revision: u64,
    digest: u64,
    parts: S,
}

impl<S: Stream<Item = Result<SnapshotPart, Status>> + Unpin> Arriving<S> {
    /// Whose it is, and what of. Takes nothing in.
    pub async fn begin(mut parts: S) -> Result<Arriving<S>, Status> {
        let Some(Part::Head(head)) = next(&mut parts).await? else {
            return Err(Status::invalid_argument("the snapshot has no head"));
        };
        let last_membership = wire::stored_membership_in(head.membership_at, &head.membership)?;
        let meta = SnapshotMeta { last_log_id: head.last.map(wire::log_id_in), last_membership };
        let (vote, revision, digest) = (wire::vote_in(head.vote)?, head.revision, head.digest);
        Ok(Arriving { vote, meta, revision, digest, parts })
    }

    /// Takes it in, onto the disk and into memory. Nothing of the present state changes. Dropped, it leaves nothing behind.
    pub async fn receive(self, generations: &Arc<Generations>, metrics: &Metrics) -> Result<Snapshot, Status> {
        let Arriving { meta, revision, digest, mut parts, .. } = self;
        let mut stage = generations.stage().await.map_err(disk)?;
        let mut crc = crc32fast::Hasher::new();
        loop {
            match next(&mut parts).await? {
                Some(Part::Chunk(chunk)) => {
                    crc.update(&chunk.crc.to_le_bytes());
                    take(&mut stage, &chunk).await?;
                    Metrics::add(&metrics.snapshot_bytes_installed, chunk.rows.len() as u64);
                }
                Some(Part::Tail(tail)) if (tail.objects, tail.crc) == (stage.len() as u64, crc.clone().finalize()) => {
                    break;
                }
                Some(Part::Tail(_)) => return Err(Status::data_loss("the snapshot's checksum does not match")),
                Some(Part::Head(_)) | None => {
                    return Err(Status::invalid_argument("the snapshot has a part out of place"));
                }
            }
        }
        let (state, staged) = stage.finish(revision).await.map_err(disk)?;
        if state.digest() != digest {
            return Err(Status::data_loss("the snapshot's objects do not match the digest of its state"));
        }
        let membership = meta.last_membership.clone();
        let image = Image { state, last_applied: meta.last_log_id, membership, staged: Some(staged) };
        Ok(Snapshot { meta, snapshot: image })
    }
}

async fn next(parts: &mut (impl Stream<Item = Result<SnapshotPart, Status>> + Unpin)) -> Result<Option<Part>, Status> {
    match tokio::time::timeout(STALL, parts.next()).await {
        Ok(Some(part)) => Ok(part?.part),
        Ok(None) => Err(Status::data_loss("the snapshot ended early")),
        Err(_) => Err(Status::deadline_exceeded("the sender gives no more chunks")),
    }
}

async fn take(stage: &mut Stage, chunk: &SnapshotChunk) -> Result<(), Status> {
    if crc32fast::hash(&chunk.rows) != chunk.crc {
        return Err(Status::data_loss("a chunk's checksum does not match"));
    }
    let mut rows = &chunk.rows[..];
    while !rows.is_empty() {
        let row = postcard::take_from_bytes::<(Bytes, Versioned)>(rows);
        let ((key, object), rest) = row.map_err(|error| Status::invalid_argument(error.to_string()))?;
        stage.add(key, object).await.map_err(disk)?;
        rows = rest;
    }
    Ok(())
}

fn disk(error: std::io::Error) -> Status {
    Status::internal(error.to_string())
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
