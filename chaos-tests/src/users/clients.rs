//! Clients over the SDK, each of one replica alone: registers with compare-and-set, and a set that grows, all of them
//! ConfigMaps. Acts; what they see goes where the simulation's clients put it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use client::{Api, DeleteOptions, Error, ListOptions};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proto::seam::Random;
use raft::{Change, Previous, Revision};

use super::gaps::Gaps;
use super::refusal;
use crate::check::acknowledged::Acknowledged;
use crate::check::linear::{Effect, Value};
use crate::check::recency;
use crate::check::set::Reading;
use crate::store::seen::{Ended, Shared, number};

/// Registers change their names this often, so that no history of one becomes long.
const WINDOW_US: u64 = 4_000_000;
const KEYS: u64 = 3;
const PADDING_MAX: u64 = 600;
/// The label that the members of the set carry.
const SET: (&str, &str) = ("chaos", "set");
/// How they are called among the changes.
pub const SET_PREFIX: &str = "c/set-";
const FIELD: &str = "value";
/// How the objects are called among the changes.
pub const PREFIX: &str = "c/";

pub struct Client {
    pub api: Api<ConfigMap>,
    pub shared: Shared,
    pub random: Random,
    pub gaps: Gaps,
    /// Between two operations: at least, and so much more at most.
    pub pause_ms: (u64, u64),
}

impl Client {
    pub async fn run(self) {
        while !self.shared.is_quiet() {
            tokio::time::sleep(Duration::from_millis(self.pause_ms.0 + self.random.below(self.pause_ms.1))).await;
            let key = format!("reg-{}-{}", self.shared.now() / WINDOW_US, self.random.below(KEYS));
            match self.random.below(100) {
                0..25 => self.read(&key).await,
                25..40 => self.create(&key).await,
                40..60 => self.update(&key).await,
                60..80 => self.swap(&key).await,
                80..85 => self.delete(&key).await,
                85..94 => self.add().await,
                _ => self.read_set().await,
            }
        }
    }

    fn object(&self, name: &str, value: u64, revision: Option<String>) -> ConfigMap {
        let padding = ".".repeat(self.random.below(PADDING_MAX) as usize);
        let labels = name.starts_with("set-").then(|| BTreeMap::from([(SET.0.to_owned(), SET.1.to_owned())]));
        let metadata =
            ObjectMeta { name: Some(name.to_owned()), resource_version: revision, labels, ..ObjectMeta::default() };
        let data = Some(BTreeMap::from([(FIELD.to_owned(), format!("{value} {padding}"))]));
        ConfigMap { metadata, data, ..ConfigMap::default() }
    }

    async fn read(&self, key: &str) {
        let pending = self.shared.begin(key, Effect::Read(None));
        pending.end(match self.api.find(key).await {
            Ok(found) => Ended::Done(Effect::Read(found.as_ref().and_then(value)), None),
            Err(_) => Ended::Unknown,
        });
    }

    async fn create(&self, key: &str) {
        let new = self.shared.value();
        let intent = Effect::Swap { expected: None, new: Some(new) };
        let pending = self.shared.begin(key, intent);
        let written = self.api.create(&self.object(key, new, None)).await;
        pending.end(self.ended(key, intent, written));
    }

    /// Whatever stands there, but something must.
    async fn update(&self, key: &str) {
        let new = self.shared.value();
        let intent = Effect::Replace(Some(new));
        let pending = self.shared.begin(key, intent);
        let written = self.api.update(key, &self.object(key, new, None)).await;
        pending.end(self.ended(key, intent, written));
    }

    /// Reads, and writes if what was read still stands.
    async fn swap(&self, key: &str) {
        let Ok(Some(found)) = self.api.find(key).await else { return };
        let (expected, revision) = (value(&found), found.metadata.resource_version);
        let new = self.shared.value();
        let intent = Effect::Swap { expected, new: Some(new) };
        let pending = self.shared.begin(key, intent);
        let written = self.api.update(key, &self.object(key, new, revision)).await;
        pending.end(self.ended(key, intent, written));
    }

    /// Whatever stands there, or what was read, if that still stands.
    async fn delete(&self, key: &str) {
        let (intent, after) = match self.random.below(2) {
            0 => (Effect::Replace(None), None),
            _ => {
                let Ok(Some(found)) = self.api.find(key).await else { return };
                let Some(at) = revision(&found) else { return };
                (Effect::Swap { expected: value(&found), new: None }, Some(at))
            }
        };
        let resource_version = after.map(|at| at.to_string()).unwrap_or_default();
        let pending = self.shared.begin(key, intent);
        let deleted = self.api.delete(key, &DeleteOptions { resource_version, ..DeleteOptions::default() }).await;
        pending.end(match deleted {
            Ok(object) => {
                self.gaps.written();
                let (name, at) = (change_key(key), revision(&object));
                let told = at.map(|at| Acknowledged::Deleted { key: name, after, at });
                self.shared.lock().acknowledged.extend(told);
                Ended::Done(intent, at)
            }
            Err(error) => refusal::ended(&error, key, intent),
        });
    }

    fn ended(&self, key: &str, intent: Effect, written: Result<ConfigMap, Error>) -> Ended {
        match written {
            Ok(object) => {
                self.gaps.written();
                Ended::Done(intent, revision(&object))
            }
            Err(error) => refusal::ended(&error, key, intent),
        }
    }

    async fn add(&self) {
        let (member, invoked) = (self.shared.value(), self.shared.now());
        let number = self.shared.lock().adding(member, invoked);
        let name = format!("set-{member}");
        let added = self.api.create(&self.object(&name, member, None)).await;
        let now = self.shared.now();
        let mut seen = self.shared.lock();
        seen.operations += 1;
        match added {
            Ok(object) => {
                self.gaps.written();
                seen.added(number, now, revision(&object));
            }
            Err(error) if error.is_conflict() => {
                seen.violations.push(format!("adding {member} the first time: {error}"));
            }
            Err(error) => match refusal::ended(&error, &name, Effect::Write(Some(member))) {
                Ended::Refused => seen.adds[number].refused = true,
                _ => seen.unknown += 1,
            },
        }
    }

    async fn read_set(&self) {
        let invoked = self.shared.now();
        let options = ListOptions { label_selector: set(), ..ListOptions::default() };
        let Ok(list) = self.api.list(&options).await else { return };
        let returned = self.shared.now();
        let members = list.items.iter().filter_map(value).collect();
        let mut seen = self.shared.lock();
        seen.operations += 1;
        seen.readings.push(Reading { invoked, returned, members });
        if let Ok(revision) = list.resource_version.parse() {
            seen.recent.push(recency::Seen { invoked, returned, revision, made: false });
        }
    }
}

/// Selects the members of the set.
pub fn set() -> String {
    format!("{}={}", SET.0, SET.1)
}

/// Of an object, among the changes.
pub fn change_key(name: &str) -> Bytes {
    Bytes::from(format!("{PREFIX}{name}"))
}

/// What the history holds against what clients were told of it: the value that they know an object by.
pub fn change(name: &str, revision: Revision, value: Value) -> Change {
    Change {
        revision,
        key: change_key(name),
        value: value.map(|value| Bytes::from(value.to_string())),
        previous: Previous::Forgotten,
        author: String::new(),
        proposed_at_ms: 0,
    }
}

pub fn value(object: &ConfigMap) -> Value {
    number(object.data.as_ref()?.get(FIELD)?.as_bytes())
}

pub fn revision(object: &ConfigMap) -> Option<Revision> {
    object.metadata.resource_version.as_ref()?.parse().ok()
}
