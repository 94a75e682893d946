//! Reports to a cluster in memory, in paused time.

use std::sync::Arc;
use std::time::Duration;

use api::patch::{self, PatchType};
use api::status::{Resource, Status};
use k8s_openapi::api::core::v1::{HostIP, PodIP, PodStatus};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::cluster::failure;
use super::{Error, Rehearsal, Reporter, StatusReport, run};

const PODS: Resource<'static> = Resource { group: "", plural: "pods" };

fn answer(status: Status) -> Error {
    failure(client::Error::Api(Box::new(status)))
}

/// The phase that the cluster knows ten seconds after a Pod was reported to run, where it answered so at first.
async fn phase_after(answer: Error) -> Option<String> {
    let (cluster, reporter, shutdown) = (Rehearsal::default(), Reporter::default(), CancellationToken::new());
    cluster.assign("web", json!({"containers": []}));
    cluster.fail(Some(answer));
    let running = tokio::spawn(run(reporter.clone(), Arc::new(cluster.clone()), shutdown.clone()));
    reporter.status(StatusReport {
        namespace: "default".into(),
        name: "web".into(),
        uid: "uid-web".into(),
        status: Box::new(PodStatus { phase: Some("Running".into()), ..PodStatus::default() }),
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    cluster.fail(None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    shutdown.cancel();
    running.await.unwrap();
    cluster.status("web").phase
}

#[tokio::test(start_paused = true)]
async fn a_status_that_a_replica_could_not_write_arrives_all_the_same() {
    for stumble in [Status::internal("a task panicked"), Status::stale(PODS, "web")] {
        let message = stumble.message.clone();
        assert_eq!(phase_after(answer(stumble)).await.as_deref(), Some("Running"), "{message}");
    }
    let no = Status::forbidden(PODS, "web", "it is another node's");
    assert_eq!(phase_after(answer(no)).await.as_deref(), Some("Pending"), "what is refused is not insisted on");
}

/// The addresses of the Pod and of its host after a report of this one, where `pod` stood.
fn after_report(pod: Value, ip: &str) -> Value {
    let status = PodStatus {
        host_ips: Some(vec![HostIP { ip: ip.into() }]),
        pod_ips: Some(vec![PodIP { ip: ip.into() }]),
        ..PodStatus::default()
    };
    let (namespace, name, uid) = ("default".into(), "web".into(), "uid-web".into());
    let report = StatusReport { namespace, name, uid, status: Box::new(status) };
    let body = report.patch().to_string();
    patch::apply("", "v1", "Pod", PatchType::StrategicMerge, pod, body.as_bytes()).unwrap()
}

#[test]
fn a_report_leaves_no_address_of_before_and_told_again_changes_nothing() {
    let first = after_report(json!({"metadata": {"name": "web"}}), "10.0.0.1");
    assert_eq!(first["status"]["podIPs"], json!([{"ip": "10.0.0.1"}]));
    assert_eq!(after_report(first.clone(), "10.0.0.1"), first);
    let second = after_report(first, "10.0.0.2");
    for list in ["podIPs", "hostIPs"] {
        assert_eq!(second["status"][list], json!([{"ip": "10.0.0.2"}]), "{list}");
    }
}
