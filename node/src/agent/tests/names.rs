//! A Pod whose name another one had before, or may have by now.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::stage::Stage;
use super::web;
use crate::report::Reporter;
use crate::runtime::fake::Script;
use crate::session::Work;

#[tokio::test(start_paused = true)]
async fn a_pod_is_found_by_its_name_while_an_older_one_of_that_name_ends_and_afterwards() {
    // The older one is `uid-web`, and Pods are decided about in the order of their uids.
    for uid in ["uid-a", "uid-z"] {
        let stage = Stage::new();
        stage.fake.script("stubborn", Script { ignores_stop: true, ..Script::default() });
        stage.cluster.assign("web", json!({"containers": [{"name": "app", "image": "stubborn"}]}));
        let (agent, shutdown) = (stage.agent(Reporter::default()), CancellationToken::new());
        let directory = agent.directory.clone();
        let running = tokio::spawn(agent.run(stage.cluster.work(), shutdown.clone()));
        stage.until("the older one runs", 5, |stage| stage.apps("web").len() == 1).await;
        let newer = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": "default", "uid": uid},
            "spec": web(),
            "status": {"phase": "Pending"},
        });
        stage.cluster.put("pods/default/web", newer);
        let runs = |stage: &Stage| stage.apps("web").iter().any(|one| one.labels.pod_uid == uid);
        stage.until("the newer one runs beside it", 5, runs).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let found = || directory.find("default", "web").map(|place| (place.uid, place.containers.len()));
        assert_eq!((found(), stage.fake.all().len()), (Some((uid.to_owned(), 2)), 4), "while the older one ends");
        stage.until("the older one is gone", 60, |stage| stage.fake.all().len() == 2).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(found(), Some((uid.to_owned(), 2)), "after its end");
        shutdown.cancel();
        running.await.unwrap();
    }
}

/// Whoever has given a machine up that was switched off may have given its Pods' names to others.
#[tokio::test(start_paused = true)]
async fn after_a_power_cut_a_pod_whose_name_comes_back_begins_on_a_leaders_word_alone() {
    for is_its_own in [true, false] {
        let mut stage = Stage::new();
        stage.cluster.assign("db-0", web());
        stage.cluster.assign("web-4xk2z", web());
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "uid-of-web", "controller": true,
        });
        stage.cluster.edit("web-4xk2z", |pod| {
            pod["metadata"]["generateName"] = json!("web-");
            pod["metadata"]["ownerReferences"] = json!([owner]);
        });
        stage.begin();
        let runs = |stage: &Stage, name: &str| stage.apps(name).len() == 1;
        stage.until("both run", 5, |stage| runs(stage, "db-0") && runs(stage, "web-4xk2z")).await;
        stage.kill().await;
        stage.fake.running().iter().for_each(|container| stage.fake.exit(&container.id, 137));

        let work = stage.cluster.work().borrow().clone().expect("it was told");
        let remembered = Work { is_remembered: true, ..Work::clone(&work) };
        let (told, works) = watch::channel(Some(Arc::new(remembered)));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(stage.agent(Reporter::default()).run(works, shutdown.clone()));
        stage.until("a ReplicaSet's begins at once", 60, |stage| runs(stage, "web-4xk2z")).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!runs(&stage, "db-0"), "another may have its name");

        if !is_its_own {
            stage.cluster.remove("pods/default/db-0");
        }
        told.send_replace(stage.cluster.work().borrow().clone());
        if is_its_own {
            stage.until("it is its own", 60, |stage| runs(stage, "db-0")).await;
        } else {
            let left = |stage: &Stage| stage.fake.all().iter().any(|one| one.labels.pod_name == "db-0");
            stage.until("nothing is left of it", 60, |stage| !left(stage)).await;
        }
        assert_eq!(stage.fake.doubles(), [""; 0]);
        shutdown.cancel();
        running.await.unwrap();
    }
}
