//! The administrators' door: the replicas, and snapshots of the state. Acts; every rule is behind it.

use std::time::Duration;

use api::status::Status as Kubernetes;
use bytes::Bytes;
use proto::admin as wire;
use proto::admin::admin_server::{Admin, AdminServer};
use raft::{ChangeError, MemberChange};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Door, STATUS_DEADLINE, convert, identity, status};
use crate::auth;

/// Time for a change of the members, finding the leader included.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// A list waits so long for a majority that confirms it: an election takes less.
const LIST_DEADLINE: Duration = Duration::from_secs(3);
/// The list that comes with a change waits at least so long: who asked for the change waits no longer for both.
const LIST_AFTER_MIN: Duration = Duration::from_secs(1);
/// Pieces of a snapshot that wait for the client; each is about half a MiB.
const SNAPSHOT_QUEUE: usize = 4;
/// A client that takes no piece for this long has gone.
const SNAPSHOT_STALL: Duration = Duration::from_secs(30);
/// What the refusals call this door.
const PATH: &str = "/kontiki.admin.v1.Admin";

impl Door {
    pub(super) fn admin(self) -> AdminServer<Door> {
        AdminServer::new(self)
    }

    async fn change(&self, change: MemberChange) -> Result<u64, Status> {
        tracing::info!(?change, "a change of the replicas is asked for");
        self.store.change_members(change, CHANGE_DEADLINE).await.map_err(|error| {
            convert::failure(match error {
                ChangeError::Refused(why) => Kubernetes::bad_request(why),
                error @ ChangeError::NoLeader(_) => Kubernetes::service_unavailable(error.to_string(), 1),
                error @ ChangeError::Unknown(_) => Kubernetes::timeout(error.to_string(), 1),
            })
        })
    }

    /// With every change that was answered before, unless no majority confirms that within the deadline.
    async fn replicas(&self, deadline: Duration) -> wire::ListReplicasReply {
        let confirmed = tokio::time::timeout(deadline, self.store.members_barrier()).await;
        let members = self.store.members(STATUS_DEADLINE).await;
        let status::Head { term, leader, index } = status::head(&members);
        let replicas = members.into_iter().map(|status| wire::Replica {
            id: status.member.id,
            peer_address: status.member.peer_address,
            client_address: status.member.client_address,
            voter: status.voter,
            role: status::role(status.role, Some(status.member.id) == leader).into(),
            reachable: status.reachable,
            applied_index: status.applied_index.unwrap_or_default(),
            lag: status.applied_index.map_or(-1, |applied| index.saturating_sub(applied) as i64),
            filling: status.filling,
        });
        wire::ListReplicasReply {
            replicas: replicas.collect(),
            leader: leader.unwrap_or_default(),
            term,
            cluster_id: self.store.cluster_id().to_owned(),
            may_be_old: !matches!(confirmed, Ok(Ok(()))),
        }
    }
}

/// How long the list may wait that comes with a change which took so long.
fn list_after(change: Duration) -> Duration {
    CHANGE_DEADLINE.saturating_sub(change).max(LIST_AFTER_MIN)
}

/// Administrators alone.
fn admit<T>(request: &Request<T>) -> Result<(), Status> {
    auth::authorize_path(&identity(request), PATH).map_err(convert::failure)
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Admin for Door {
    async fn list_replicas(&self, request: Request<wire::ListReplicasRequest>) -> Reply<wire::ListReplicasReply> {
        admit(&request)?;
        Ok(Response::new(self.replicas(LIST_DEADLINE).await))
    }

    async fn add_replica(&self, request: Request<wire::AddReplicaRequest>) -> Reply<wire::AddReplicaReply> {
        admit(&request)?;
        let wire::AddReplicaRequest { peer_address, client_address } = request.into_inner();
        let began = Instant::now();
        let id = self.change(MemberChange::Add { peer_address, client_address }).await?;
        // Whatever this replica has heard of it by now, the leader has it written down.
        let listed = self.replicas(list_after(began.elapsed())).await;
        let wire::ListReplicasReply { replicas, cluster_id, .. } = listed;
        Ok(Response::new(wire::AddReplicaReply { id, cluster_id, replicas }))
    }

    async fn promote_replica(&self, request: Request<wire::ReplicaRequest>) -> Reply<wire::ReplicaReply> {
        admit(&request)?;
        let id = self.change(MemberChange::Promote { id: request.into_inner().id }).await?;
        Ok(Response::new(wire::ReplicaReply { id }))
    }

    async fn remove_replica(&self, request: Request<wire::ReplicaRequest>) -> Reply<wire::ReplicaReply> {
        admit(&request)?;
        let id = self.change(MemberChange::Remove { id: request.into_inner().id }).await?;
        Ok(Response::new(wire::ReplicaReply { id }))
    }

    async fn transfer_leadership(&self, request: Request<wire::ReplicaRequest>) -> Reply<wire::ReplicaReply> {
        admit(&request)?;
        let to = Some(request.into_inner().id).filter(|id| *id > 0);
        let id = self.change(MemberChange::Transfer { to }).await?;
        Ok(Response::new(wire::ReplicaReply { id }))
    }

    type SaveSnapshotStream = ReceiverStream<Result<wire::SnapshotBytes, Status>>;

    async fn save_snapshot(&self, request: Request<wire::SaveSnapshotRequest>) -> Reply<Self::SaveSnapshotStream> {
        admit(&request)?;
        let unavailable = |why: String| convert::failure(Kubernetes::service_unavailable(why, 1));
        if !request.into_inner().local {
            self.store.barrier().await.map_err(|error| unavailable(error.to_string()))?;
        }
        let backup = self.store.backup(self.clock.now_ms()).await.map_err(|error| unavailable(error.to_string()))?;
        Ok(Response::new(hand_over(backup.pieces())))
    }
}

/// Hands over piece after piece as the client takes them. A client that takes none for too long is told so, should it read on:
/// a stream that merely ended would look complete.
fn hand_over(
    pieces: impl Iterator<Item = Bytes> + Send + 'static,
) -> ReceiverStream<Result<wire::SnapshotBytes, Status>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(SNAPSHOT_QUEUE + 1);
    let last_word = sender.clone().try_reserve_owned().expect("the queue is empty");
    tokio::spawn(async move {
        for data in pieces {
            match tokio::time::timeout(SNAPSHOT_STALL, sender.send(Ok(wire::SnapshotBytes { data }))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    let why = Kubernetes::timeout("the client took too long over the snapshot", 0);
                    last_word.send(Err(convert::failure(why)));
                    return;
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;
    use tokio_stream::StreamExt as _;

    use super::*;

    #[test]
    fn a_change_and_the_list_that_comes_with_it_are_answered_while_somebody_waits() {
        for change in [Duration::ZERO, CHANGE_DEADLINE / 2, CHANGE_DEADLINE] {
            let answered = change + list_after(change) + STATUS_DEADLINE;
            assert!(answered < proto::ADMIN_ANSWER_MAX, "{answered:?}");
        }
        assert!(list_after(Duration::from_millis(100)) > LIST_DEADLINE, "there is time for an election");
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_that_nobody_takes_breaks_off_and_does_not_look_complete() {
        let pieces = || (0..3 * SNAPSHOT_QUEUE as u8).map(|n| Bytes::from(vec![n]));
        let mut slow = hand_over(pieces());
        let mut taken = Vec::new();
        while let Some(piece) = slow.next().await {
            taken.push(piece.unwrap().data);
            sleep(SNAPSHOT_STALL * 9 / 10).await;
        }
        assert_eq!(taken, pieces().collect::<Vec<_>>());

        let mut stalled = hand_over(pieces());
        stalled.next().await.unwrap().unwrap();
        sleep(SNAPSHOT_STALL * 2).await;
        let rest: Vec<_> = stalled.collect().await;
        let (last, before) = rest.split_last().unwrap();
        assert_eq!(last.as_ref().unwrap_err().code(), tonic::Code::DeadlineExceeded);
        assert!(before.len() <= SNAPSHOT_QUEUE && before.iter().all(Result::is_ok));
    }
}
