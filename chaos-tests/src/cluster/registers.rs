//! Who reads and writes through the doors of one replica each, and what must come of it: ConfigMaps as registers and as a set
//! that grows, as real hosts have them. Acts; [`judge`] decides.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use proto::seam::{Env, Random};
use raft::Change;

use super::plan::{NEWCOMER, REPLICAS};
use super::user::NAMESPACE;
use super::{seen, setting};
use crate::sim::links::HostId;
use crate::store::seen::{Seen, Shared};
use crate::store::verdict;
use crate::users::clients::{self, Client};
use crate::users::gaps::Gaps;

const CONFIG_MAPS: &str = "core/configmaps/default/";
/// Few, for most of a run's time goes to what a cluster does by itself.
const PAUSE_MS: (u64, u64) = (100, 900);
const CALL_MAX: Duration = Duration::from_secs(4);

/// One of each founder.
pub fn clients(env: &Env, shared: &Shared, random: &Random) -> Vec<Client> {
    let gaps = Gaps::default();
    let of = |replica| at_doors(env, shared, Random::from_seed(random.u64()), gaps.clone(), replica);
    (0..REPLICAS).map(of).collect()
}

/// One of the further replica, once that has joined.
pub async fn at_newcomer(env: Env, shared: seen::Shared, random: Random) {
    while shared.lock().joined.is_none() {
        tokio::time::sleep(Duration::from_millis(PAUSE_MS.0)).await;
    }
    at_doors(&env, &shared.registers, random, Gaps::default(), NEWCOMER).run().await;
}

fn at_doors(env: &Env, shared: &Shared, random: Random, gaps: Gaps, replica: HostId) -> Client {
    let config = client::Config { timeout: CALL_MAX, ..setting::user_of(env.clone(), replica) };
    let api = client::Client::connect(config).expect("the configuration is good").namespaced::<ConfigMap>(NAMESPACE);
    Client { api, shared: shared.clone(), random, gaps, pause_ms: PAUSE_MS }
}

/// `history`: every change of the run, if it is known from its beginning on.
pub fn judge(seen: &mut Seen, history: Option<&[Change]>) -> Result<(), String> {
    if let Some(history) = history {
        history.iter().filter_map(known_by).try_for_each(|change| seen.agreed.add(&change))?;
    }
    verdict::judge(seen, history.is_some())
}

/// A change of what the clients wrote, as they know it.
fn known_by(change: &Change) -> Option<Change> {
    let name = std::str::from_utf8(&change.key).ok()?.strip_prefix(CONFIG_MAPS)?;
    let object = change.value.as_ref().map(|value| serde_json::from_slice::<ConfigMap>(value));
    let value = object.transpose().ok()?.as_ref().and_then(clients::value);
    Some(clients::change(name, change.revision, value))
}

#[cfg(test)]
mod tests {
    use raft::Previous;

    use super::*;
    use crate::check::acknowledged::Acknowledged;

    fn written(name: &str, revision: u64, value: Option<&str>) -> Change {
        Change {
            revision,
            key: format!("{CONFIG_MAPS}{name}").into(),
            value: value.map(|value| format!(r#"{{"metadata":{{}},"data":{{"value":"{value} ..."}}}}"#).into()),
            previous: Previous::Forgotten,
            author: "user".into(),
            proposed_at_ms: 0,
        }
    }

    #[test]
    fn what_a_client_was_told_is_held_against_the_history_of_the_objects() {
        let history = [written("reg-1", 5, Some("7")), written("reg-1", 9, None)];
        let told = |acknowledged| Seen { acknowledged: vec![acknowledged], ..Seen::default() };
        let put = |at| told(Acknowledged::Put { value: 7, at });
        let deleted = |at| told(Acknowledged::Deleted { key: clients::change_key("reg-1"), after: Some(5), at });
        judge(&mut put(5), Some(&history)).unwrap();
        judge(&mut deleted(9), Some(&history)).unwrap();
        assert!(judge(&mut put(6), Some(&history)).is_err());
        assert!(judge(&mut deleted(8), Some(&history)).is_err());
        judge(&mut put(6), None).expect("nobody knows what was there");
    }
}
