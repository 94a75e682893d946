//! The agent's loop on a runtime in memory, in paused time: what a host and a cluster may do to it.

mod names;
mod reports;
mod stage;
mod troubles;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::stage::Stage;
use crate::report::Reporter;
use crate::runtime::Error;
use crate::runtime::fake::Script;

fn web() -> Value {
    json!({"containers": [{"name": "app", "image": "nginx:1"}]})
}

#[tokio::test(start_paused = true)]
async fn thirty_pods_run_and_their_statuses_are_written() {
    let mut stage = Stage::new();
    for number in 0..30 {
        stage.cluster.assign(&format!("web-{number}"), web());
    }
    stage.begin();
    stage.until("all ready", 5, |stage| (0..30).all(|n| stage.cluster.is_ready(&format!("web-{n}")))).await;
    assert_eq!(stage.fake.running().len(), 60);
    stage.until("events are told", 5, |stage| stage.has_event("Started")).await;
    // Two calls make a container, one looks at it, and nothing is asked of images.
    let calls = stage.fake.calls();
    let count = |word: &str| calls.iter().filter(|call| call.starts_with(word)).count();
    assert_eq!((count("create"), count("start"), count("inspect")), (60, 60, 60));
    assert_eq!(count("has_image") + count("pull"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_agent_writes_nothing() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = stage.cluster.writes().len();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(stage.cluster.writes().len(), before, "{:?}", stage.cluster.writes());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_called_unready_while_nobody_heard_of_its_node_is_reported_again() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.cluster.edit("web", |pod| {
        for condition in pod["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "Ready" {
                *condition = json!({"type": "Ready", "status": "False", "reason": "NodeNotReady"});
            }
        }
    });
    assert!(!stage.cluster.is_ready("web"));
    stage.until("ready again", 5, |stage| stage.cluster.is_ready("web")).await;
    let writes = stage.cluster.writes().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.cluster.writes().len(), writes, "and that is all");
}

#[tokio::test(start_paused = true)]
async fn an_older_status_that_arrives_late_does_not_stand() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..2 {
        stage.cluster.edit("web", |pod| pod["status"]["phase"] = json!("Pending"));
        assert_eq!(stage.phase("web"), "Pending");
        stage.until("told again", 5, |stage| stage.phase("web") == "Running").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let writes = stage.cluster.writes().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.cluster.writes().len(), writes, "and that is all");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_an_older_one_overtook_before_anybody_saw_it_is_told_once_more() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let restarts = |stage: &Stage| stage.cluster.status("web").container_statuses.unwrap()[0].restart_count;
    stage.cluster.overtake(true);
    stage.fake.exit(&stage.apps("web")[0].id, 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((stage.apps("web").len(), restarts(&stage)), (1, 0), "it runs again, and nobody knows");
    stage.cluster.overtake(false);
    stage.until("told once more", 10, |stage| restarts(stage) == 1 && stage.cluster.is_ready("web")).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_agent_finds_its_containers_and_touches_none() {
    let mut stage = Stage::new();
    for name in ["a", "b", "c"] {
        stage.cluster.assign(name, web());
    }
    stage.begin();
    stage.until("ready", 5, |stage| ["a", "b", "c"].iter().all(|name| stage.cluster.is_ready(name))).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.kill().await;
    let (containers, writes) = (stage.fake.all(), stage.cluster.writes().len());
    stage.begin();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(stage.fake.all(), containers);
    assert_eq!(stage.cluster.writes().len(), writes);
}

#[tokio::test(start_paused = true)]
async fn an_agent_killed_at_any_moment_never_makes_doubles() {
    for moment_ms in (0..40).map(|step| step * 2) {
        let mut stage = Stage::new();
        for name in ["a", "b", "c"] {
            stage.cluster.assign(name, web());
        }
        stage.begin();
        tokio::time::sleep(Duration::from_millis(moment_ms)).await;
        stage.kill().await;
        stage.begin();
        stage.until("ready", 60, |stage| ["a", "b", "c"].iter().all(|name| stage.cluster.is_ready(name))).await;
        assert_eq!(stage.fake.doubles(), [""; 0], "killed after {moment_ms} ms");
        assert_eq!(stage.fake.running().len(), 6, "killed after {moment_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn containers_of_nobody_are_removed_but_only_once_work_is_known() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    stage.kill().await;
    let (unknown, work) = tokio::sync::watch::channel(None);
    let agent = stage.agent(Reporter::default());
    tokio::spawn(agent.run(work, CancellationToken::new()));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(stage.fake.running().len(), 2, "nothing is touched while the work is unknown");
    unknown.send_replace(Some(Arc::new(crate::session::Work { term: 1, sequence: 1, ..Default::default() })));
    stage.until("removed", 30, |stage| stage.fake.all().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_container_is_restarted_and_one_that_vanished_too() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    stage.fake.exit(&stage.apps("web")[0].id, 1);
    let restarts = |stage: &Stage| stage.cluster.status("web").container_statuses.unwrap()[0].restart_count;
    stage.until("restarted", 2, |stage| restarts(stage) == 1 && stage.cluster.is_ready("web")).await;
    stage.fake.lose(&stage.apps("web")[0].id);
    stage.until("made again", 30, |stage| restarts(stage) == 2 && stage.cluster.is_ready("web")).await;
    stage.fake.run_out_of_memory(&stage.apps("web")[0].id);
    stage
        .until("out of memory is told", 30, |stage| {
            let status = stage.cluster.status("web").container_statuses.unwrap().remove(0);
            let last = status.last_state.and_then(|last| last.terminated);
            last.is_some_and(|end| end.reason.as_deref() == Some("OOMKilled"))
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn that_memory_was_short_is_told_though_the_engine_tells_it_late_and_cannot_be_asked_then() {
    for is_blind in [false, true] {
        let mut stage = Stage::new();
        let spec = json!({"restartPolicy": "Never", "containers": [{"name": "app", "image": "nginx:1"}]});
        stage.cluster.assign("web", spec);
        stage.begin();
        stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
        let reason = |stage: &Stage| {
            let status = stage.cluster.status("web").container_statuses.unwrap().remove(0);
            status.state.and_then(|state| state.terminated?.reason).unwrap_or_default()
        };
        let id = stage.apps("web")[0].id.clone();
        stage.fake.exit(&id, 137);
        stage.until("ended", 5, |stage| reason(stage) == "Error").await;
        // By now it has been listed as one that has ended.
        tokio::time::sleep(Duration::from_secs(60)).await;
        if is_blind {
            stage.fake.fail("inspect", Some(Error::Unreachable("broken pipe".into())));
        }
        stage.fake.tell_out_of_memory(&id);
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.fake.fail("inspect", None);
        stage.until("out of memory is told", 30, |stage| reason(stage) == "OOMKilled").await;
        stage.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_ends_and_its_object_goes() {
    let mut stage = Stage::new();
    stage.fake.script("stubborn", Script { ignores_stop: true, ..Script::default() });
    stage.cluster.assign("web", web());
    stage.cluster.assign("mule", json!({"containers": [{"name": "app", "image": "stubborn"}]}));
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web") && stage.cluster.is_ready("mule")).await;
    let deadline = stage.now() + jiff::SignedDuration::from_secs(10);
    stage.cluster.delete("web", deadline, 10);
    stage.cluster.delete("mule", deadline, 10);
    stage.until("web is gone", 2, |stage| stage.cluster.pod("web").is_none()).await;
    assert!(stage.cluster.pod("mule").is_some());
    stage.until("mule is gone", 12, |stage| stage.cluster.pod("mule").is_none()).await;
    assert!(stage.fake.all().is_empty());
    assert!(!stage.dir.path().join("pods/uid-web").exists());
}

#[tokio::test(start_paused = true)]
async fn one_pod_that_hangs_does_not_hold_up_others() {
    let mut stage = Stage::new();
    stage.fake.script("slow", Script::default());
    let hook = json!({"postStart": {"sleep": {"seconds": 500}}});
    stage.cluster.assign("slow", json!({"containers": [{"name": "app", "image": "slow", "lifecycle": hook}]}));
    stage.begin();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 0..12 {
        stage.cluster.assign(&format!("web-{number}"), web());
    }
    stage.until("all ready", 5, |stage| (0..12).all(|n| stage.cluster.is_ready(&format!("web-{n}")))).await;
    assert!(!stage.cluster.is_ready("slow"));
    stage.until("the slow one too", 600, |stage| stage.cluster.is_ready("slow")).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_and_comes_back_costs_no_container() {
    let mut stage = Stage::new();
    let probe = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    stage.cluster.assign("a", json!({"containers": [{"name": "app", "image": "nginx:1", "livenessProbe": probe}]}));
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("a")).await;
    let id = stage.apps("a")[0].id.clone();
    assert_eq!(stage.fake.hung(), 0);
    stage.fake.hang(true);
    stage.cluster.assign("b", web());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(stage.phase("b"), "Pending");
    assert!(stage.fake.hung() > 0);
    stage.fake.hang(false);
    stage.until("b is ready", 30, |stage| stage.cluster.is_ready("b")).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.apps("a")[0].id, id);
    assert_eq!(stage.fake.doubles(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_refuses_is_asked_again_more_and_more_slowly() {
    let mut stage = Stage::new();
    stage.fake.fail("start", Some(Error::Unreachable("broken pipe".into())));
    stage.cluster.assign("a", web());
    stage.begin();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tries = stage.fake.calls().iter().filter(|call| call.starts_with("create")).count();
    assert!((2..=5).contains(&tries), "{tries} tries in a minute");
    assert!(stage.has_event("FailedCreatePodSandBox"));
    stage.fake.fail("start", None);
    stage.until("ready", 100, |stage| stage.cluster.is_ready("a")).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_cut_off_hears_the_latest_when_it_is_back() {
    let mut stage = Stage::new();
    stage.cluster.assign("a", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("a")).await;
    stage.cluster.cut_off(true);
    stage.fake.exit(&stage.apps("a")[0].id, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.apps("a").len(), 1, "containers are seen to without the cluster");
    stage.cluster.cut_off(false);
    let restarts = |stage: &Stage| stage.cluster.status("a").container_statuses.unwrap()[0].restart_count;
    stage.until("told", 10, |stage| restarts(stage) == 1 && stage.cluster.is_ready("a")).await;
}

#[tokio::test(start_paused = true)]
async fn probes_are_asked_and_heeded() {
    let mut stage = Stage::new();
    let spec = json!({"containers": [{
        "name": "app", "image": "nginx:1",
        "readinessProbe": {"httpGet": {"port": 80, "path": "/"}, "periodSeconds": 1},
        "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 5, "failureThreshold": 2},
    }]});
    stage.cluster.assign("web", spec);
    stage.begin();
    stage.until("ready", 10, |stage| stage.cluster.is_ready("web")).await;
    let first = stage.apps("web")[0].id.clone();
    stage.until("restarted for its liveness", 30, |stage| stage.apps("web").iter().any(|one| one.id != first)).await;
    stage.until("told", 5, |stage| stage.has_event("Unhealthy") && stage.has_event("Killing")).await;
}

#[tokio::test(start_paused = true)]
async fn files_follow_their_config_map() {
    let mut stage = Stage::new();
    let conf = |text: &str| json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"a": text}});
    stage.cluster.put("configmaps/default/conf", conf("one"));
    stage.cluster.assign(
        "web",
        json!({
            "containers": [{"name": "app", "image": "nginx:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "configMap": {"name": "conf"}}],
        }),
    );
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    let file = stage.dir.path().join("pods/uid-web/volumes/v/a");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    stage.cluster.put("configmaps/default/conf", conf("two"));
    stage.until("the file follows", 5, |_| std::fs::read_to_string(&file).unwrap() == "two").await;
    assert_eq!(stage.apps("web")[0].labels.attempt, 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_event_is_counted_not_repeated() {
    let mut stage = Stage::new();
    stage.fake.script("crash", Script { exits: Some((Duration::from_secs(1), 1)), ..Script::default() });
    stage.cluster.assign("web", json!({"containers": [{"name": "app", "image": "crash"}]}));
    stage.begin();
    stage
        .until("three starts are counted", 120, |stage| {
            let events = stage.cluster.events();
            let mut started = events.iter().filter(|event| event.reason.as_deref() == Some("Started"));
            started.next().is_some_and(|event| event.count >= Some(3)) && started.next().is_none()
        })
        .await;
    assert!(stage.has_event("BackOff"));
}
