//! A watch goes on at another replica from where it is, whenever the first breaks off.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kontiki_client::{Api, Event, ListOptions};
use tokio::time::timeout;

use crate::replica::Cluster;

/// Nothing more is told when nothing was for so long.
const QUIET: Duration = Duration::from_secs(5);

/// What a watch after `since` asks for, each time that it is opened, and what its reader is told.
async fn watch(since: &str, script: &[&str]) -> (Vec<String>, String) {
    let cluster = Cluster::with_script(2, script);
    let api: Api<ConfigMap> = cluster.client().namespaced("default");
    let mut watch = api.watch(ListOptions { resource_version: since.into(), ..ListOptions::default() });
    let mut told = Vec::new();
    while let Ok(event) = timeout(QUIET, watch.next()).await {
        told.push(match event.unwrap() {
            Event::Added(object) => format!("Added {}", name(&object)),
            Event::Modified(object) => format!("Modified {}", name(&object)),
            Event::Deleted(object) => format!("Deleted {}", name(&object)),
        });
    }
    let asked = cluster.script.asked();
    assert!(asked.windows(2).all(|both| both[0].0 != both[1].0), "each time at the other one: {asked:?}");
    assert!(asked.iter().all(|(_, request)| request.initial_end && request.bookmarks), "{asked:?}");
    (asked.into_iter().map(|(_, request)| request.resource_version).collect(), told.join(", "))
}

fn name(object: &ConfigMap) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let metadata = &object.metadata;
    let (name, uid) = (text(&metadata.name), text(&metadata.uid));
    let name = if uid == "1" { name } else { format!("{name}/{uid}") };
    format!("{name}@{}", text(&metadata.resource_version))
}

#[tokio::test(start_paused = true)]
async fn before_the_end_of_the_listing_it_lists_anew_and_repeats_nothing() {
    for broken in [
        "BREAK",
        "CLOSE",
        "ADDED a@50, BREAK",
        "ADDED a@50, CLOSE",
        // The last one is the oldest.
        "ADDED a@50, ADDED b@10, BREAK",
    ] {
        let (asked, told) = watch("", &[broken, "ADDED a@50, ADDED b@10, END @55, MODIFIED b@56"]).await;
        assert_eq!(asked, ["", ""], "{broken}");
        assert_eq!(told, "Added a@50, Added b@10, Modified b@56", "{broken}");
    }
}

#[tokio::test(start_paused = true)]
async fn from_the_end_of_the_listing_on_it_goes_on_from_there() {
    let (asked, told) = watch(
        "",
        &[
            "ADDED a@50, ADDED b@10, END @55, BREAK",
            "MODIFIED b@56, CLOSE",
            "BOOKMARK @70, BREAK",
            "DELETED a@71, ADDED c@72, BREAK",
            "MODIFIED c@73",
        ],
    )
    .await;
    assert_eq!(asked, ["", "55", "56", "70", "72"]);
    assert_eq!(told, "Added a@50, Added b@10, Modified b@56, Deleted a@71, Added c@72, Modified c@73");
}

#[tokio::test(start_paused = true)]
async fn what_happens_between_two_listings_is_told() {
    let (asked, told) = watch(
        "",
        &[
            "ADDED a@50, ADDED b@10, ADDED c@20, BREAK",
            "ADDED a@58, BREAK",
            "ADDED a@58, ADDED c/2@59, END @70, BREAK",
            "ADDED b/2@71",
        ],
    )
    .await;
    assert_eq!(asked, ["", "", "", "70"]);
    let expected =
        "Added a@50, Added b@10, Added c@20, Modified a@58, Deleted c@59, Added c/2@59, Deleted b@70, Added b/2@71";
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn it_does_not_go_back_to_a_replica_that_has_what_is_older() {
    let (asked, told) = watch("0", &["BREAK", "ADDED a@50, BREAK", "ADDED a@50, END @55"]).await;
    assert_eq!((asked, told.as_str()), (["0", "0", ""].map(String::from).to_vec(), "Added a@50"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_revision_on_goes_on_from_each_change() {
    let (asked, told) = watch("40", &["BREAK", "ADDED a@50, BREAK", "DELETED a@51"]).await;
    assert_eq!(asked, ["40", "40", "50"]);
    assert_eq!(told, "Added a@50, Deleted a@51");
}

/// One of the version before tells no end of the listing.
#[tokio::test(start_paused = true)]
async fn an_older_replicas_listing_ends_with_what_can_only_come_after_it() {
    for (after, at, said) in [("MODIFIED b@57", "57", "Modified b@57, "), ("BOOKMARK @60", "60", "")] {
        let first = format!("ADDED a@50, ADDED b@10, {after}, BREAK");
        let (asked, told) = watch("", &[first.as_str(), "DELETED a@71"]).await;
        assert_eq!(asked, ["", at]);
        assert_eq!(told, format!("Added a@50, Added b@10, {said}Deleted a@71"));
    }
}
