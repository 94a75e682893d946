//! How new an answer is, also on replicas that are behind or cut off, and what a client that takes nothing costs.

use std::net::TcpListener;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use api::status::Status;
use kontiki_server as server;
use proto::pki::{Authority, PEER_NAME};
use proto::seam::Env;
use proto::tls;
use raft::{Config, HistoryWindow, Member, Store, Timing};
use server::auth::Identity;
use server::objects::{
    Body, Create, Event, Freshness, Get, List, Objects, Page, Selection, Target, Watch, WatchStart, WriteOptions,
};
use tempfile::TempDir;
use tokio::time::{Instant, advance, pause, resume, timeout};

use crate::harness::{CONFIG_MAPS, DEADLINE, Replica, config_map, get, make_namespaces, post, put, sign};

/// So that a read that fails does so soon.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// As docs/reads.md promises.
const STALE_MAX: Duration = Duration::from_secs(10);

/// Three replicas that know their leader.
struct Replicas {
    stores: Vec<Store>,
    _dir: TempDir,
}

impl Replicas {
    async fn start() -> Replicas {
        tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::make("test").unwrap();
        let ports: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let member = |(id, port): (u64, &TcpListener)| {
            let peer_address = port.local_addr().unwrap().to_string();
            Member { id, peer_address, client_address: String::new() }
        };
        let members: Vec<Member> = (1..).zip(&ports).map(member).collect();
        drop(ports);
        let mut stores = Vec::new();
        for Member { id, peer_address, .. } in &members {
            let config = Config {
                id: *id,
                dir: dir.path().join(id.to_string()),
                peer_listen: peer_address.clone(),
                initial_members: members.clone(),
                cluster_id: "test".into(),
                tls: sign(&authority, &format!("kontiki:replica:{id}"), &[], &[PEER_NAME]),
                timing: Timing { propose_timeout: PROPOSE_TIMEOUT, ..Timing::default() },
                history: HistoryWindow::default(),
                renewals: Default::default(),
            };
            stores.push(Store::open(config, Env::real()).await.unwrap());
        }
        for store in &stores {
            let mut standing = store.standing();
            let led = standing.wait_for(|standing| standing.leader.is_some());
            timeout(DEADLINE, led).await.expect("somebody leads").unwrap();
        }
        Replicas { stores, _dir: dir }
    }

    /// The objects as the leader and as a follower have them.
    fn both(&self) -> (Objects, Objects) {
        let led_by = |store: &Store| store.standing().borrow().leader;
        let leader = self.stores.iter().position(|store| led_by(store) == Some(store.id())).expect("it leads");
        let objects = |at: usize| Objects::new(self.stores[at].clone(), Env::real());
        (objects(leader), objects((leader + 1) % 3))
    }

    fn follower(&self) -> &Store {
        let led_by = |store: &Store| store.standing().borrow().leader;
        self.stores.iter().find(|store| led_by(store) != Some(store.id())).expect("somebody follows")
    }
}

fn config_maps() -> Target {
    Target::collection(api::kinds::find("", "v1", "configmaps").unwrap(), "default")
}

async fn create(objects: &Objects, name: &str) {
    let (body, user) = (Body::json(config_map(name, "x").to_string()), Identity::system("test"));
    let create = Create { target: config_maps(), body, options: WriteOptions::default(), user };
    objects.create(create).await.unwrap();
}

async fn list(objects: &Objects, limit: usize, continue_token: &str, freshness: Freshness) -> Result<Page, Status> {
    let (target, user, selection) = (config_maps(), Identity::system("test"), Selection::default());
    objects.list(List { target, selection, limit, continue_token: continue_token.into(), freshness, user }).await
}

fn watch(start: WatchStart) -> Watch {
    Watch {
        target: config_maps(),
        selection: Selection::default(),
        start,
        bookmarks: false,
        initial_end: false,
        timeout: None,
        user: Identity::system("test"),
    }
}

#[tokio::test]
async fn a_list_goes_on_at_a_replica_that_is_behind() {
    let replicas = Replicas::start().await;
    let (leader, follower) = replicas.both();
    make_namespaces(&leader).await;
    create(&leader, "a").await;
    for n in 0..20 {
        create(&leader, &format!("b{n}")).await;
        let first = list(&leader, 1, "", Freshness::Newest).await.unwrap();
        let second = list(&follower, 0, &first.continue_token, Freshness::Newest).await.unwrap();
        assert_eq!((second.revision, second.items.len()), (first.revision, n + 1), "the same state");
    }
}

/// After a restore the revisions begin anew.
#[tokio::test]
async fn a_list_does_not_go_on_from_a_revision_that_no_replica_knows() {
    use base64::Engine as _;
    let replica = Replica::start().await;
    let token = r#"{"rv":1000000,"after":"a"}"#;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token);
    let answer = get(&replica.admin(), &format!("{CONFIG_MAPS}?limit=1&continue={token}")).await;
    assert_eq!((answer.code.as_u16(), answer.reason()), (410, "Expired"));
    replica.stop().await;
}

#[tokio::test]
async fn a_read_of_any_revision_costs_no_round_and_is_refused_on_a_replica_that_has_long_been_alone() {
    let replicas = Replicas::start().await;
    let (leader, _) = replicas.both();
    make_namespaces(&leader).await;
    create(&leader, "a").await;
    let store = replicas.follower();
    let follower = Objects::new(store.clone(), Env::real());
    let names = async || list(&follower, 0, "", Freshness::Any).await.map(|page| page.items.len());
    assert_eq!(names().await.unwrap(), 1, "the first one is as new as can be");
    let confirmed = Instant::now();
    let barriers = || store.metrics().barriers.load(Relaxed);
    let before = barriers();
    for _ in 0..100 {
        assert_eq!(names().await.unwrap(), 1);
    }
    assert_eq!(barriers(), before);

    for other in replicas.stores.iter().filter(|other| other.id() != store.id()) {
        other.kill().await;
    }
    assert_eq!(names().await.unwrap(), 1, "it was in touch a moment ago");
    tokio::time::sleep_until(confirmed + STALE_MAX).await;
    let refused = names().await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (503, "ServiceUnavailable"));
    let had = store.state().revision();
    let not_older = WatchStart::Present(Freshness::NotOlderThan(had));
    for start in [WatchStart::Present(Freshness::Any), not_older, WatchStart::After(had)] {
        assert_eq!(follower.watch(watch(start)).await.err().expect("refused").code, 503, "{start:?}");
    }
    assert!(list(&follower, 0, "", Freshness::NotOlderThan(had)).await.is_ok(), "a promise about a revision");
}

#[tokio::test]
async fn a_watch_goes_on_where_a_leader_confirms_it_and_ends_where_none_does() {
    let replicas = Replicas::start().await;
    let (leader, _) = replicas.both();
    make_namespaces(&leader).await;
    let store = replicas.follower();
    let follower = Objects::new(store.clone(), Env::real());
    let first = list(&follower, 0, "", Freshness::Newest).await.unwrap().revision;
    let before = store.metrics().barriers.load(Relaxed);
    let mut events = follower.watch(watch(WatchStart::After(first))).await.unwrap();
    assert_eq!(store.metrics().barriers.load(Relaxed), before, "a read stands for it");
    // Longer than it takes to look whether a leader is there.
    assert!(timeout(Duration::from_secs(6), events.next()).await.is_err(), "nothing happens");
    create(&leader, "a").await;
    let event = timeout(DEADLINE, events.next()).await.expect("it is told");
    assert!(matches!(event, Some(Event::Added(_))), "{event:?}");
    for other in replicas.stores.iter().filter(|other| other.id() != store.id()) {
        other.kill().await;
    }
    let end = timeout(DEADLINE, events.next()).await.expect("it ends");
    assert!(end.is_none(), "without an error: {end:?}");
}

#[tokio::test]
async fn only_a_replica_that_knows_all_there_is_says_that_a_revision_is_too_large() {
    use base64::Engine as _;
    let replicas = Replicas::start().await;
    let (leader, _) = replicas.both();
    make_namespaces(&leader).await;
    let store = replicas.follower();
    let follower = Objects::new(store.clone(), Env::real());
    let future = list(&leader, 0, "", Freshness::Newest).await.unwrap().revision + 1000;
    let refused = list(&follower, 0, "", Freshness::NotOlderThan(future)).await.unwrap_err();
    assert!(refused.code == 504 && refused.is_version_too_large(), "{refused:?}");

    for other in replicas.stores.iter().filter(|other| other.id() != store.id()) {
        other.kill().await;
    }
    let token = format!(r#"{{"rv":{future},"after":"a"}}"#);
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token);
    let (listed, gone_on, watched) = tokio::join!(
        list(&follower, 0, "", Freshness::NotOlderThan(future)),
        list(&follower, 1, &token, Freshness::Newest),
        follower.watch(watch(WatchStart::After(future))),
    );
    for refused in [listed.err(), gone_on.err(), watched.err()] {
        let refused = refused.expect("another may be that far");
        assert_eq!((refused.code, refused.reason.as_str()), (503, "ServiceUnavailable"), "{refused:?}");
        assert_eq!(refused.details.unwrap().retry_after_seconds, 1);
    }
}

#[tokio::test]
async fn a_look_back_that_does_not_get_its_turn_ends_in_clear_words() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let first = post(&client, CONFIG_MAPS, &config_map("m", "one")).await.expect(201);
    let first: u64 = first["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    put(&client, &format!("{CONFIG_MAPS}/m"), &config_map("m", "two")).await.expect(200);
    let objects = Objects::new(replica.store.clone(), Env::real());
    let target = Target { name: "m".into(), ..config_maps() };
    let look = async || {
        let (target, user) = (target.clone(), Identity::system("test"));
        objects.get(Get { target, freshness: Freshness::Exactly(first), user }).await
    };
    // Others who do not get on.
    let back = || Box::pin(list(&objects, 0, "", Freshness::Exactly(first)));
    let (mut one, mut other) = (back(), back());
    assert!(futures::poll!(&mut one).is_pending() && futures::poll!(&mut other).is_pending());
    pause();
    let mut third = Box::pin(look());
    assert!(futures::poll!(&mut third).is_pending());
    advance(Duration::from_secs(31)).await;
    let refused = third.await.unwrap_err();
    resume();
    assert_eq!((refused.code, refused.reason.as_str()), (504, "Timeout"));
    assert!(refused.message.contains("could not be looked through within 30s"), "{}", refused.message);
    drop((one, other));
    assert_eq!(look().await.unwrap().revision, first);
    replica.stop().await;
}

#[tokio::test]
async fn lists_of_the_past_hold_no_more_together_than_they_may() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let value = |letter: &str| config_map("m", &letter.repeat(1000));
    let first = post(&client, CONFIG_MAPS, &value("a")).await.expect(201);
    let first: u64 = first["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    post(&client, CONFIG_MAPS, &config_map("unchanged", &"x".repeat(5000))).await.expect(201);
    let second = put(&client, &format!("{CONFIG_MAPS}/m"), &value("b")).await.expect(200);
    let second: u64 = second["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    // There is room for one and a half of what has changed.
    let objects = Objects::with_room(replica.store.clone(), Env::real(), 2000);
    let before = Freshness::Exactly(second - 1);
    let held = list(&objects, 0, "", before).await.unwrap();
    assert_eq!(held.items.len(), 2, "what has not changed costs nothing");
    let refused = list(&objects, 0, "", Freshness::Exactly(first)).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
    assert_eq!(refused.details.unwrap().retry_after_seconds, 1);
    assert_eq!(list(&objects, 0, "", Freshness::Newest).await.unwrap().items.len(), 2, "the present costs nothing");
    drop(held);
    assert_eq!(list(&objects, 0, "", Freshness::Exactly(first)).await.unwrap().items.len(), 1);
    replica.stop().await;
}

#[tokio::test]
async fn a_watch_that_selects_nothing_lets_others_in_while_it_looks() {
    let replica = Replica::start().await;
    let objects = Objects::new(replica.store.clone(), Env::real());
    for n in 0..300 {
        create(&objects, &format!("m{n}")).await;
    }
    let selection = Selection::parse(config_maps().kind, "", "metadata.name=none").unwrap();
    let present = WatchStart::Present(Freshness::Newest);
    let mut events = objects.watch(Watch { selection, initial_end: true, ..watch(present) }).await.unwrap();
    for step in 0..2 {
        let mut next = Box::pin(events.next());
        assert!(futures::poll!(&mut next).is_pending(), "step {step} of three");
    }
    let end = timeout(DEADLINE, events.next()).await.expect("it ends");
    assert!(matches!(end, Some(Event::Bookmark { initial_end: true, .. })), "{end:?}");
    replica.stop().await;
}

#[tokio::test]
async fn a_watch_whose_client_takes_nothing_gives_up_what_it_began_with() {
    let replica = Replica::start().await;
    let objects = Objects::new(replica.store.clone(), Env::real());
    for n in 0..300 {
        create(&objects, &format!("m{n}")).await;
    }
    let mut events = objects.watch(watch(WatchStart::Present(Freshness::Newest))).await.unwrap();
    assert!(matches!(events.next().await, Some(Event::Added(_))));
    pause();
    for _ in 0..70 {
        tokio::task::yield_now().await;
        advance(Duration::from_secs(1)).await;
    }
    resume();
    let mut told = 1;
    let end = loop {
        match timeout(DEADLINE, events.next()).await.expect("it ends") {
            Some(Event::Added(_)) => told += 1,
            end => break end,
        }
    };
    let Some(Event::Error(status)) = end else { panic!("{end:?} after {told}") };
    assert_eq!(status.code, 410, "begin anew");
    assert!(told < 300, "{told}");
    assert!(events.next().await.is_none());
    replica.stop().await;
}
