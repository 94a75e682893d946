//! One host's process: the store of production on simulated surroundings, and those who use it. Acts.

use std::sync::OnceLock;
use std::time::Duration;

use proto::pki::{Authority, PEER_NAME, Request};
use proto::seam::{Env, Random};
use proto::tls::Identity;
use raft::{Config, HistoryWindow, Member, Renewals, Store, Timing};
use tokio::task::JoinSet;

use super::clients::Client;
use super::seen::Shared;
use super::{historian, leader, reader, watchers};
use crate::sim::disk::Platters;

const CLIENTS: u64 = 2;
/// Where little of the log is in memory, little more than this of it is kept for who lags: some fifty entries.
const LOG_BYTES: u64 = 16 << 10;
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(3);

pub fn name(id: u64) -> String {
    format!("replica-{id}")
}

/// `host`: the number of the host, which for all but a guest is its id.
pub fn member(id: u64, host: u64) -> Member {
    Member { id, peer_address: format!("{}:7000", name(host)), client_address: format!("{}:6443", name(host)) }
}

/// Made once per process: what is in the certificates decides nothing.
fn identity(id: u64) -> Identity {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    static MADE: OnceLock<Vec<Identity>> = OnceLock::new();
    const MOST: u64 = 12;
    let made = MADE.get_or_init(|| {
        let authority = AUTHORITY.get_or_init(|| Authority::make("peers").expect("an authority can be made"));
        let one = |id| {
            let common_name = format!("kontiki:replica:{id}");
            let request = Request { common_name: &common_name, organizations: &[], hosts: &[PEER_NAME.into()] };
            let pair = authority.sign(&request).expect("a certificate can be made");
            Identity {
                certificate_pem: pair.certificate_pem,
                key_pem: pair.key_pem,
                authority_pem: authority.certificate_pem().into(),
            }
        };
        (1..=MOST).map(one).collect()
    });
    made[id as usize - 1].clone()
}

/// What is made once per process.
pub fn prepare() {
    proto::tls::install_provider();
    identity(1);
}

/// How a replica begins, whichever it is.
pub struct Setting {
    /// How many replicas there are from the beginning.
    pub founders: u64,
    pub history: HistoryWindow,
    pub save: Duration,
    pub scrub: Duration,
    pub log_bytes: Option<usize>,
    /// The history has users of its own.
    pub is_studied: bool,
    pub is_crowded: bool,
    /// Of what is drawn apart, so that all else is drawn as if it were not.
    pub seed: u64,
}

/// As `server::run` does it: one that finds damage begins anew, in the same process.
pub async fn main(own: Member, setting: Setting, platters: Platters, env: Env, shared: Shared) {
    let mut renewals = Renewals::default();
    while let Some(damage) = run(&own, &setting, renewals.clone(), &platters, &env, &shared).await {
        shared.note(format_args!("replica {} begins anew: {damage}", own.id));
        shared.lock().renewals += 1;
        renewals.begin(damage);
    }
}

/// Until it is told to end, cannot begin, or is to begin anew for the damage that it returns.
async fn run(
    own: &Member,
    setting: &Setting,
    renewals: Renewals,
    platters: &Platters,
    env: &Env,
    shared: &Shared,
) -> Option<String> {
    let id = own.id;
    let mut members: Vec<Member> =
        (1..=setting.founders).filter(|other| *other != id).map(|other| member(other, other)).collect();
    members.push(own.clone());
    members.sort_by_key(|member| member.id);
    let config = Config {
        id,
        dir: name(id).into(),
        peer_listen: "0.0.0.0:7000".into(),
        initial_members: members,
        cluster_id: "simulated".into(),
        tls: identity(id),
        timing: Timing {
            propose_timeout: PROPOSE_TIMEOUT,
            save: setting.save,
            scrub: setting.scrub,
            ..Timing::default()
        },
        history: setting.history.clone(),
        renewals,
    };
    let (random, clock) = (env.random.clone(), env.clock.clone());
    let store = match Store::open_on(platters.open(), config, env.clone()).await {
        Ok(store) => store,
        Err(error) => {
            shared.note(format_args!("replica {id} cannot start: {error}"));
            shared.lock().open_failures.insert(id, error.to_string());
            return None;
        }
    };
    setting.log_bytes.into_iter().for_each(|bytes| {
        store.cache_log(bytes);
        store.bound_log(LOG_BYTES + bytes as u64);
    });
    shared.note(format_args!("replica {id} starts"));
    shared.lock().open_failures.remove(&id);
    shared.lock().stores.insert(id, store.clone());
    let fork = || Random::from_seed(random.u64());
    let mut users = JoinSet::new();
    for _ in 0..CLIENTS {
        let (store, shared, clock) = (store.clone(), shared.clone(), clock.clone());
        let client = Client { store, shared, random: fork(), clock, in_crowd: setting.is_crowded };
        users.spawn(client.run());
    }
    users.spawn(watchers::serve(store.clone(), shared.clone(), fork()));
    users.spawn(watchers::serve(store.clone(), shared.clone(), fork()));
    users.spawn(reader::run(store.clone(), shared.clone(), Random::from_seed(setting.seed)));
    if setting.is_studied {
        users.spawn(historian::follow(store.clone(), shared.clone()));
        users.spawn(historian::look_back(store.clone(), shared.clone(), fork()));
    }
    users.spawn(leader::run(store.clone(), shared.clone(), fork(), clock));
    let damage = tokio::select! {
        biased;
        () = shared.stop.cancelled() => None,
        damage = store.renewal() => Some(damage),
    };
    users.shutdown().await;
    store.shutdown().await;
    shared.note(format_args!("replica {id} has ended"));
    shared.lock().stores.remove(&id);
    damage
}
