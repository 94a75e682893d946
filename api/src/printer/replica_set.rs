//! How ReplicaSets are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;

impl Printed for ReplicaSet {
    const COLUMNS: &'static [Column] = &[
        NAME,
        Column::number("Desired", "How many Pods are wanted."),
        Column::number("Current", "How many Pods there are."),
        Column::number("Ready", "How many Pods are ready."),
        AGE,
        Column::text("Containers", "Names of the containers in the template.").wide(),
        Column::text("Images", "Images of the containers in the template.").wide(),
        Column::text("Selector", "Which Pods belong to it.").wide(),
    ];

    fn row(self, now: Timestamp) -> Row {
        let ReplicaSet { metadata, spec, status, .. } = self;
        let status = status.unwrap_or_default();
        let [containers, images] = cell::containers(spec.template.as_ref());
        vec![
            cell::name(&metadata),
            spec.replicas.unwrap_or(1).into(),
            status.replicas.into(),
            status.ready_replicas.unwrap_or(0).into(),
            cell::age(&metadata, now),
            containers,
            images,
            cell::selector(&spec.selector),
        ]
        .into()
    }
}
