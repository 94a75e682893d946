//! What an engine, a clock or an object may do that is not as it should be: one story each.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;
use tokio::time::sleep;

use super::stage::Stage;
use super::web;
use crate::runtime::fake::Script;
use crate::runtime::{ContainerId, Error, Role, Runtime as _};

fn stubborn() -> Script {
    Script { ignores_stop: true, ..Script::default() }
}

/// The container `app` of a Pod, of which one runs.
fn app(stage: &Stage, pod: &str) -> ContainerId {
    stage.apps(pod)[0].id.clone()
}

fn restarts(stage: &Stage, pod: &str) -> i32 {
    stage.cluster.status(pod).container_statuses.unwrap()[0].restart_count
}

fn count(stage: &Stage, call: &str) -> usize {
    stage.fake.calls().iter().filter(|one| one.split(' ').next() == Some(call)).count()
}

fn delete(stage: &Stage, pod: &str, grace_s: i64) {
    stage.cluster.delete(pod, stage.now() + SignedDuration::from_secs(grace_s), grace_s);
}

async fn ready(stage: &Stage, pods: &[&str]) {
    stage.until("ready", 5, |stage| pods.iter().all(|pod| stage.cluster.is_ready(pod))).await;
}

async fn gone(stage: &Stage, pod: &str, longest_s: u64) {
    stage.until("gone", longest_s, |stage| stage.cluster.pod(pod).is_none()).await;
}

fn broken_pipe() -> Option<Error> {
    Some(Error::Unreachable("broken pipe".into()))
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_decided_about_holds_up_no_other_and_is_decided_about_again() {
    let mut stage = Stage::new();
    stage.cluster.assign("odd", web());
    stage.begin();
    ready(&stage, &["odd"]).await;
    // There is no number for the attempt after this one: where sums are checked, looking for it panics.
    let mut spec = stage.fake.spec(&app(&stage, "odd")).unwrap();
    spec.name = "the last".into();
    spec.labels.attempt = u32::MAX;
    let last = stage.fake.create(&spec).await.unwrap();
    stage.fake.start(&last).await.unwrap();
    stage.until("seen", 5, |stage| restarts(stage, "odd") == -1).await;
    stage.fake.exit(&last, 1);
    sleep(Duration::from_secs(1)).await;
    stage.cluster.assign("web", web());
    ready(&stage, &["web"]).await;
    assert_eq!(restarts(&stage, "odd"), -1, "nothing was decided about it since");
    stage.fake.lose(&last);
    stage.until("decided about again", 5, |stage| restarts(stage, "odd") == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_cannot_be_looked_at_holds_back_its_own_pod_alone() {
    let mut stage = Stage::new();
    stage.cluster.assign("a", web());
    stage.cluster.assign("b", web());
    stage.begin();
    ready(&stage, &["a", "b"]).await;
    sleep(Duration::from_secs(2)).await;
    let hidden = app(&stage, "a");
    stage.kill().await;
    stage.fake.hide(&hidden, true);
    stage.begin();
    stage.cluster.assign("c", web());
    delete(&stage, "b", 30);
    gone(&stage, "b", 15).await;
    ready(&stage, &["a", "c"]).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(app(&stage, "a"), hidden);
    assert!(stage.cluster.is_ready("a"), "what is not known is not told");
    delete(&stage, "a", 1);
    sleep(Duration::from_secs(60)).await;
    assert!(stage.cluster.pod("a").is_some(), "nobody knows whether it still runs");
    stage.fake.hide(&hidden, false);
    gone(&stage, "a", 20).await;
    assert_eq!(stage.fake.doubles(), [""; 0]);
    assert_eq!(stage.fake.running().len(), 2, "those of c");
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_address_is_not_known_is_not_probed_in_vain() {
    let mut stage = Stage::new();
    let probe = json!({"httpGet": {"port": 80, "path": "/"}, "periodSeconds": 1});
    stage.cluster.assign("web", json!({"containers": [{"name": "app", "image": "nginx:1", "livenessProbe": probe}]}));
    stage.begin();
    ready(&stage, &["web"]).await;
    sleep(Duration::from_secs(2)).await;
    let id = app(&stage, "web");
    let pause = stage.fake.running().into_iter().find(|one| one.labels.role == Role::Pause).unwrap().id;
    stage.kill().await;
    stage.fake.hide(&pause, true);
    stage.begin();
    sleep(Duration::from_secs(60)).await;
    stage.fake.hide(&pause, false);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((app(&stage, "web"), stage.cluster.is_ready("web")), (id, true));
    assert!(!stage.has_event("Unhealthy"));
}

#[tokio::test(start_paused = true)]
async fn a_hook_runs_once_though_its_container_could_not_be_looked_at() {
    let mut stage = Stage::new();
    let hook = json!({"postStart": {"exec": {"command": ["true"]}}});
    stage.cluster.assign("web", json!({"containers": [{"name": "app", "image": "late:1", "lifecycle": hook}]}));
    stage.begin();
    // The look at the sandbox succeeds, and the image comes too late for the first try.
    stage.until("the image is missed", 5, |stage| count(stage, "pull") == 1).await;
    stage.fake.add_image("late:1");
    stage.fake.fail("inspect", broken_pipe());
    stage.until("the hook has run", 30, |stage| count(stage, "exec") == 1).await;
    stage.fake.fail("inspect", None);
    stage.until("ready", 60, |stage| stage.cluster.is_ready("web")).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((count(&stage, "exec"), restarts(&stage, "web")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_or_hangs_does_not_hold_up_the_events() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.cluster.assign("other", web());
    stage.begin();
    ready(&stage, &["web", "other"]).await;
    stage.fake.fail("list", broken_pipe());
    sleep(Duration::from_secs(30)).await;
    let first = app(&stage, "web");
    stage.fake.exit(&first, 1);
    stage.until("restarted", 1, |stage| restarts(stage, "web") == 1 && stage.cluster.is_ready("web")).await;
    assert_eq!(count(&stage, "events"), 1, "they go on");
    // A look that waits in vain does so beside the events as well.
    stage.fake.hide(&app(&stage, "other"), true);
    stage.fake.fail("list", None);
    sleep(Duration::from_secs(3)).await;
    stage.fake.lose(&app(&stage, "web"));
    stage.until("made again", 1, |stage| restarts(stage, "web") == 2 && stage.cluster.is_ready("web")).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_never_told_is_found_whenever_the_container_was_listed_first() {
    // Around the second listing: one of these moments has it listed between its making and its start.
    for moment_ms in 0..16 {
        let mut stage = Stage::new();
        stage.begin();
        sleep(Duration::from_millis(19_990 + moment_ms)).await;
        stage.cluster.assign("web", web());
        ready(&stage, &["web"]).await;
        stage.fake.silence(true);
        let first = app(&stage, "web");
        stage.fake.exit(&first, 1);
        let again = |stage: &Stage| stage.apps("web").first().is_some_and(|one| one.id != first);
        stage.until(&format!("found, made at {moment_ms}"), 45, again).await;
        stage.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_by_a_kill_is_seen_though_it_is_never_told() {
    let mut stage = Stage::new();
    stage.fake.script("stubborn", stubborn());
    stage.cluster.assign("mule", json!({"containers": [{"name": "app", "image": "stubborn"}]}));
    stage.begin();
    ready(&stage, &["mule"]).await;
    stage.fake.silence(true);
    delete(&stage, "mule", 1);
    gone(&stage, "mule", 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_the_engine_does_not_let_through_says_nothing_of_the_container() {
    let mut stage = Stage::new();
    let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    stage.cluster.assign(
        "web",
        json!({"containers": [{"name": "app", "image": "nginx:1", "livenessProbe": probe, "readinessProbe": probe}]}),
    );
    stage.begin();
    ready(&stage, &["web"]).await;
    let id = app(&stage, "web");
    stage.fake.fail("exec", broken_pipe());
    sleep(Duration::from_secs(60)).await;
    stage.fake.fail("exec", None);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((app(&stage, "web"), stage.cluster.is_ready("web")), (id, true));
    assert!(stage.has_event("Unhealthy") && !stage.has_event("Killing"));
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_cannot_be_delivered_is_not_sent_again_at_once() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    ready(&stage, &["web"]).await;
    stage.fake.fail("signal", broken_pipe());
    delete(&stage, "web", 1);
    sleep(Duration::from_secs(10)).await;
    let signals = count(&stage, "signal");
    assert!((2..10).contains(&signals), "{signals} signals in 10 s");
    stage.fake.fail("signal", None);
    gone(&stage, "web", 20).await;
}

#[tokio::test(start_paused = true)]
async fn a_step_of_the_wall_clock_moves_no_deadline_and_no_back_off() {
    for step_s in [-3600, 3600] {
        let mut stage = Stage::new();
        stage.fake.script("stubborn", stubborn());
        stage.fake.script("crash", Script { exits: Some((Duration::from_secs(1), 1)), ..Script::default() });
        stage.cluster.assign("mule", json!({"containers": [{"name": "app", "image": "stubborn"}]}));
        stage.cluster.assign("crash", json!({"containers": [{"name": "app", "image": "crash"}]}));
        stage.begin();
        ready(&stage, &["mule"]).await;
        delete(&stage, "mule", 10);
        sleep(Duration::from_millis(1500)).await;
        stage.step_clock(step_s);
        sleep(Duration::from_secs(7)).await;
        assert!(stage.cluster.pod("mule").is_some(), "{step_s}: its grace is not over");
        gone(&stage, "mule", 5).await;
        sleep(Duration::from_secs(120)).await;
        // Two are the mule's, one is the pause container. With the full back-off the other starts five times in 130 s;
        // a step forward in the middle of a run passes for a long one, once.
        let starts = count(&stage, "start");
        assert!((8..=9).contains(&starts), "{step_s}: {starts} starts");
        stage.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_read_is_left_alone() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    ready(&stage, &["web"]).await;
    let id = app(&stage, "web");
    stage.cluster.put("pods/default/web", json!({"metadata": 1}));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(app(&stage, "web"), id);
    stage.kill().await;
    stage.begin();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(app(&stage, "web"), id, "by an agent that was started anew, too");
    stage.cluster.remove("pods/default/web");
    stage.until("removed", 30, |stage| stage.fake.all().is_empty()).await;
}
