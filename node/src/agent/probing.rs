//! Keeps exactly the wanted probes running. Acts.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::news::News;
use crate::pod::{spec_of, uid};
use crate::probe::{self, Subject};
use crate::runtime::Runtime;
use crate::sync::ProbeWant;

pub fn adjust(
    entry: &mut Entry,
    wanted: Vec<ProbeWant>,
    ip: Option<std::net::IpAddr>,
    runtime: &Arc<dyn Runtime>,
    news: &mpsc::Sender<News>,
    offset: impl Fn() -> Duration,
) {
    entry.probes.retain(|(id, kind), stop| {
        let keep = wanted.iter().any(|want| want.id == *id && want.kind == *kind);
        if !keep {
            stop.cancel();
        }
        keep
    });
    for want in wanted {
        let key = (want.id.clone(), want.kind);
        if entry.probes.contains_key(&key) {
            continue;
        }
        let stop = CancellationToken::new();
        entry.probes.insert(key, stop.clone());
        let definition = Arc::new(definition(&entry.pod, &want.container));
        let subject = Subject { id: want.id.clone(), ip, definition };
        let (runtime, news, offset) = (runtime.clone(), news.clone(), offset());
        let pod_uid = uid(&entry.pod).to_owned();
        let (container, id, kind) = (want.container.clone(), want.id.clone(), want.kind);
        let tell = move |verdict| -> BoxFuture<'static, ()> {
            let news = news.clone();
            let (uid, container, id) = (pod_uid.clone(), container.clone(), id.clone());
            Box::pin(async move {
                let _ = news.send(News::Probed { uid, container, id, kind, verdict }).await;
            })
        };
        tokio::spawn(probe::run(runtime, subject, kind, want.probe, offset, stop, tell));
    }
}

pub fn definition(pod: &Pod, name: &str) -> Container {
    let spec = spec_of(pod);
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|container| container.name == name).cloned().unwrap_or_default()
}
