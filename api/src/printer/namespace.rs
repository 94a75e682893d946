//! How Namespaces are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;

impl Printed for Namespace {
    const COLUMNS: &'static [Column] = &[NAME, Column::text("Status", "Active, or Terminating."), AGE];

    fn row(self, now: Timestamp) -> Row {
        let Namespace { metadata, status, .. } = self;
        let phase = status.and_then(|status| status.phase).unwrap_or_default();
        vec![cell::name(&metadata), phase.into(), cell::age(&metadata, now)].into()
    }
}
