//! A Pod whose name another one had before.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::stage::Stage;
use super::web;
use crate::report::Reporter;
use crate::runtime::fake::Script;

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
