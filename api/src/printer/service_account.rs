//! How ServiceAccounts are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;

impl Printed for ServiceAccount {
    const COLUMNS: &'static [Column] = &[NAME, Column::text("Secrets", "How many secrets Pods may use with it."), AGE];

    fn row(self, now: Timestamp) -> Row {
        let ServiceAccount { metadata, secrets, .. } = self;
        let secrets = secrets.map_or(0, |secrets| secrets.len());
        vec![cell::name(&metadata), secrets.into(), cell::age(&metadata, now)].into()
    }
}
