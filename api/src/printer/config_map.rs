//! How ConfigMaps are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

impl Printed for ConfigMap {
    const COLUMNS: &'static [Column] = &[NAME, Column::text("Data", "How many entries it holds."), AGE];

    fn row(self, now: Timestamp) -> Row {
        let ConfigMap { metadata, data, binary_data, .. } = self;
        let entries = data.map_or(0, |data| data.len()) + binary_data.map_or(0, |data| data.len());
        vec![cell::name(&metadata), entries.into(), cell::age(&metadata, now)].into()
    }
}
