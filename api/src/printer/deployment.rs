//! How Deployments are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;

impl Printed for Deployment {
    const COLUMNS: &'static [Column] = &[
        NAME,
        Column::text("Ready", "How many Pods are ready, of how many that are wanted."),
        Column::number("Up-to-date", "How many Pods have the newest template."),
        Column::number("Available", "How many Pods have been ready for long enough."),
        AGE,
        Column::text("Containers", "Names of the containers in the template.").wide(),
        Column::text("Images", "Images of the containers in the template.").wide(),
        Column::text("Selector", "Which Pods belong to it.").wide(),
    ];

    fn row(self, now: Timestamp) -> Row {
        let Deployment { metadata, spec, status, .. } = self;
        let status = status.unwrap_or_default();
        let ready = format!("{}/{}", status.ready_replicas.unwrap_or(0), spec.replicas.unwrap_or(1));
        let [containers, images] = cell::containers(Some(&spec.template));
        vec![
            cell::name(&metadata),
            ready.into(),
            status.updated_replicas.unwrap_or(0).into(),
            status.available_replicas.unwrap_or(0).into(),
            cell::age(&metadata, now),
            containers,
            images,
            cell::selector(&spec.selector),
        ]
        .into()
    }
}
