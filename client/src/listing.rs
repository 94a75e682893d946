//! What a watch has told of the objects that it begins with, until it has told them all. A failover before that begins with
//! them anew, as they stand by then: the reader is told only where that differs from what it knows. Decides.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::Event;

/// Keeps every object until the end, for the reader may have to be told that it is gone.
#[derive(Default)]
pub(crate) struct Listing {
    /// By namespace and name.
    told: BTreeMap<(String, String), Told>,
    round: u64,
}

/// An object as the reader knows it.
struct Told {
    uid: String,
    version: String,
    json: Bytes,
    /// The last one that it was found in.
    round: u64,
}

impl Listing {
    /// All that is there comes now, from the first one on.
    pub fn begin(&mut self) {
        self.round += 1;
    }

    pub fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// What the reader is told of an object that is there. `json` is how it came.
    pub fn found(&mut self, json: Bytes, object: Value) -> Vec<Event<Value>> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = (text("/metadata/namespace"), text("/metadata/name"));
        let (uid, version) = (text("/metadata/uid"), text("/metadata/resourceVersion"));
        let told = Told { uid: uid.clone(), version: version.clone(), json, round: self.round };
        match self.told.insert(name, told) {
            None => vec![Event::Added(object)],
            // Told before the new one, or a reader that goes by names would take the new one for deleted.
            Some(before) if before.uid != uid => vec![before.deleted(&version), Event::Added(object)],
            Some(before) if before.version != version => vec![Event::Modified(object)],
            Some(_) => vec![],
        }
    }

    /// All that is there has come, as of `version`: what the reader is told of the objects that are not there any more.
    pub fn end(self, version: &str) -> Vec<Event<Value>> {
        let Listing { told, round } = self;
        told.into_values().filter(|told| told.round != round).map(|told| told.deleted(version)).collect()
    }
}

impl Told {
    /// As the cluster's own deletions it bears a version by which it is deleted, and otherwise what the object was.
    fn deleted(self, version: &str) -> Event<Value> {
        let mut object: Value = serde_json::from_slice(&self.json).expect("it was read when it came");
        object["metadata"]["resourceVersion"] = version.into();
        Event::Deleted(object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `a/1@50`: the name, the uid and the version.
    fn found(listing: &mut Listing, object: &str) -> Vec<String> {
        let (name, version) = object.split_once('@').unwrap();
        let (name, uid) = name.split_once('/').unwrap();
        let metadata = json!({"namespace": "default", "name": name, "uid": uid, "resourceVersion": version});
        let object = json!({"metadata": metadata, "data": {"since": version}});
        lines(listing.found(object.to_string().into(), object))
    }

    fn lines(events: Vec<Event<Value>>) -> Vec<String> {
        let line = |event: Event<Value>| {
            let (word, object) = match event {
                Event::Added(object) => ("Added", object),
                Event::Modified(object) => ("Modified", object),
                Event::Deleted(object) => ("Deleted", object),
            };
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let (name, uid, version) =
                (text("/metadata/name"), text("/metadata/uid"), text("/metadata/resourceVersion"));
            format!("{word} {name}/{uid}@{version} since {}", text("/data/since"))
        };
        events.into_iter().map(line).collect()
    }

    #[test]
    fn a_listing_that_goes_through_is_told_as_it_is() {
        let mut listing = Listing::default();
        listing.begin();
        assert!(!listing.has_told());
        assert_eq!(found(&mut listing, "a/1@50"), ["Added a/1@50 since 50"]);
        assert_eq!(found(&mut listing, "b/1@10"), ["Added b/1@10 since 10"]);
        assert!(listing.has_told());
        assert!(lines(listing.end("55")).is_empty());
    }

    #[test]
    fn of_a_listing_that_begins_anew_only_the_differences_are_told() {
        let mut listing = Listing::default();
        listing.begin();
        for object in ["a/1@50", "b/1@10", "c/1@20", "d/1@30"] {
            found(&mut listing, object);
        }
        listing.begin();
        assert!(found(&mut listing, "a/1@50").is_empty(), "as it was");
        listing.begin();
        assert!(found(&mut listing, "a/1@50").is_empty());
        assert_eq!(found(&mut listing, "b/1@58"), ["Modified b/1@58 since 58"]);
        assert_eq!(found(&mut listing, "c/2@59"), ["Deleted c/1@59 since 20", "Added c/2@59 since 59"]);
        assert_eq!(found(&mut listing, "e/1@60"), ["Added e/1@60 since 60"]);
        assert_eq!(lines(listing.end("70")), ["Deleted d/1@70 since 30"]);
    }
}
