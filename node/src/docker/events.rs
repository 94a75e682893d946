//! The engine's events of our containers. Acts (reads only).

use std::collections::HashMap;
use std::sync::Arc;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::stream::{BoxStream, StreamExt as _};

use super::failure;
use super::inspect::owner_filter;
use super::ooms::Ooms;
use crate::runtime::{Change, ContainerId, Error, Event, Owner, label};

/// Only these: executions of probes make events of their own, many a second.
const ACTIONS: [&str; 4] = ["start", "die", "oom", "destroy"];

pub fn follow(
    engine: &bollard::Docker,
    ooms: Arc<Ooms>,
    owner: &Owner,
    since_ns: Option<i64>,
) -> BoxStream<'static, Result<Event, Error>> {
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("event".to_owned(), ACTIONS.map(str::to_owned).to_vec()),
        ("label".to_owned(), owner_filter(owner)),
    ]);
    let mut options = EventsOptionsBuilder::default().filters(&filters);
    let since = since_ns.map(|ns| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000));
    if let Some(since) = &since {
        options = options.since(since);
    }
    let events = engine.events(Some(options.build()));
    let read = move |result: Result<EventMessage, _>| match result {
        Ok(message) => {
            let event = read(message)?;
            if event.change == Change::OutOfMemory {
                ooms.add(event.id.clone());
            }
            Some(Ok(event))
        }
        Err(error) => Some(Err(failure(error))),
    };
    events.filter_map(move |result| std::future::ready(read(result))).boxed()
}

fn read(message: EventMessage) -> Option<Event> {
    let change = match message.action.as_deref()? {
        "start" => Change::Started,
        "die" => Change::Died,
        "oom" => Change::OutOfMemory,
        "destroy" => Change::Removed,
        _ => return None,
    };
    let actor = message.actor?;
    let pod_uid = actor.attributes.and_then(|mut labels| labels.remove(label::POD_UID)).unwrap_or_default();
    Some(Event { id: ContainerId(actor.id?), pod_uid, change, at_ns: message.time_nano.unwrap_or(0) })
}
