//! The replicas that a client may call, and the one that answered last. Keeps state.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use proto::admin::admin_client::AdminClient;
use proto::api::api_client::ApiClient;
use proto::channel;
use proto::tls::TlsConnector;
use tonic::transport::Channel;

use crate::pulse::{self, Pulse};
use crate::{Config, Error};

/// The largest message either way: an object may be 3 MiB, a page of a listing is larger.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// One of them. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Replica {
    pub address: String,
    pub pulse: Pulse,
    pub api: ApiClient<Channel>,
    /// The administrators' service, over the same connection.
    pub admin: AdminClient<Channel>,
}

pub struct Replicas {
    config: Config,
    tls: TlsConnector,
    all: RwLock<Arc<[Replica]>>,
    /// The place of the one that answered last.
    present: AtomicUsize,
}

impl Replicas {
    /// Dials nothing.
    pub fn new(config: Config) -> Result<Replicas, Error> {
        if config.addresses.is_empty() {
            return Err(Error::Unreachable("no address of a replica is known".into()));
        }
        let tls = proto::tls::connector(&config.identity, &["h2"])?;
        // Clients of one cluster begin at different replicas.
        let present = AtomicUsize::new(config.env.random.below(config.addresses.len() as u64) as usize);
        let replicas = Replicas { tls, all: RwLock::new(Arc::new([])), present, config };
        replicas.set(&replicas.config.addresses);
        Ok(replicas)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Connections to those that stay are kept.
    pub fn set(&self, addresses: &[String]) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if addresses.is_empty() || all.iter().map(|replica| &replica.address).eq(addresses) {
            return;
        }
        let kept = |address: &String| all.iter().find(|replica| replica.address == *address).cloned();
        *all = addresses.iter().map(|address| kept(address).unwrap_or_else(|| self.dial(address))).collect();
        let place = self.present.load(Ordering::Relaxed) % addresses.len();
        self.present.store(place, Ordering::Relaxed);
    }

    fn dial(&self, address: &str) -> Replica {
        let (net, name) = (self.config.env.net.clone(), proto::pki::API_NAME);
        let channel = channel::to(net, self.tls.clone(), address.to_owned(), name, channel::Options::default());
        let api = ApiClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let admin = AdminClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Replica { address: address.to_owned(), pulse: Pulse::new(api.clone()), api, admin }
    }

    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// The one to call, and its place.
    pub fn present(&self) -> (usize, Replica) {
        let all = self.all();
        let place = self.present.load(Ordering::Relaxed) % all.len();
        (place, all[place].clone())
    }

    /// Leaves one that failed, unless another call did so already: for the first of the others that answers, or for the
    /// next one when none does.
    pub async fn leave(&self, from: usize) {
        let all = self.all();
        if self.present.load(Ordering::Relaxed) % all.len() != from {
            return;
        }
        let others = all.iter().enumerate().filter(|(place, _)| *place != from);
        let found = pulse::first(others.map(|(place, replica)| (place, replica.pulse.clone()))).await;
        self.go(from, found.unwrap_or((from + 1) % all.len()));
    }

    fn go(&self, from: usize, to: usize) {
        let _ = self.present.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn all(&self) -> Arc<[Replica]> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use proto::pki::{Authority, Request};
    use proto::tls::Identity;

    use super::*;

    fn replicas(addresses: &[&str]) -> Replicas {
        proto::tls::install_provider();
        let authority = Authority::make("test").unwrap();
        let pair = authority.sign(&Request { common_name: "test", organizations: &[], hosts: &[] }).unwrap();
        let identity = Identity {
            certificate_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
            authority_pem: authority.certificate_pem().to_owned(),
        };
        Replicas::new(Config::new(owned(addresses), identity)).unwrap()
    }

    fn owned(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|address| address.to_string()).collect()
    }

    /// The addresses in the order in which calls that fail come to them.
    fn tried(replicas: &Replicas) -> Vec<String> {
        let turn = |_| {
            let (place, replica) = replicas.present();
            replicas.go(place, (place + 1) % replicas.count());
            replica.address
        };
        (0..replicas.count()).map(turn).collect()
    }

    #[tokio::test]
    async fn other_replicas_are_called_from_then_on() {
        let replicas = replicas(&["a", "b", "c"]);
        replicas.go(0, 1);
        replicas.go(1, 2);
        let mut before = tried(&replicas);
        before.sort();
        assert_eq!(before, ["a", "b", "c"]);
        // Whichever was the present one, both of those that are left get their turn.
        replicas.set(&owned(&["b", "d"]));
        let mut after = tried(&replicas);
        after.sort();
        assert_eq!(after, ["b", "d"]);
        replicas.set(&[]);
        assert_eq!(replicas.count(), 2, "an empty list changes nothing");
    }
}
