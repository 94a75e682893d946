//! How Events are printed. Pure.

use super::{Column, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

impl Printed for Event {
    const COLUMNS: &'static [Column] = &[
        Column::text("Last Seen", "Time since it was seen last."),
        Column::text("Type", "Normal or Warning."),
        Column::text("Reason", "Why, in one word."),
        Column::text("Object", "What it happened to."),
        Column::text("Subobject", "The part of the object, such as a container.").wide(),
        Column::text("Source", "Who reported it.").wide(),
        Column::text("Message", "What happened."),
        Column::text("First Seen", "Time since it was seen first.").wide(),
        Column::number("Count", "How often it was seen.").wide(),
        Column::text("Name", "Name of the event.").wide(),
    ];

    fn row(self, now: Timestamp) -> Row {
        let event = self;
        let first = event.first_timestamp.as_ref().map(|time| time.0).or(event.event_time.as_ref().map(|time| time.0));
        let series_last =
            event.series.as_ref().and_then(|series| series.last_observed_time.as_ref().map(|time| time.0));
        let last = series_last.or(event.last_timestamp.as_ref().map(|time| time.0)).or(first);
        let count = event.series.as_ref().and_then(|series| series.count).or(event.count).unwrap_or(0).max(1);
        let involved = &event.involved_object;
        let kind = involved.kind.as_deref().unwrap_or("").to_lowercase();
        let target = match involved.name.as_deref().unwrap_or("") {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        vec![
            cell::since(last, now).into(),
            event.type_.clone().unwrap_or_default().into(),
            event.reason.clone().unwrap_or_default().into(),
            target.into(),
            involved.field_path.clone().unwrap_or_default().into(),
            source(&event).into(),
            event.message.as_deref().unwrap_or("").trim().into(),
            cell::since(first, now).into(),
            count.into(),
            cell::name(&event.metadata),
        ]
        .into()
    }
}

/// `component, host`, from whichever of the two APIs wrote the event.
fn source(event: &Event) -> String {
    let written = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let source = event.source.as_ref();
    let component =
        source.and_then(|source| written(&source.component)).or_else(|| written(&event.reporting_component));
    let host = source.and_then(|source| written(&source.host)).or_else(|| written(&event.reporting_instance));
    [component, host].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
