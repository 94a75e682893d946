//! Watchers that go from replica to replica and resume where they were, on the wire itself, so that bookmarks are seen
//! too. One of them stays where it is for long, and selects so little that bookmarks are due. Acts.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use proto::api::api_client::ApiClient;
use proto::api::{ListRequest, Target, WatchEvent, WatchRequest};
use proto::seam::Random;
use raft::Revision;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::check::changes::Told;
use crate::store::seen::Shared;
use crate::users::clients::{self, PREFIX, SET_PREFIX, revision, value};

/// A replica serves a watcher for so long, and for up to so much more.
const SERVE_MS: (u64, u64) = (200, 4_000);
/// A door sends a bookmark when it has served a watch for 30 seconds.
const SERVE_LONG_MS: (u64, u64) = (35_000, 10_000);
const PAUSE: Duration = Duration::from_millis(50);
const OPEN_MAX: Duration = Duration::from_secs(3);
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What a watcher asks for.
#[derive(Clone, Copy)]
pub enum Sight {
    All,
    /// What is added to the set. Most of what changes is something else, so that there is something to tell in a bookmark.
    Set,
}

impl Sight {
    fn selector(self) -> String {
        match self {
            Sight::All => String::new(),
            Sight::Set => clients::set(),
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Sight::All => PREFIX,
            Sight::Set => SET_PREFIX,
        }
    }

    fn serve_ms(self) -> (u64, u64) {
        match self {
            Sight::All => SERVE_MS,
            Sight::Set => SERVE_LONG_MS,
        }
    }
}

pub struct Watcher {
    pub id: usize,
    pub sight: Sight,
    pub replicas: Vec<ApiClient<Channel>>,
    pub namespace: String,
    pub shared: Shared,
    pub random: Random,
}

/// Who has said how often in a row that what comes next is gone.
struct Refusals(Vec<u32>);

impl Refusals {
    /// So often it must be said: a replica that begins anew may have been asked in the middle of that.
    const ENOUGH: u32 = 4;

    /// Has every replica said so now? One that is down has not, nor has one been asked about what the watcher has by now.
    fn hear(&mut self, replica: usize, gone: bool, went_on: bool) -> bool {
        if went_on {
            self.0.fill(0);
        }
        self.0[replica] = if gone { self.0[replica] + 1 } else { 0 };
        self.0.iter().all(|times| *times >= Refusals::ENOUGH)
    }
}

/// Why a replica does not serve the watch (any more).
enum Ended {
    Gone,
    Otherwise,
}

impl Watcher {
    /// From an empty namespace on, until it was told up to `last` (once that is known).
    pub async fn run(mut self, first: Revision, mut last: watch::Receiver<Option<Revision>>) {
        let prefix = self.sight.prefix().into();
        let mut told = Told { id: self.id, prefix, after: first, upto: first, revisions: Vec::new() };
        let mut refusals = Refusals(vec![0; self.replicas.len()]);
        let (least, more) = self.sight.serve_ms();
        while !knows(&told, &last) {
            let replica = self.random.below(self.replicas.len() as u64) as usize;
            let limit = Duration::from_millis(least + self.random.below(more));
            let before = told.upto;
            let serving = self.serve(replica, &mut told, &mut last);
            let gone = matches!(tokio::time::timeout(limit, serving).await, Ok(Ended::Gone));
            // A replica that was filled anew has no changes from before; as long as another has them, nothing is lost.
            if refusals.hear(replica, gone, told.upto > before) {
                self.shared.violated(format!("revision {} is gone on every replica", told.upto));
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.shared.lock().told.push(told);
    }

    async fn serve(&mut self, replica: usize, told: &mut Told, last: &mut watch::Receiver<Option<Revision>>) -> Ended {
        let request = WatchRequest {
            target: Some(target(&self.namespace)),
            label_selector: self.sight.selector(),
            resource_version: told.upto.to_string(),
            bookmarks: true,
            ..WatchRequest::default()
        };
        let opening = self.replicas[replica].watch(request);
        let mut stream = match tokio::time::timeout(OPEN_MAX, opening).await {
            Ok(Ok(stream)) => stream.into_inner(),
            Ok(Err(status)) => return ended(client_status_code(&status)),
            Err(_) => return Ended::Otherwise,
        };
        while !knows(told, last) {
            let message = tokio::select! {
                message = stream.message() => message,
                // It may have been told of it already.
                Ok(()) = last.changed() => continue,
            };
            match message {
                Ok(Some(event)) => {
                    if let Err(end) = self.take(told, &event) {
                        return end;
                    }
                }
                Ok(None) => return Ended::Otherwise,
                Err(status) => return ended(client_status_code(&status)),
            }
        }
        Ended::Otherwise
    }

    fn take(&self, told: &mut Told, event: &WatchEvent) -> Result<(), Ended> {
        if event.r#type == "ERROR" {
            let status: serde_json::Value = serde_json::from_slice(&event.json).unwrap_or_default();
            return Err(ended(status["code"].as_i64()));
        }
        let Ok(object) = serde_json::from_slice::<ConfigMap>(&event.json) else {
            self.shared.violated(format!("a watcher cannot read {event:?}"));
            return Err(Ended::Otherwise);
        };
        let Some(at) = revision(&object) else {
            self.shared.violated(format!("an event without a revision: {event:?}"));
            return Err(Ended::Otherwise);
        };
        if event.r#type == "BOOKMARK" {
            if at < told.upto {
                self.shared.violated(format!("a bookmark at {at} came to a watcher that was told up to {}", told.upto));
            }
            told.upto = told.upto.max(at);
            self.shared.lock().bookmarks += 1;
            return Ok(());
        }
        let name = object.metadata.name.clone().unwrap_or_default();
        let value = value(&object).filter(|_| event.r#type != "DELETED");
        let change = clients::change(&name, at, value);
        // What stood there before, and whether that was selected, the history may have forgotten: it is told as gone then.
        if event.r#type == "DELETED" && !change.key.starts_with(told.prefix.as_bytes()) && at > told.upto {
            told.upto = at;
            return Ok(());
        }
        let taken = self.shared.lock().agreed.take(told, &[change]);
        taken.map_err(|why| {
            self.shared.violated(why);
            Ended::Otherwise
        })
    }
}

/// Does it know of the last change, once that is known?
fn knows(told: &Told, last: &watch::Receiver<Option<Revision>>) -> bool {
    last.borrow().is_some_and(|last| told.upto >= last)
}

fn ended(code: Option<i64>) -> Ended {
    if code == Some(410) { Ended::Gone } else { Ended::Otherwise }
}

fn client_status_code(status: &tonic::Status) -> Option<i64> {
    let value = status.metadata().get_bin(proto::STATUS_METADATA)?;
    let status: serde_json::Value = serde_json::from_slice(&value.to_bytes().ok()?).ok()?;
    status["code"].as_i64()
}

pub fn target(namespace: &str) -> Target {
    let (version, resource, namespace) = ("v1".into(), "configmaps".into(), namespace.into());
    Target { version, resource, namespace, ..Target::default() }
}

/// One connection to one replica.
pub fn connect(config: &client::Config, address: String) -> Result<ApiClient<Channel>, proto::tls::Error> {
    let tls = proto::tls::connector(&config.identity, &["h2"])?;
    let channel = proto::channel::to(config.env.net.clone(), tls, address, proto::pki::API_NAME, Default::default());
    Ok(ApiClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// Where a watch of the namespace can begin.
pub async fn present(replica: &mut ApiClient<Channel>, namespace: &str) -> Result<Revision, String> {
    let request = ListRequest { target: Some(target(namespace)), ..ListRequest::default() };
    let reply = replica.list(request).await.map_err(|status| status.message().to_owned())?.into_inner();
    reply.resource_version.parse().map_err(|_| format!("{:?} is no revision", reply.resource_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_is_what_all_replicas_say_is_gone() {
        let mut refusals = Refusals(vec![0; 3]);
        let mut hear = |replica, gone, went_on| refusals.hear(replica, gone, went_on);
        // The third is down, and asked seldom.
        assert!(!(0..40).any(|turn| hear(turn % 2, true, false)));
        assert!(!hear(2, false, false));
        assert!(!(0..3).any(|_| hear(2, true, false)));
        assert!(hear(2, true, false), "all have said so");
        assert!(!hear(2, false, true), "it went on there");
        assert!(!(0..11).any(|turn| hear(turn % 3, true, false)));
        assert!(hear(2, true, false));
    }
}
