//! How Leases are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

impl Printed for Lease {
    const COLUMNS: &'static [Column] = &[NAME, Column::text("Holder", "Who holds the lease."), AGE];

    fn row(self, now: Timestamp) -> Row {
        let Lease { metadata, spec, .. } = self;
        let holder = spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        vec![cell::name(&metadata), holder.into(), cell::age(&metadata, now)].into()
    }
}
