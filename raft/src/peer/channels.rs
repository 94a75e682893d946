//! The connections to the other replicas: one per purpose, made when first used. Acts.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::peer::peer_client::PeerClient;
use proto::seam::Net;
use proto::{channel, pki, tls};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Metadata of every call: the cluster that the sender belongs to, and the replica it means.
pub const CLUSTER: &str = "kontiki-cluster";
pub const RECEIVER: &str = "kontiki-receiver";
/// A request or a chunk is about 1 MiB; a single command may be larger ([`crate::propose::COMMAND_BYTES_MAX`]).
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// What a connection is for. Each has its own, so that none waits behind another's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Log entries towards followers, proposals towards the leader.
    Bulk,
    /// Heartbeats, votes, read indexes, and the sign of life.
    Control,
    Snapshot,
}

pub type Client = PeerClient<InterceptedService<Channel, Address>>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Channels {
    inner: Arc<Inner>,
}

struct Inner {
    net: Arc<dyn Net>,
    tls: tokio_rustls::TlsConnector,
    cluster: MetadataValue<Ascii>,
    /// A changed address gets a new connection; the old one goes with its last user.
    open: Mutex<HashMap<(u64, Lane), (String, Channel)>>,
    book: Mutex<Book>,
}

/// Where the replicas are, by the newest word of each. openraft goes on with the address that a replica had when its
/// stream began, so every call looks here first.
#[derive(Default)]
struct Book {
    /// As the membership had it when it was last looked at.
    recorded: BTreeMap<u64, String>,
    newest: BTreeMap<u64, String>,
}

/// Writes the metadata of every call.
#[derive(Clone)]
pub struct Address {
    cluster: MetadataValue<Ascii>,
    receiver: MetadataValue<Ascii>,
}

impl Interceptor for Address {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(CLUSTER, self.cluster.clone());
        request.metadata_mut().insert(RECEIVER, self.receiver.clone());
        Ok(request)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the cluster's id {0:?} cannot stand in a header: letters, digits and dashes only")]
    ClusterId(String),
    #[error("the peer certificate does not serve")]
    Tls(#[from] tls::Error),
}

impl Channels {
    pub fn new(net: Arc<dyn Net>, identity: &tls::Identity, cluster_id: &str) -> Result<Channels, Error> {
        let tls = tls::connector(identity, &["h2"])?;
        let cluster = cluster_id.parse().map_err(|_| Error::ClusterId(cluster_id.into()))?;
        Ok(Channels { inner: Arc::new(Inner { net, tls, cluster, open: Mutex::default(), book: Mutex::default() }) })
    }

    /// `address`: where the membership has the replica; what the replica itself said later counts more.
    pub fn client(&self, replica: u64, address: &str, lane: Lane) -> Client {
        let receiver = Address { cluster: self.inner.cluster.clone(), receiver: MetadataValue::from(replica) };
        let address = self.newest(replica).unwrap_or_else(|| address.to_owned());
        PeerClient::with_interceptor(self.channel(replica, &address, lane), receiver)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn channel(&self, replica: u64, address: &str, lane: Lane) -> Channel {
        let mut open = self.inner.open.lock().expect("no holder of the connections panics");
        match open.get(&(replica, lane)) {
            Some((at, channel)) if at == address => channel.clone(),
            _ => {
                let made = self.connect(address);
                open.insert((replica, lane), (address.to_owned(), made.clone()));
                made
            }
        }
    }

    fn connect(&self, address: &str) -> Channel {
        let options = channel::Options {
            connect_timeout: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(2),
        };
        channel::to(self.inner.net.clone(), self.inner.tls.clone(), address.to_owned(), pki::PEER_NAME, options)
    }

    /// Does something listen where the replica is? `false` also when the answer takes too long.
    pub async fn listens(&self, replica: u64, address: &str, within: Duration) -> bool {
        let address = self.newest(replica).unwrap_or_else(|| address.to_owned());
        self.listens_at(&address, within).await
    }

    /// Does anything listen at this address?
    pub async fn listens_at(&self, address: &str, within: Duration) -> bool {
        matches!(tokio::time::timeout(within, self.inner.net.connect(address)).await, Ok(Ok(_)))
    }

    fn newest(&self, replica: u64) -> Option<String> {
        self.inner.book.lock().expect("no holder of the book panics").newest.get(&replica).cloned()
    }

    /// The replica itself says where it is.
    pub fn moved(&self, replica: u64, address: &str) {
        let mut book = self.inner.book.lock().expect("no holder of the book panics");
        book.newest.insert(replica, address.to_owned());
    }

    /// The membership as it is now. What has changed in it is news; what has not may be older than a replica's own word.
    pub fn follow(&self, members: BTreeMap<u64, String>) {
        let mut book = self.inner.book.lock().expect("no holder of the book panics");
        for (id, address) in &members {
            if book.recorded.get(id) != Some(address) {
                book.newest.insert(*id, address.clone());
            }
        }
        book.newest.retain(|id, _| members.contains_key(id));
        book.recorded = members;
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use proto::peer::DescribeRequest;

    use super::*;
    use crate::peer::forward::tests::{Frozen, identity};

    #[tokio::test(start_paused = true)]
    async fn each_purpose_has_one_connection_and_shares_it_with_no_other() {
        let net = Arc::new(Frozen::default());
        let channels = Channels::new(net.clone(), &identity(), "test").unwrap();
        let ask = |lane| {
            let mut client = channels.client(2, "two:1", lane);
            async move { client.describe(DescribeRequest {}).await }
        };
        let lanes = [Lane::Bulk, Lane::Control, Lane::Snapshot];
        let asked = join_all([lanes, lanes].concat().into_iter().map(ask));
        // Sooner than the first dial is given up.
        assert!(tokio::time::timeout(Duration::from_millis(500), asked).await.is_err(), "nobody answers");
        assert_eq!(net.0.lock().unwrap().len(), lanes.len());
    }
}
