//! What a watch tells of a change, and when it tells how far it is.

use proto::seam::Env;
use raft::{Action, Command, Op, Outcome, Precondition, Versioned};
use tokio::time::{pause, resume, timeout};

use super::*;
use crate::auth::Identity;
use crate::fixtures;
use crate::objects::Target;

/// The event's type and the label of its object, or "-".
fn told(event: Option<Event>) -> String {
    let label = |object: &Object| {
        assert_eq!(object.revision, 9, "every event bears the revision of the change");
        api::object::meta(&object.stored).unwrap().labels["stage"].clone()
    };
    match event {
        Some(Event::Added(object)) => format!("ADDED {}", label(&object)),
        Some(Event::Modified(object)) => format!("MODIFIED {}", label(&object)),
        Some(Event::Deleted(object)) => format!("DELETED {}", label(&object)),
        Some(other) => panic!("{other:?}"),
        None => "-".into(),
    }
}

#[test]
fn a_selection_sees_objects_come_and_go() {
    let kind = api::kinds::find("", "v1", "pods").unwrap();
    let stored = |stage: &str| {
        let text = format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"labels":{{"stage":"{stage}"}}}}}}"#);
        Bytes::from(text)
    };
    let was = |stage: &str| Previous::Was(Versioned { revision: 1, created: 1, value: stored(stage) });
    for (selector, previous, now, expected) in [
        ("stage=live", Previous::Absent, Some("live"), "ADDED live"),
        ("stage=live", Previous::Absent, Some("test"), "-"),
        ("stage=live", was("live"), Some("live"), "MODIFIED live"),
        ("stage=live", was("test"), Some("live"), "ADDED live"),
        ("stage=live", was("live"), Some("test"), "DELETED live"),
        ("stage=live", was("test"), Some("test"), "-"),
        ("stage=live", was("live"), None, "DELETED live"),
        ("stage=live", was("test"), None, "-"),
        ("stage=live", Previous::Forgotten, Some("live"), "MODIFIED live"),
        ("stage=live", Previous::Forgotten, Some("test"), "DELETED test"),
        ("", was("test"), Some("live"), "MODIFIED live"),
        ("", was("test"), None, "DELETED test"),
    ] {
        let selection = Selection::parse(kind, selector, "").unwrap();
        let change = Change {
            revision: 9,
            key: kind.key("default", "web").encode().into(),
            value: now.map(stored),
            previous,
            author: String::new(),
            proposed_at_ms: 0,
        };
        assert_eq!(told(translate(kind, &selection, &change)), expected, "{selector} {change:?}");
    }
}

/// Nobody selects it. Returns its revision.
async fn put(store: &Store, kind: &Kind) -> u64 {
    let key = Bytes::from(kind.key("default", "web").encode());
    let value = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"web","labels":{"stage":"test"}}}"#;
    let ops = vec![Op { key, precondition: Precondition::Any, action: Action::Put(Bytes::from_static(value)) }];
    let command = Command { fence: None, proposed_at_ms: Env::real().clock.now_ms(), author: "test".into(), ops };
    match store.propose(command).await {
        Ok(Outcome::Applied { revisions }) => revisions[0],
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_selects_nothing_of_what_changes_gets_a_bookmark_every_half_minute() {
    const LONG: Duration = BOOKMARK_INTERVAL.saturating_mul(3);
    const SOON: Duration = Duration::from_secs(10);
    let dir = tempfile::tempdir().unwrap();
    let store = fixtures::store(dir.path(), Env::real()).await;
    let objects = Objects::new(store.clone(), Env::real());
    let kind = api::kinds::find("", "v1", "configmaps").unwrap();
    let open = async |bookmarks: bool| {
        let selection = Selection::parse(kind, "stage=live", "").unwrap();
        let (target, user) = (Target::collection(kind, "default"), Identity::system("test"));
        let (start, initial_end, timeout) = (WatchStart::Now, false, None);
        objects.watch(Watch { target, selection, start, bookmarks, initial_end, timeout, user }).await.unwrap()
    };
    let mut before = Instant::now();
    let (mut events, mut without) = (open(true).await, open(false).await);
    for turn in ["the first", "the next"] {
        let revision = put(&store, kind).await;
        // Where nothing else is to be done, the clock goes on to what comes next.
        pause();
        match timeout(LONG, events.next()).await {
            Ok(Some(Event::Bookmark { revision: at, initial_end: false })) => assert_eq!(at, revision, "{turn}"),
            other => panic!("{turn}: {other:?}"),
        }
        let passed = before.elapsed();
        assert!((BOOKMARK_INTERVAL..BOOKMARK_INTERVAL + SOON).contains(&passed), "{turn}: after {passed:?}");
        before = Instant::now();
        resume();
    }
    pause();
    let silence = tokio::join!(timeout(LONG, events.next()), timeout(LONG, without.next()));
    assert!(silence.0.is_err() && silence.1.is_err(), "{silence:?}");
    resume();
    store.shutdown().await;
}
