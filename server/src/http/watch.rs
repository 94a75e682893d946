//! Watches over HTTP: one JSON object per line, for as long as the client listens. Acts (reads only).

use std::convert::Infallible;
use std::time::Duration;

use api::status::Status;
use axum::body::Body;
use bytes::Bytes;
use http::{Response, StatusCode};
use proto::seam::Env;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::accept::Shape;
use super::list::Immediate;
use super::resources::Asked;
use super::shapes::View;
use super::{Doors, respond, shapes};
use crate::metrics::Held;
use crate::objects::answer::INITIAL_END;
use crate::objects::{Event, Events, Object, Target, Watch};

/// Events that are there already go out together, up to about this much.
const PIECE_BYTES: usize = 32 << 10;
/// Watches whose clients name no end are ended after 30 to 60 minutes, so that clients spread over the replicas.
const UNASKED_TIMEOUT_SECONDS: u64 = 1800;

pub async fn answer(doors: &Doors, asked: Asked) -> Result<Response<Body>, Status> {
    let Asked { user, target, query, view, .. } = asked;
    let (start, initial_end) = query.watch_start()?;
    let unasked = UNASKED_TIMEOUT_SECONDS + doors.env.random.below(UNASKED_TIMEOUT_SECONDS);
    let watch = Watch {
        target: target.clone(),
        selection: query.selection(&target)?,
        start,
        bookmarks: query.flag("allowWatchBookmarks")?,
        initial_end,
        timeout: Some(query.timeout()?.unwrap_or(Duration::from_secs(unasked))),
        user,
    };
    let events = doors.objects.watch(watch).await?;
    let shutdown = doors.shutdown.clone();
    let lines = Lines { events, target, view, env: doors.env.clone(), shutdown, _held: doors.metrics.watch() };
    let pieces = futures::stream::unfold(lines, async |mut lines| {
        let piece = lines.next_piece().await?;
        Some((Ok::<Bytes, Infallible>(piece), lines))
    });
    let mut response = respond::json(StatusCode::OK, Body::from_stream(pieces));
    response.extensions_mut().insert(Immediate);
    Ok(response)
}

struct Lines {
    events: Events,
    target: Target,
    view: View,
    env: Env,
    shutdown: CancellationToken,
    _held: Held,
}

impl Lines {
    /// Waits for one event and takes those along that are there already. `None` ends the response.
    async fn next_piece(&mut self) -> Option<Bytes> {
        let mut event = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return None,
            event = self.events.next() => event?,
        };
        self.view.now = crate::objects::now(&self.env);
        let mut piece = Vec::new();
        loop {
            self.write(&mut piece, &event);
            if piece.len() >= PIECE_BYTES {
                return Some(piece.into());
            }
            match self.events.take() {
                Some(next) => event = next,
                None => return Some(piece.into()),
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>, event: &Event) {
        let (kind, object) = match event {
            Event::Added(object) => ("ADDED", self.encode(object)),
            Event::Modified(object) => ("MODIFIED", self.encode(object)),
            Event::Deleted(object) => ("DELETED", self.encode(object)),
            Event::Bookmark { revision, initial_end } => ("BOOKMARK", Ok(self.bookmark(*revision, *initial_end))),
            Event::Error(status) => ("ERROR", Ok(status.to_json())),
        };
        let (kind, object) = match object {
            Ok(object) => (kind, object),
            Err(status) => ("ERROR", status.to_json()),
        };
        out.extend_from_slice(br#"{"type":""#);
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(br#"","object":"#);
        out.extend_from_slice(&object);
        out.extend_from_slice(b"}\n");
    }

    fn encode(&self, object: &Object) -> Result<Vec<u8>, Status> {
        shapes::encode(&self.target, self.view, object)
    }

    /// An object of the kind with nothing but a revision.
    fn bookmark(&self, revision: u64, initial_end: bool) -> Vec<u8> {
        let kind = self.target.kind;
        let annotations = if initial_end { json!({INITIAL_END: "true"}) } else { json!({}) };
        let stored = match self.view.shape {
            Shape::Metadata => {
                json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"annotations": annotations}})
            }
            _ => json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"annotations": annotations}}),
        };
        let stored = serde_json::to_vec(&stored).expect("JSON values serialize");
        let object = Object::new(stored, revision);
        match self.view.shape {
            Shape::Table => self.encode(&object).unwrap_or_else(|status| status.to_json()),
            _ => object.json().into(),
        }
    }
}
