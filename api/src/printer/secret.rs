//! How Secrets are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

impl Printed for Secret {
    const COLUMNS: &'static [Column] = &[
        NAME,
        Column::text("Type", "What the secret is for."),
        Column::text("Data", "How many entries it holds."),
        AGE,
    ];

    fn row(self, now: Timestamp) -> Row {
        let Secret { metadata, data, type_, .. } = self;
        let entries = data.map_or(0, |data| data.len());
        let of = type_.unwrap_or_default();
        vec![cell::name(&metadata), of.into(), entries.into(), cell::age(&metadata, now)].into()
    }
}
