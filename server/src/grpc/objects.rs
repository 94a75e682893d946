//! The generic verbs over gRPC. Acts.

use api::status::Status;
use proto::api as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Door, STREAM_QUEUE, Stream, convert};
use crate::auth::Identity;
use crate::objects::answer::{Changed, Deleted, Event, INITIAL_END, Object};
use crate::objects::request::{
    Body, Create, Delete, DeleteOptions, Get, History, List, Patch, PatchType, Selection, Update, Watch, WatchStart,
};

pub async fn get(door: &Door, user: Identity, request: wire::GetRequest) -> Result<wire::Object, Status> {
    let target = convert::named(request.target)?;
    let freshness = convert::freshness(&request.resource_version, request.exact)?;
    Ok(wired(door.objects.get(Get { target, freshness, user }).await?))
}

pub async fn list(door: &Door, user: Identity, request: wire::ListRequest) -> Result<wire::ListReply, Status> {
    let target = convert::target(request.target)?;
    let selection = Selection::parse(target.kind, &request.label_selector, &request.field_selector)?;
    let freshness = convert::freshness(&request.resource_version, request.exact)?;
    let (limit, continue_token) = (request.limit as usize, request.continue_token);
    let page = door.objects.list(List { target, selection, limit, continue_token, freshness, user }).await?;
    Ok(wire::ListReply {
        items: page.items.into_iter().map(wired).collect(),
        resource_version: page.revision.to_string(),
        continue_token: page.continue_token,
    })
}

pub async fn create(door: &Door, user: Identity, request: wire::CreateRequest) -> Result<wire::Object, Status> {
    let target = convert::target(request.target)?;
    let (body, options) = (Body::json(request.json), convert::write_options(request.options)?);
    Ok(wired(door.objects.create(Create { target, body, options, user }).await?.object))
}

pub async fn update(door: &Door, user: Identity, request: wire::UpdateRequest) -> Result<wire::Object, Status> {
    let target = convert::named(request.target)?;
    let (body, options) = (Body::json(request.json), convert::write_options(request.options)?);
    Ok(wired(door.objects.update(Update { target, body, options, user }).await?.object))
}

pub async fn patch(door: &Door, user: Identity, request: wire::PatchRequest) -> Result<wire::Object, Status> {
    let patch_type = match request.r#type() {
        wire::PatchType::StrategicMerge => PatchType::StrategicMerge,
        wire::PatchType::Merge => PatchType::Merge,
        wire::PatchType::JsonPatch => PatchType::Json,
    };
    let target = convert::named(request.target)?;
    let (body, options) = (Body::json(request.patch), convert::write_options(request.options)?);
    Ok(wired(door.objects.patch(Patch { target, patch_type, body, options, user }).await?.object))
}

pub async fn delete(door: &Door, user: Identity, request: wire::DeleteRequest) -> Result<wire::Object, Status> {
    let target = convert::named(request.target)?;
    let resource_version = match request.resource_version.as_str() {
        "" => None,
        text => Some(convert::revision(text)?),
    };
    let options = DeleteOptions {
        grace_seconds: request.grace_period_seconds,
        propagation: convert::propagation(&request.propagation_policy)?,
        uid: Some(request.uid).filter(|uid| !uid.is_empty()),
        revision: resource_version,
        dry_run: request.dry_run,
    };
    match door.objects.delete(Delete { target, options, user }).await? {
        Deleted::Marked(object) | Deleted::Removed(object) => Ok(wired(object)),
    }
}

pub async fn history(door: &Door, user: Identity, request: wire::HistoryRequest) -> Result<wire::HistoryReply, Status> {
    let target = convert::named(request.target)?;
    let kind = target.kind;
    let found = door.objects.history(History { target, limit: request.limit as usize, user }).await?;
    let change = |change: Changed| {
        let wire::WatchEvent { r#type, json } = event_on_wire(kind, change.event);
        let (resource_version, at_ms) = (change.revision.to_string(), change.at_ms as i64);
        wire::Change { resource_version, r#type, author: change.author, at_ms, json }
    };
    Ok(wire::HistoryReply {
        changes: found.changes.into_iter().map(change).collect(),
        oldest: found.oldest.to_string(),
    })
}

pub async fn watch(
    door: &Door,
    user: Identity,
    request: wire::WatchRequest,
) -> Result<Stream<wire::WatchEvent>, Status> {
    let watch = watched(request, user)?;
    let kind = watch.target.kind;
    let mut events = door.objects.watch(watch).await?;
    let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                // The client went away while nothing happened.
                () = sender.closed() => return,
            };
            let Some(event) = event else { return };
            if sender.send(Ok(event_on_wire(kind, event))).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

fn watched(request: wire::WatchRequest, user: Identity) -> Result<Watch, Status> {
    let target = convert::target(request.target)?;
    let selection = Selection::parse(target.kind, &request.label_selector, &request.field_selector)?;
    let start = match request.resource_version.as_str() {
        "" | "0" => WatchStart::Present(convert::freshness(&request.resource_version, false)?),
        text => WatchStart::After(convert::revision(text)?),
    };
    let (bookmarks, initial_end) = (request.bookmarks, request.initial_end);
    Ok(Watch { target, selection, start, bookmarks, initial_end, timeout: None, user })
}

fn event_on_wire(kind: &api::kinds::Kind, event: Event) -> wire::WatchEvent {
    let (name, json) = match event {
        Event::Added(object) => ("ADDED", object.json()),
        Event::Modified(object) => ("MODIFIED", object.json()),
        Event::Deleted(object) => ("DELETED", object.json()),
        Event::Bookmark { revision, initial_end } => ("BOOKMARK", bookmark(kind, revision, initial_end).into()),
        Event::Error(status) => ("ERROR", status.to_json().into()),
    };
    wire::WatchEvent { r#type: name.into(), json }
}

fn bookmark(kind: &api::kinds::Kind, revision: u64, initial_end: bool) -> Vec<u8> {
    let mut metadata = serde_json::json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = serde_json::json!({INITIAL_END: "true"});
    }
    let object = serde_json::json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata});
    object.to_string().into_bytes()
}

fn wired(object: Object) -> wire::Object {
    wire::Object { json: object.json() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Freshness;

    #[test]
    fn the_end_of_what_is_there_at_first_is_marked_for_who_asks() {
        let target = wire::Target { version: "v1".into(), resource: "pods".into(), ..Default::default() };
        for initial_end in [false, true] {
            let request = wire::WatchRequest { target: Some(target.clone()), initial_end, ..Default::default() };
            let watch = watched(request, Identity::system("test")).unwrap();
            assert_eq!((watch.start, watch.initial_end), (WatchStart::Present(Freshness::Newest), initial_end));
            let event = event_on_wire(watch.target.kind, Event::Bookmark { revision: 7, initial_end });
            let object: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
            let metadata = &object["metadata"];
            assert_eq!((event.r#type.as_str(), &metadata["resourceVersion"]), ("BOOKMARK", &"7".into()));
            assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"] == "true", initial_end, "{object}");
        }
    }
}
