//! A watch that outlives replicas: it remembers how far it is and goes on elsewhere. Acts.

use std::marker::PhantomData;
use std::time::Duration;

use proto::api as wire;
use serde_json::Value;
use tokio::time::Instant;

use crate::dispatch::{Repeat, judge};
use crate::typed::ListOptions;
use crate::{Client, Error, Scope};

const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub enum Event<K> {
    Added(K),
    Modified(K),
    /// With the object as it last was.
    Deleted(K),
}

/// Ends with an error only when it cannot go on: `410 Gone` (list again), or a refusal.
pub struct Watch<K> {
    client: Client,
    request: wire::WatchRequest,
    stream: Option<tonic::Streaming<wire::WatchEvent>>,
    replica: usize,
    kind: PhantomData<fn() -> K>,
}

impl<K: Scope> Watch<K> {
    pub(crate) fn new(client: Client, target: wire::Target, options: ListOptions) -> Watch<K> {
        let request = wire::WatchRequest {
            target: Some(target),
            label_selector: options.label_selector,
            field_selector: options.field_selector,
            resource_version: options.resource_version,
            bookmarks: true,
        };
        Watch { client, request, stream: None, replica: 0, kind: PhantomData }
    }

    /// The next event. Waits without a deadline. Cancel safe.
    ///
    /// After a failover during the initial listing (no `resource_version` was given and none is known yet), the
    /// listing starts again, so an object can be `Added` twice.
    pub async fn next(&mut self) -> Result<Event<K>, Error> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.open().await?;
                continue;
            };
            let event = match stream.message().await {
                Ok(Some(event)) => event,
                // The replica ended it (shutting down): go on elsewhere.
                Ok(None) => {
                    self.leave().await;
                    continue;
                }
                Err(failure) => {
                    judge(failure, Repeat::Always)?;
                    self.leave().await;
                    continue;
                }
            };
            if let Some(event) = self.read(event)? {
                return Ok(event);
            }
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        let (index, replica) = self.client.present();
        let mut api = replica.api.clone();
        let limit = Instant::now() + self.client.config().timeout;
        match self.client.attempt(&replica, Repeat::Always, limit, api.watch(self.request.clone())).await {
            Ok(stream) => {
                self.stream = Some(stream);
                self.replica = index;
            }
            Err(failure) => {
                judge(failure, Repeat::Always)?;
                self.client.leave(index).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    async fn leave(&mut self) {
        self.stream = None;
        self.client.leave(self.replica).await;
    }

    fn read(&mut self, event: wire::WatchEvent) -> Result<Option<Event<K>>, Error> {
        let fail = |source| Error::Decode { kind: K::KIND, source };
        if event.r#type == "ERROR" {
            return Err(Error::Api(Box::new(serde_json::from_slice(&event.json).map_err(fail)?)));
        }
        let value: Value = serde_json::from_slice(&event.json).map_err(fail)?;
        if let Some(version) = value.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
            self.request.resource_version = version.to_owned();
        }
        if event.r#type == "BOOKMARK" {
            return Ok(None);
        }
        let object = serde_json::from_value(value).map_err(fail)?;
        Ok(Some(match event.r#type.as_str() {
            "ADDED" => Event::Added(object),
            "DELETED" => Event::Deleted(object),
            _ => Event::Modified(object),
        }))
    }
}
