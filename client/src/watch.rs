//! A watch that outlives replicas: it remembers how far it is and goes on elsewhere. Acts.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Duration;

use proto::api as wire;
use serde::de::Error as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::dispatch::{Repeat, judge};
use crate::listing::Listing;
use crate::typed::ListOptions;
use crate::{Client, Error, Scope};

const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub enum Event<K> {
    Added(K),
    Modified(K),
    /// With the object as it last was, as far as that is known, and a `resourceVersion` by which it was deleted.
    Deleted(K),
}

/// Tells each of the present objects (without a `resource_version`) and each change after them once and in order, whatever
/// becomes of the replicas. Ends with an error only when it cannot go on: `410 Gone` (list again), or a refusal.
///
/// Until all of the present objects are told it keeps them in memory, for a failover before that begins with them anew, as
/// they stand by then. Those that are as they were are not told again; one that was changed meanwhile is told as `Modified`,
/// and one that was deleted as `Deleted`, once all others are told.
pub struct Watch<K> {
    client: Client,
    request: wire::WatchRequest,
    stage: Stage,
    stream: Option<tonic::Streaming<wire::WatchEvent>>,
    replica: usize,
    /// Read, and not told yet.
    queue: VecDeque<Event<Value>>,
    kind: PhantomData<fn() -> K>,
}

enum Stage {
    /// The present objects are being told. They come in the order of their names, so no version says how far that is.
    Listing(Listing),
    /// Everything up to the request's `resource_version` was read.
    Following,
}

impl<K: Scope> Watch<K> {
    pub(crate) fn new(client: Client, target: wire::Target, options: ListOptions) -> Watch<K> {
        let stage = match options.resource_version.as_str() {
            "" | "0" => Stage::Listing(Listing::default()),
            _ => Stage::Following,
        };
        let request = wire::WatchRequest {
            target: Some(target),
            label_selector: options.label_selector,
            field_selector: options.field_selector,
            resource_version: options.resource_version,
            bookmarks: true,
            initial_end: true,
        };
        Watch { client, request, stage, stream: None, replica: 0, queue: VecDeque::new(), kind: PhantomData }
    }

    /// The next event. Waits without a deadline. Cancel safe.
    pub async fn next(&mut self) -> Result<Event<K>, Error> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return event.typed();
            }
            let Some(stream) = &mut self.stream else {
                self.open().await?;
                continue;
            };
            match stream.message().await {
                Ok(Some(event)) => self.read(event)?,
                // The replica ended it (shutting down): go on elsewhere.
                Ok(None) => self.leave().await,
                Err(failure) => {
                    judge(failure, Repeat::Read)?;
                    self.leave().await;
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        let (index, replica) = self.client.present();
        let mut api = replica.api.clone();
        let limit = Instant::now() + self.client.config().timeout;
        match self.client.attempt(&replica, Repeat::Read, limit, api.watch(self.request())).await {
            Ok(stream) => {
                if let Stage::Listing(listing) = &mut self.stage {
                    listing.begin();
                }
                self.stream = Some(stream);
                self.replica = index;
            }
            Err(failure) => {
                judge(failure, Repeat::Read)?;
                self.client.leave(index).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    fn request(&self) -> wire::WatchRequest {
        let mut request = self.request.clone();
        // Whatever a replica has ("0") may be older than what was told already; the newest is not.
        if matches!(&self.stage, Stage::Listing(listing) if listing.has_told()) {
            request.resource_version.clear();
        }
        request
    }

    async fn leave(&mut self) {
        self.stream = None;
        self.client.leave(self.replica).await;
    }

    /// Queues what the reader is told of an event.
    fn read(&mut self, event: wire::WatchEvent) -> Result<(), Error> {
        let fail = |source| Error::Decode { kind: K::KIND, source };
        if event.r#type == "ERROR" {
            return Err(Error::Api(Box::new(serde_json::from_slice(&event.json).map_err(fail)?)));
        }
        let value: Value = serde_json::from_slice(&event.json).map_err(fail)?;
        let version = value.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
        let version = version.ok_or_else(|| fail(serde_json::Error::custom("an event without a resourceVersion")))?;
        match &mut self.stage {
            Stage::Listing(listing) if event.r#type == "ADDED" => {
                self.queue.extend(listing.found(event.json, value));
                return Ok(());
            }
            // The bookmark that ends it; from a replica that knows of none, whatever comes only after it.
            Stage::Listing(listing) => {
                self.queue.extend(std::mem::take(listing).end(&version));
                self.stage = Stage::Following;
            }
            Stage::Following => {}
        }
        self.request.resource_version = version;
        match event.r#type.as_str() {
            "BOOKMARK" => {}
            "ADDED" => self.queue.push_back(Event::Added(value)),
            "DELETED" => self.queue.push_back(Event::Deleted(value)),
            _ => self.queue.push_back(Event::Modified(value)),
        }
        Ok(())
    }
}

impl Event<Value> {
    fn typed<K: Scope>(self) -> Result<Event<K>, Error> {
        let typed = |value| -> Result<K, Error> {
            serde_json::from_value(value).map_err(|source| Error::Decode { kind: K::KIND, source })
        };
        Ok(match self {
            Event::Added(value) => Event::Added(typed(value)?),
            Event::Modified(value) => Event::Modified(typed(value)?),
            Event::Deleted(value) => Event::Deleted(typed(value)?),
        })
    }
}
