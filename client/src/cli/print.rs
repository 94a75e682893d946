//! How objects are shown: as tables with Kubernetes' columns, as YAML, as JSON.

use api::kinds::Kind;
use api::printer::{self, Include, ListMeta};
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Context, Failure, resource};

/// How a table is drawn.
pub struct Style {
    pub wide: bool,
    pub namespaces: bool,
    pub labels: bool,
    /// `deployment.apps/web` instead of `web`.
    pub full_names: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    column_definitions: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    priority: u8,
}

#[derive(Deserialize)]
struct Row {
    cells: Vec<Value>,
}

/// The table that a server would send to kubectl, drawn.
pub fn table(kind: &Kind, objects: &[Value], style: &Style, context: &Context) -> Result<(), Failure> {
    let now = Timestamp::from_millisecond(context.client.config().env.clock.now_ms() as i64);
    let now = now.map_err(|error| Failure::new(error.to_string()))?;
    let encoded: Vec<Vec<u8>> = objects.iter().map(|object| object.to_string().into_bytes()).collect();
    let stored = encoded.iter().map(|object| (object.as_slice(), 0));
    let json = printer::table(&kind.printer, stored, &ListMeta::default(), Include::None, now)?;
    let printed: Printed = serde_json::from_slice(&json)?;
    let shown: Vec<usize> = (0..printed.column_definitions.len())
        .filter(|index| style.wide || printed.column_definitions[*index].priority == 0)
        .collect();

    let mut head: Vec<String> = Vec::new();
    if style.namespaces {
        head.push("NAMESPACE".into());
    }
    head.extend(shown.iter().map(|index| printed.column_definitions[*index].name.to_uppercase()));
    if style.labels {
        head.push("LABELS".into());
    }
    let mut drawn = plain(head);
    for (object, row) in objects.iter().zip(&printed.rows) {
        let mut cells = Vec::new();
        if style.namespaces {
            cells.push(text(object, "/metadata/namespace").to_owned());
        }
        cells.extend(shown.iter().map(|index| cell(&row.cells[*index])));
        if style.full_names {
            cells[usize::from(style.namespaces)] = resource::full_name(kind, name(object));
        }
        if style.labels {
            cells.push(labels(object));
        }
        drawn.add_row(cells);
    }
    say!("{}", drawn.trim_fmt());
    Ok(())
}

/// A table without lines, columns two blanks apart.
pub fn plain<T: Into<comfy_table::Row>>(head: T) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn labels(object: &Value) -> String {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

pub fn value(object: proto::api::Object) -> Result<Value, Failure> {
    Ok(serde_json::from_slice(&object.json)?)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub fn document(format: &str, object: Value) -> Result<(), Failure> {
    if format == "json" {
        say!("{object:#}");
    } else {
        let text = serde_yaml::to_string(&object).map_err(|error| Failure::new(error.to_string()))?;
        say!("{}", text.strip_suffix('\n').unwrap_or(&text));
    }
    Ok(())
}
