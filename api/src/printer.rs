//! Server-side tables: what `kubectl get` shows of each kind (meta.k8s.io/v1 Table). Pure, decides.
//!
//! One file per kind, with its columns and cells; the table of kinds asks for it.

mod cell;
mod config_map;
mod deployment;
mod duration;
mod endpoint_slice;
mod endpoints;
mod event;
mod lease;
mod namespace;
mod node;
mod pod;
mod replica_set;
mod secret;
mod service;
mod service_account;
mod table;

pub use duration::human_duration;
pub use table::{Include, ListMeta, begin_table, table, write_row};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One column. Those with a priority above 0 are shown by `-o wide`.
pub struct Column {
    name: &'static str,
    /// OpenAPI's type: "string" or "integer".
    of: &'static str,
    priority: u8,
    description: &'static str,
}

impl Column {
    const fn new(name: &'static str, of: &'static str, description: &'static str) -> Column {
        Column { name, of, priority: 0, description }
    }

    const fn text(name: &'static str, description: &'static str) -> Column {
        Column::new(name, "string", description)
    }

    const fn number(name: &'static str, description: &'static str) -> Column {
        Column::new(name, "integer", description)
    }

    const fn wide(self) -> Column {
        Column { priority: 1, ..self }
    }
}

const NAME: Column = Column::text("Name", "Name of the object, unique in its namespace.");
const AGE: Column = Column::text("Age", "Time since the object was created.");

/// One row of a table before it is written.
pub(crate) struct Row {
    cells: Vec<Value>,
    /// Why the object is done, for clients that dim such rows: reason and message.
    completed: Option<(&'static str, &'static str)>,
}

impl From<Vec<Value>> for Row {
    fn from(cells: Vec<Value>) -> Row {
        Row { cells, completed: None }
    }
}

/// How objects of a kind are printed. Every kind of the table implements it.
pub(crate) trait Printed: DeserializeOwned {
    const COLUMNS: &'static [Column];

    /// One cell per column.
    fn row(self, now: Timestamp) -> Row;
}

/// How a kind is printed, from an object's JSON.
pub struct Printer {
    columns: &'static [Column],
    /// Fails only if that is no object of the kind.
    row: fn(&[u8], Timestamp) -> serde_json::Result<Row>,
}

impl Printer {
    pub(crate) const fn of<T: Printed>() -> Printer {
        Printer { columns: T::COLUMNS, row: |stored, now| Ok(serde_json::from_slice::<T>(stored)?.row(now)) }
    }
}

#[cfg(test)]
mod tests;
