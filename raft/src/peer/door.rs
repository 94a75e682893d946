//! Who is let in at the peer port: messages of this cluster, for this replica, from one that was not removed. Decides, and
//! tells the [`Ear`] who called.

use std::sync::Arc;

use tonic::{Request, Status};

use super::channels::{CLUSTER, RECEIVER};
use super::ear::Ear;
use super::listener;
use crate::identity;
use crate::machine::published::Published;
use crate::members::used;

/// Stands with the refusal of a replica that is no member any more, nor ever will be.
const EXPELLED: &str = "kontiki-expelled";

#[derive(Clone)]
pub struct Door {
    pub cluster_id: String,
    pub id: u64,
    pub published: Arc<Published>,
    pub ear: Arc<Ear>,
}

impl tonic::service::Interceptor for Door {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let text = |name| request.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (cluster, receiver) = (text(CLUSTER), text(RECEIVER));
        let sender = request.extensions().get::<listener::From>().map(|from| from.replica);
        // Those of a later epoch are turned away; that the cluster lives, they show all the same.
        let lives = cluster == self.cluster_id || identity::precedes(&self.cluster_id, cluster);
        if let Some(sender) = sender.filter(|sender| lives && *sender != self.id && receiver.parse() == Ok(self.id)) {
            self.ear.called(sender);
        }
        if cluster != self.cluster_id {
            let message = format!("this replica belongs to cluster {}, the message to {cluster:?}", self.cluster_id);
            return Err(match identity::precedes(cluster, &self.cluster_id) {
                true => expel(format!("the cluster was recovered without this replica: it is {} now", self.cluster_id)),
                false => Status::failed_precondition(message),
            });
        }
        if receiver.parse() != Ok(self.id) {
            let message = format!("this is replica {}, the message is for {receiver:?}", self.id);
            return Err(Status::failed_precondition(message));
        }
        match sender.filter(|sender| used::is_removed(&self.published.state(), *sender)) {
            Some(sender) => Err(expel(format!("replica {sender} was removed from the cluster"))),
            None => Ok(request),
        }
    }
}

fn expel(why: String) -> Status {
    let mut status = Status::permission_denied(why);
    status.metadata_mut().insert(EXPELLED, tonic::metadata::MetadataValue::from_static("true"));
    status
}

/// The reason, if this refusal says that the caller is no member any more.
pub fn expelled(status: &Status) -> Option<String> {
    status.metadata().contains_key(EXPELLED).then(|| status.message().to_owned())
}
