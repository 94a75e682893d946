//! The engine's events of our containers. Acts (reads only).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::stream::{BoxStream, StreamExt as _};

use super::failure;
use super::inspect::owner_filter;
use crate::runtime::{Change, ContainerId, Error, Event, Owner, label};

/// Only these: executions of probes make events of their own, many a second.
const ACTIONS: [&str; 4] = ["start", "die", "oom", "destroy"];
/// Containers remembered as out of memory: they are asked for when they end, a moment before or after.
const OOMS_MAX: usize = 256;

/// Containers of which the engine said that the kernel killed for memory in them. In its record of an end, the engine
/// forgets that when the end comes first: 5 of 60 times with containers that fill 8 MiB at once.
#[derive(Default)]
pub struct Ooms(Mutex<VecDeque<ContainerId>>);

impl Ooms {
    fn add(&self, id: ContainerId) {
        let mut ids = self.0.lock().expect("nobody panics with it");
        if ids.len() == OOMS_MAX {
            ids.pop_front();
        }
        ids.push_back(id);
    }

    pub fn contains(&self, id: &ContainerId) -> bool {
        self.0.lock().expect("nobody panics with it").contains(id)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let ooms = Ooms::default();
        let id = |number: usize| ContainerId(number.to_string());
        (0..=OOMS_MAX).for_each(|number| ooms.add(id(number)));
        assert!(!ooms.contains(&id(0)));
        assert!(ooms.contains(&id(1)) && ooms.contains(&id(OOMS_MAX)));
    }
}
