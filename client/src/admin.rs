//! The administrators' calls: who the replicas are, and snapshots of the state.

use proto::admin::{
    AddReplicaReply, AddReplicaRequest, ListReplicasReply, ListReplicasRequest, ReplicaRequest, SaveSnapshotRequest,
    SnapshotBytes,
};

use crate::dispatch::Repeat;
use crate::{Client, Error};

impl Client {
    /// The replicas, with every change that was answered before. Without a leader, as one of them sees them: it says so.
    pub async fn replicas(&self) -> Result<ListReplicasReply, Error> {
        self.call_admin(Repeat::Read, |mut admin| async move { admin.list_replicas(ListReplicasRequest {}).await })
            .await
    }

    /// A new replica, as a learner, under an id that was never used before.
    pub async fn add_replica(&self, peer_address: &str, client_address: &str) -> Result<AddReplicaReply, Error> {
        let request = AddReplicaRequest { peer_address: peer_address.into(), client_address: client_address.into() };
        self.call_admin(Repeat::Never, |mut admin| {
            let request = request.clone();
            async move { admin.add_replica(request).await }
        })
        .await
    }

    /// Gives a learner that has caught up a vote.
    pub async fn promote_replica(&self, id: u64) -> Result<(), Error> {
        self.call_admin(Repeat::Always, |mut admin| async move { admin.promote_replica(ReplicaRequest { id }).await })
            .await
            .map(drop)
    }

    /// Takes a replica out of the cluster, for ever.
    pub async fn remove_replica(&self, id: u64) -> Result<(), Error> {
        self.call_admin(Repeat::Always, |mut admin| async move { admin.remove_replica(ReplicaRequest { id }).await })
            .await
            .map(drop)
    }

    /// To this replica, or to the most advanced voter. Returns who leads then; 0 when that is not known yet.
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<u64, Error> {
        let id = to.unwrap_or(0);
        let transfer = self.call_admin(Repeat::Never, |mut admin| async move {
            admin.transfer_leadership(ReplicaRequest { id }).await
        });
        Ok(transfer.await?.id)
    }

    /// The bytes of a snapshot file, from one replica. They are to be held against their checksums once all are there: a
    /// stream that breaks leaves a part of a file. `local`: without asking a leader whether the replica is up to date.
    pub async fn snapshot(&self, local: bool) -> Result<tonic::Streaming<SnapshotBytes>, Error> {
        self.call_admin(
            Repeat::Read,
            |mut admin| async move { admin.save_snapshot(SaveSnapshotRequest { local }).await },
        )
        .await
    }
}
