//! What every cluster holds from its first day: the initial namespaces and the Service `kubernetes`. Acts, on the
//! leader; it writes only what is missing.

use std::time::Duration;

use api::kinds;
use api::status::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::auth::Identity;
use crate::objects::Objects;
use crate::objects::request::{Body, Create, FieldValidation, Target, WriteOptions};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
/// Where the Service `kubernetes` is reached inside the cluster.
const KUBERNETES_IP: &str = "10.96.0.1";
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes what is missing; tries again until it is done or `cancel`.
pub async fn run(objects: Objects, cancel: CancellationToken) {
    loop {
        let Err(error) = make(&objects).await else { return };
        tracing::warn!(%error, "the initial objects could not be made yet");
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RETRY_AFTER) => {}
        }
    }
}

async fn make(objects: &Objects) -> Result<(), Status> {
    for name in NAMESPACES {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        create(objects, "namespaces", "", namespace).await?;
    }
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": KUBERNETES_IP,
            "ports": [{"name": "https", "port": 443, "targetPort": 6443}],
        },
    });
    create(objects, "services", "default", service).await
}

async fn create(objects: &Objects, resource: &str, namespace: &str, object: Value) -> Result<(), Status> {
    let kind = kinds::find("", "v1", resource).expect("the table has the initial objects' kinds");
    let request = Create {
        target: Target::collection(kind, namespace),
        body: Body::json(object.to_string().into_bytes()),
        options: WriteOptions { field_validation: FieldValidation::Strict, ..Default::default() },
        user: Identity::system("bootstrap"),
    };
    match objects.create(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.reason == "AlreadyExists" => Ok(()),
        Err(status) => Err(status),
    }
}
