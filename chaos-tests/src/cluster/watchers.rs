//! Who watches over the SDK: the user, who lists, watches from there, and lists anew when that is gone; and late ones, each at one
//! replica's doors, who take their time between the two. Where the history is short it is gone for them, now and then. Acts.

use std::time::Duration;

use client::{Api, Client, Error, Event, ListOptions, Scope, Watch};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use proto::seam::{Env, Random};
use raft::Revision;
use tokio::time::{Instant, timeout_at};

use super::seen::{Seen, Shared};
use super::setting;
use super::user::{NAMESPACE, PODS};
use crate::check::changes::Told;
use crate::check::versions::Versions;
use crate::sim::links::HostId;

const RETRY: Duration = Duration::from_millis(300);
/// Between a list and what goes on from it.
const LATE_MS: u64 = 10_000;
/// For so long a late one looks on.
const LOOKS_ON: Duration = Duration::from_secs(2);
const PAGE: u32 = 2;
/// Nothing was written yet. A watch from there begins with a list, in the order of the names.
const NOTHING: Revision = 0;
const CALL_MAX: Duration = Duration::from_secs(4);

/// Lists, watches from there, and lists anew when that is gone.
pub async fn watch<K>(client: Client, shared: Shared, prefix: &'static str)
where
    K: Scope + Metadata<Ty = ObjectMeta> + Resource<Scope = NamespaceResourceScope>,
{
    let api = client.namespaced::<K>(NAMESPACE);
    let mut versions = Versions::default();
    loop {
        if let Some(at) = list(&api, &shared, &mut versions, prefix).await {
            let number = shared.lock().watches.len();
            shared.lock().watches.push(begun(number, prefix, at));
            let tell = |seen: &mut Seen, revision| take(&mut seen.watches[number], revision);
            let error = follow(&mut from(&api, at), &shared, &mut versions, prefix, tell).await;
            shared.note(format_args!("the watch of {prefix} ended: {error}"));
            meet(&shared, &error);
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Somebody who is late, at the doors of one replica.
pub struct Late {
    client: Client,
    shared: Shared,
    random: Random,
    replica: HostId,
}

impl Late {
    pub fn new(env: Env, shared: Shared, random: Random, replica: HostId) -> Late {
        let config = client::Config { timeout: CALL_MAX, ..setting::user_of(env, replica) };
        let client = Client::connect(config).expect("the configuration is good");
        Late { client, shared, random, replica }
    }

    pub async fn run(self) {
        let api = self.client.namespaced::<Pod>(NAMESPACE);
        let mut versions = Versions::default();
        while !self.shared.is_quiet() {
            if let Err(error) = self.look(&api, &mut versions).await {
                self.shared.note(format_args!("late at the doors of host {}: {error}", self.replica));
                meet(&self.shared, &error);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn look(&self, api: &Api<Pod>, versions: &mut Versions) -> Result<(), Error> {
        let page = api.list(&ListOptions { limit: PAGE, ..ListOptions::default() }).await?;
        let at = page.resource_version.parse().unwrap_or(0);
        if at == NOTHING {
            return Ok(());
        }
        self.shared.judge(versions.listed(at).map_err(|why| format!("late at host {}: {why}", self.replica)));
        tokio::time::sleep(Duration::from_millis(self.random.below(LATE_MS))).await;
        if !page.continue_token.is_empty() && self.random.below(2) == 0 {
            let (continue_token, limit) = (page.continue_token, PAGE);
            let next = api.list(&ListOptions { limit, continue_token, ..ListOptions::default() }).await?;
            self.shared.lock().operations += 1;
            if next.resource_version != page.resource_version {
                let (first, second) = (page.resource_version, next.resource_version);
                self.shared.violated(format!("a list of revision {first} goes on with revision {second}"));
            }
            return Ok(());
        }
        let (until, mut told) = (Instant::now() + LOOKS_ON, begun(0, PODS, at));
        let mut watch = from(api, at);
        let tell = |_: &mut Seen, revision| take(&mut told, revision);
        let ended = timeout_at(until, follow(&mut watch, &self.shared, versions, PODS, tell)).await;
        self.shared.lock().late_watches.push(told);
        ended.map_or(Ok(()), Err)
    }
}

/// The revision of a list. `None`: there was none, or nothing to go on from.
async fn list<K>(api: &Api<K>, shared: &Shared, versions: &mut Versions, prefix: &str) -> Option<Revision>
where
    K: Scope,
{
    let listed = api.list(&ListOptions::default()).await;
    let listed = listed.inspect_err(|error| shared.note(format_args!("no list of {prefix}: {error}"))).ok()?;
    let at = listed.resource_version.parse().unwrap_or(0);
    if at == NOTHING {
        return None;
    }
    shared.judge(versions.listed(at).map_err(|why| format!("{prefix}: {why}")));
    Some(at)
}

fn from<K: Scope>(api: &Api<K>, at: Revision) -> Watch<K> {
    api.watch(ListOptions { resource_version: at.to_string(), ..ListOptions::default() })
}

fn begun(id: usize, prefix: &str, at: Revision) -> Told {
    Told { id, prefix: prefix.into(), after: at, upto: at, revisions: Vec::new() }
}

fn take(told: &mut Told, revision: Revision) {
    told.upto = revision;
    told.revisions.push(revision);
}

/// Until the watch ends with an error. Cancel safe.
async fn follow<K>(
    watch: &mut Watch<K>,
    shared: &Shared,
    versions: &mut Versions,
    prefix: &str,
    mut tell: impl FnMut(&mut Seen, Revision),
) -> Error
where
    K: Scope + Metadata<Ty = ObjectMeta>,
{
    loop {
        let object = match watch.next().await {
            Ok(Event::Added(object) | Event::Modified(object) | Event::Deleted(object)) => object,
            Err(error) => return error,
        };
        let revision = object.metadata().resource_version.as_deref().and_then(|text| text.parse().ok());
        let revision: Revision = revision.unwrap_or(0);
        shared.judge(versions.told(revision).map_err(|why| format!("{prefix}: {why}")));
        let mut seen = shared.lock();
        seen.operations += 1;
        tell(&mut seen, revision);
    }
}

/// Counts what was gone.
fn meet(shared: &Shared, error: &Error) {
    shared.lock().gone += u64::from(error.code() == Some(410));
}
