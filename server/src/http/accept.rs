//! What shape of answer a client accepts, from its Accept header. Pure.

use api::status::Status;
use http::HeaderMap;
use http::header::ACCEPT;

/// A shape of objects and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Json,
    Yaml,
    /// meta.k8s.io/v1 Table.
    Table,
    /// meta.k8s.io/v1 PartialObjectMetadata, and its list.
    Metadata,
}

const SERVED: [&str; 2] = ["application/json", "application/yaml"];
/// Longer headers are cut: what stands first counts first.
const CHOICES_MAX: usize = 16;

/// One choice of an Accept header.
pub struct Choice<'a> {
    pub media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Choice<'a> {
    /// "" where it is absent.
    pub fn parameter(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    fn read(text: &'a str) -> Choice<'a> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters = parts.filter_map(|part| part.split_once('=')).map(|(key, value)| (key.trim(), value.trim()));
        Choice { media_type, parameters: parameters.collect() }
    }

    fn is_json(&self) -> bool {
        matches!(self.media_type, "application/json" | "application/*" | "*/*" | "")
    }
}

/// The choices in the client's order, those of lower quality last.
pub fn choices(headers: &HeaderMap) -> Vec<Choice<'_>> {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut choices: Vec<Choice<'_>> =
        texts.flat_map(|text| text.split(',')).take(CHOICES_MAX).map(|text| Choice::read(text.trim())).collect();
    choices.sort_by_key(|choice| {
        let quality: f32 = choice.parameter("q").parse().unwrap_or(1.0);
        (-quality.clamp(0.0, 1.0) * 1000.0) as i32
    });
    choices
}

/// The first choice that is served; JSON for clients that do not say. 406 when there is none.
pub fn shape(headers: &HeaderMap) -> Result<Shape, Status> {
    let choices = choices(headers);
    if choices.is_empty() {
        return Ok(Shape::Json);
    }
    choices.iter().find_map(served).ok_or_else(|| Status::not_acceptable(&SERVED))
}

fn served(choice: &Choice<'_>) -> Option<Shape> {
    let is_yaml = matches!(choice.media_type, "application/yaml" | "application/x-yaml" | "text/yaml");
    match choice.parameter("as") {
        "" if choice.is_json() => Some(Shape::Json),
        "" if is_yaml => Some(Shape::Yaml),
        kind if choice.is_json() && choice.parameter("g") == "meta.k8s.io" && choice.parameter("v") == "v1" => {
            match kind {
                "Table" => Some(Shape::Table),
                "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Metadata),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_choice_that_is_served_wins() {
        for (accept, expected) in [
            ("", Some(Shape::Json)),
            ("*/*", Some(Shape::Json)),
            ("application/json", Some(Shape::Json)),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Some(Shape::Table),
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, application/json",
                Some(Shape::Metadata),
            ),
            ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Some(Shape::Json)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(Shape::Json)),
            ("application/json;q=0.5,application/yaml", Some(Shape::Yaml)),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", None),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(shape(&headers).ok(), expected, "{accept}");
        }
    }
}
