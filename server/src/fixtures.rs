//! What several tests of this crate begin with. Acts.

use std::path::Path;
use std::time::Duration;

use proto::pki::{Authority, PEER_NAME, Request};
use proto::seam::Env;
use proto::tls::{self, Identity};
use raft::{Config, HistoryWindow, Member, Store, Timing};
use tokio::time::timeout;

/// A store of one replica, which leads.
pub async fn store(dir: &Path, env: Env) -> Store {
    tls::install_provider();
    let authority = Authority::make("peers").expect("an authority");
    let hosts = [PEER_NAME.to_string()];
    let pair = authority.sign(&Request { common_name: "1", organizations: &[], hosts: &hosts }).expect("a certificate");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let config = Config {
        id: 1,
        dir: dir.into(),
        peer_listen: address.clone(),
        initial_members: vec![Member { id: 1, peer_address: address, client_address: "127.0.0.1:6443".into() }],
        cluster_id: "test".into(),
        tls: Identity {
            certificate_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
            authority_pem: authority.certificate_pem().to_string(),
        },
        timing: Timing::default(),
        history: HistoryWindow::default(),
        renewals: Default::default(),
    };
    let store = Store::open(config, env).await.expect("the store opens");
    let mut standing = store.standing();
    let leads = standing.wait_for(|standing| standing.leads_in_term.is_some());
    timeout(Duration::from_secs(20), leads).await.expect("it leads in time").expect("it lives");
    store
}
