//! One client's connection to one member: the same few calls, whichever system answers. Acts.

use std::sync::LazyLock;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use proto::admin::ReplicaRequest;
use proto::admin::admin_client::AdminClient;
use proto::api::api_client::ApiClient;
use proto::api::{CreateRequest, GetRequest, ListRequest, Target, UpdateRequest, WatchRequest as ApiWatchRequest};
use proto::seam::Random;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Channel;

use crate::line::Line;
use crate::wire::maintenance_client::MaintenanceClient;
use crate::wire::watch_client::WatchClient;
use crate::wire::watch_request::Request as Ask;
use crate::wire::{
    MoveLeaderRequest, PutRequest, PutResponse, RangeRequest, RangeResponse, StatusRequest, WatchCreateRequest,
    WatchRequest,
};

const PUT: &str = "http://member/etcdserverpb.KV/Put";
const RANGE: &str = "http://member/etcdserverpb.KV/Range";
const PREFIX: &str = "bench/";
/// Digits of the stamp at the front of every value.
const STAMP: usize = 16;
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const NOISE_BYTES: usize = 1 << 16;

#[derive(Clone)]
pub enum Caller {
    /// Puts and gets go over the line, all else over the channel.
    Kv(Line, Channel),
    /// The administrators' calls go over the channel.
    Api(ApiClient<Channel>, Channel),
}

/// What a member says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub id: u64,
    /// 0 when it knows none.
    pub leader: u64,
    pub term: u64,
    pub revision: u64,
}

/// Microseconds since the first call: of one clock for all runs, so that none repeats what another one wrote. To `kontiki` a
/// write that changes nothing is no change, and nothing to tell watchers.
pub fn stamp_of(at: Instant) -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    at.saturating_duration_since(*BEGAN).as_micros() as u64
}

/// A value of this many bytes that begins with its stamp, so that no two writes are alike and a watcher can tell when
/// the write was sent.
pub fn value(stamp_us: u64, bytes: usize) -> String {
    let mut value = format!("{stamp_us:016}");
    let mut from = stamp_us as usize % NOISE.len();
    while value.len() < bytes {
        let to = NOISE.len().min(from + bytes - value.len());
        value.push_str(&NOISE[from..to]);
        from = 0;
    }
    value
}

/// Letters and digits in no order, so that no system makes little of a value by compressing it.
static NOISE: LazyLock<String> = LazyLock::new(|| {
    let random = Random::from_seed(1);
    (0..NOISE_BYTES).map(|_| char::from(LETTERS[random.below(LETTERS.len() as u64) as usize])).collect()
});

fn stamp(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value.get(..STAMP)?).ok()?.parse().ok()
}

fn target(key: Option<usize>) -> Option<Target> {
    let name = key.map(|key| format!("bench-{key:06}")).unwrap_or_default();
    let (version, resource, namespace) = ("v1".into(), "configmaps".into(), "default".into());
    Some(Target { group: String::new(), version, resource, namespace, name, subresource: String::new() })
}

fn config_map(key: usize, value: &str) -> Bytes {
    let head = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"#;
    format!(r#"{head}"bench-{key:06}"}},"data":{{"value":"{value}"}}}}"#).into()
}

impl Caller {
    /// Makes a key, or leaves it when it is there.
    pub async fn create(&mut self, key: usize, value: String) -> Result<(), Status> {
        let Caller::Api(api, _) = self else { return self.put(key, value).await };
        let request = CreateRequest { target: target(None), json: config_map(key, &value), options: None };
        match api.create(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(()),
            Err(status) => Err(status),
        }
    }

    pub async fn put(&mut self, key: usize, value: String) -> Result<(), Status> {
        match self {
            Caller::Kv(line, _) => {
                let key = format!("{PREFIX}{key:06}").into();
                line.call(PUT, &PutRequest { key, value: value.into() }).await.map(|_: PutResponse| ())
            }
            Caller::Api(api, _) => {
                let json = config_map(key, &value);
                api.update(UpdateRequest { target: target(Some(key)), json, options: None }).await.map(drop)
            }
        }
    }

    /// An absent key is an error: the reads are of keys that were made before.
    pub async fn get(&mut self, key: usize, linearizable: bool) -> Result<(), Status> {
        match self {
            Caller::Kv(line, _) => {
                let key = format!("{PREFIX}{key:06}").into();
                let answer: RangeResponse =
                    line.call(RANGE, &RangeRequest { key, serializable: !linearizable }).await?;
                if answer.kvs.is_empty() { Err(Status::not_found("no such key")) } else { Ok(()) }
            }
            Caller::Api(api, _) => {
                let resource_version = if linearizable { "" } else { "0" }.into();
                api.get(GetRequest { target: target(Some(key)), resource_version, exact: false }).await.map(drop)
            }
        }
    }

    /// The stamps of all writes from now on. Returns once the watch stands.
    pub async fn watch(&mut self) -> Result<BoxStream<'static, Result<u64, Status>>, Status> {
        match self {
            Caller::Kv(_, channel) => {
                let range_end = Bytes::from_static(b"bench0");
                let create = WatchCreateRequest { key: PREFIX.into(), range_end, start_revision: 0 };
                let asked = futures::stream::iter([WatchRequest { request: Some(Ask::CreateRequest(create)) }]);
                // The request's side stays open: etcd ends the watch with it.
                let asked = asked.chain(futures::stream::pending());
                let mut answers = WatchClient::new(channel.clone()).watch(asked).await?.into_inner();
                let first = answers.message().await?;
                if !first.is_some_and(|answer| answer.created && !answer.canceled) {
                    return Err(Status::unavailable("the watch was refused"));
                }
                let stamps = answers.flat_map(|answer| {
                    let stamps: Vec<Result<u64, Status>> = match answer {
                        Err(status) => vec![Err(status)],
                        Ok(answer) => {
                            let values = answer.events.into_iter().filter_map(|event| event.kv);
                            values.filter_map(|kv| stamp(&kv.value)).map(Ok).collect()
                        }
                    };
                    futures::stream::iter(stamps)
                });
                Ok(stamps.boxed())
            }
            Caller::Api(api, _) => {
                // From the newest revision on: the present state first would be a burst of its own.
                let page = ListRequest { target: target(None), limit: 1, ..Default::default() };
                let resource_version = api.list(page).await?.into_inner().resource_version;
                let request = ApiWatchRequest { target: target(None), resource_version, ..Default::default() };
                let events = api.watch(request).await?.into_inner();
                Ok(events.filter_map(|event| async { event.map(|event| stamp_in(&event.json)).transpose() }).boxed())
            }
        }
    }

    pub async fn standing(&mut self) -> Result<Standing, Status> {
        match self {
            Caller::Kv(_, channel) => {
                let answer = MaintenanceClient::new(channel.clone()).status(StatusRequest {}).await?.into_inner();
                let header = answer.header.unwrap_or_default();
                let revision = header.revision as u64;
                Ok(Standing { id: header.member_id, leader: answer.leader, term: answer.raft_term, revision })
            }
            Caller::Api(api, _) => {
                let answer = api.status(proto::api::StatusRequest {}).await?.into_inner();
                let me = answer.replicas.iter().find(|replica| replica.id == answer.answered_by);
                let revision = me.map_or(0, |me| me.applied_index);
                Ok(Standing { id: answer.answered_by, leader: answer.leader, term: answer.term, revision })
            }
        }
    }

    /// To be asked of the leader.
    pub async fn move_leader(&mut self, target_id: u64) -> Result<(), Status> {
        match self {
            Caller::Kv(_, channel) => {
                MaintenanceClient::new(channel.clone()).move_leader(MoveLeaderRequest { target_id }).await.map(drop)
            }
            Caller::Api(_, channel) => {
                let request = ReplicaRequest { id: target_id };
                AdminClient::new(channel.clone()).transfer_leadership(request).await.map(drop)
            }
        }
    }
}

/// The stamp of the ConfigMap's one value, without parsing the object: the driver's own work stays small.
fn stamp_in(json: &[u8]) -> Option<u64> {
    let field = br#""value":""#;
    let at = json.windows(field.len()).position(|window| window == field)?;
    stamp(&json[at + field.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back() {
        let value = value(1_234_567, 256);
        assert_eq!(
            [0, 16, 17, 3 * NOISE_BYTES].map(|bytes| super::value(NOISE_BYTES as u64 - 1, bytes).len()),
            [16, 16, 17, 3 * NOISE_BYTES]
        );
        assert_eq!(value.len(), 256);
        assert_eq!(stamp(value.as_bytes()), Some(1_234_567));
        assert_eq!(stamp_in(&config_map(3, &value)), Some(1_234_567));
        assert_eq!(stamp(b"short"), None);
    }

    #[test]
    fn the_object_is_json() {
        let json: serde_json::Value = serde_json::from_slice(&config_map(7, "x")).unwrap();
        assert_eq!(json["metadata"]["name"], "bench-000007");
    }
}
