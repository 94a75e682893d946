//! Reports that do not arrive.

use std::time::Duration;

use super::stage::Stage;
use super::web;
use crate::report::Error;
use crate::runtime::Role;

#[tokio::test(start_paused = true)]
async fn a_status_that_was_refused_is_told_once_more_though_nothing_is_heard_of_its_pod() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let restarts = |stage: &Stage| stage.cluster.status("web").container_statuses.unwrap()[0].restart_count;
    stage.cluster.fail(Some(Error::Refused("forbidden".into())));
    stage.fake.exit(&stage.apps("web")[0].id, 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((stage.apps("web").len(), restarts(&stage)), (1, 0), "it runs again, and nobody knows");
    stage.cluster.fail(None);
    stage.until("told once more", 10, |stage| restarts(stage) == 1 && stage.cluster.is_ready("web")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let writes = stage.cluster.writes().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.cluster.writes().len(), writes, "and that is all");
}

#[tokio::test(start_paused = true)]
async fn a_former_address_does_not_stay_where_the_first_report_of_the_new_one_was_refused() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let addresses = |stage: &Stage| -> Vec<String> {
        stage.cluster.status("web").pod_ips.into_iter().flatten().map(|one| one.ip).collect()
    };
    let former = addresses(&stage);
    let pause = |stage: &Stage| stage.fake.running().into_iter().find(|one| one.labels.role == Role::Pause).unwrap();
    stage.cluster.fail(Some(Error::Refused("forbidden".into())));
    stage.fake.exit(&pause(&stage).id, 137);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let present = pause(&stage).ip.unwrap().to_string();
    assert_eq!((stage.apps("web").len(), addresses(&stage)), (1, former.clone()), "it runs again, and nobody knows");
    assert_ne!(former, [present.as_str()]);
    stage.cluster.fail(None);
    stage.until("told once more", 10, |stage| addresses(stage) != former).await;
    assert_eq!(addresses(&stage), [present]);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_lost_a_race_is_asked_for_again() {
    let mut stage = Stage::new();
    stage.cluster.assign("web", web());
    stage.begin();
    stage.until("ready", 5, |stage| stage.cluster.is_ready("web")).await;
    let stale = api::Status::stale(api::status::Resource { group: "", plural: "pods" }, "web");
    stage.cluster.fail(Some(crate::report::failure(client::Error::Api(Box::new(stale)))));
    let deadline = stage.now() + jiff::SignedDuration::from_secs(1);
    stage.cluster.delete("web", deadline, 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(stage.fake.all().is_empty() && stage.cluster.pod("web").is_some());
    stage.cluster.fail(None);
    stage.until("its object is gone", 30, |stage| stage.cluster.pod("web").is_none()).await;
}
