//! The namespace that a round has for itself. Acts.

use client::{Api, Client};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use raft::Revision;

use super::watchers;
use crate::users::clients;

/// Makes it, through any of the replicas of `config`. Returns from which revision on it is to be watched.
pub async fn make(config: &client::Config, name: &str) -> Result<Revision, String> {
    let client = Client::connect(config.clone()).map_err(|error| error.to_string())?;
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let object = Namespace { metadata, ..Namespace::default() };
    match client.cluster::<Namespace>().create(&object).await {
        Err(error) if !error.is_conflict() => return Err(format!("the namespace {name}: {error}")),
        _ => {}
    }
    let first = watchers::connect(config, config.addresses[0].clone()).map_err(|error| error.to_string());
    watchers::present(&mut first?, name).await
}

/// Writes through every replica. Returns the newest revision that was made.
pub async fn last_writes(clients: &[Client], name: &str) -> Result<Revision, String> {
    let mut newest = 0;
    for (client, id) in clients.iter().zip(1..) {
        let api: Api<ConfigMap> = client.namespaced(name);
        let metadata = ObjectMeta { name: Some(format!("last-{id}")), ..ObjectMeta::default() };
        let made = api.create(&ConfigMap { metadata, ..ConfigMap::default() }).await;
        let made = made.map_err(|error| format!("no last write through replica {id}: {error}"))?;
        newest = newest.max(clients::revision(&made).unwrap_or_default());
    }
    Ok(newest)
}

pub async fn delete(client: &Client, name: &str) -> Result<(), String> {
    let gone = client.cluster::<Namespace>().delete(name, &Default::default()).await;
    gone.map(|_| ()).map_err(|error| format!("to delete the namespace {name}: {error}"))
}
