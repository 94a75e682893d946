//! OpenAPI 2.0 documents in protobuf: gnostic's `openapi.v2.Document`, the only form of v2 that kubectl reads.
//! Covers what `v2` writes. Pure.

use serde_json::{Map, Value};

/// Encodes a document of `v2`.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(2, &document["info"]["version"]);
    });
    out.message(8, |paths| each(&document["paths"], |path, item| paths.named(2, path, |out| path_item(out, item))));
    out.message(9, |definitions| {
        each(&document["definitions"], |name, of| definitions.named(1, name, |out| schema(out, of)));
    });
    out.bytes
}

/// A protobuf message being written; fields that are absent in the JSON are absent here.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

/// Of wire types, only these two are needed.
const VARINT: u64 = 0;
const DELIMITED: u64 = 2;

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn delimited(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | DELIMITED);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str() {
            self.delimited(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u64, values: &Value) {
        values.as_array().into_iter().flatten().for_each(|value| self.text(field, value));
    }

    fn flag(&mut self, field: u64, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(field << 3 | VARINT);
            self.varint(1);
        }
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.delimited(field, &inner.bytes);
    }

    /// One entry of a map: a message of a name (1) and a value (2).
    fn named(&mut self, field: u64, name: &str, write: impl FnOnce(&mut Message)) {
        self.message(field, |entry| {
            entry.delimited(1, name.as_bytes());
            entry.message(2, write);
        });
    }

    /// The fields that begin with `x-`, as YAML text, which JSON is.
    fn extensions(&mut self, field: u64, of: &Value) {
        each(of, |name, value| {
            if name.starts_with("x-") {
                self.named(field, name, |any| any.delimited(2, value.to_string().as_bytes()));
            }
        });
    }
}

fn each(object: &Value, mut visit: impl FnMut(&str, &Value)) {
    let fields: Option<&Map<String, Value>> = object.as_object();
    fields.into_iter().flatten().for_each(|(name, value)| visit(name, value));
}

fn schema(out: &mut Message, of: &Value) {
    out.text(1, &of["$ref"]);
    out.text(2, &of["format"]);
    out.text(4, &of["description"]);
    out.texts(19, &of["required"]);
    if of["additionalProperties"].is_object() {
        out.message(21, |item| item.message(1, |values| schema(values, &of["additionalProperties"])));
    }
    if of["type"].is_string() {
        out.message(22, |item| item.text(1, &of["type"]));
    }
    if of["items"].is_object() {
        out.message(23, |item| item.message(1, |items| schema(items, &of["items"])));
    }
    if of["properties"].is_object() {
        out.message(25, |properties| {
            each(&of["properties"], |name, of| properties.named(1, name, |out| schema(out, of)));
        });
    }
    out.extensions(31, of);
}

fn path_item(out: &mut Message, item: &Value) {
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(field, |out| operation(out, &item[method]));
        }
    }
    parameters(out, 9, &item["parameters"]);
    out.extensions(10, item);
}

fn operation(out: &mut Message, of: &Value) {
    out.texts(1, &of["tags"]);
    out.text(3, &of["description"]);
    out.text(5, &of["operationId"]);
    out.texts(6, &of["produces"]);
    out.texts(7, &of["consumes"]);
    parameters(out, 8, &of["parameters"]);
    out.message(9, |responses| {
        each(&of["responses"], |code, of| {
            responses.named(1, code, |value| value.message(1, |out| response(out, of)));
        });
    });
    out.extensions(13, of);
}

fn response(out: &mut Message, of: &Value) {
    out.text(1, &of["description"]);
    if of["schema"].is_object() {
        out.message(2, |item| item.message(1, |out| schema(out, &of["schema"])));
    }
}

fn parameters(out: &mut Message, field: u64, of: &Value) {
    for parameter in of.as_array().into_iter().flatten() {
        out.message(field, |item| item.message(1, |either| self::parameter(either, parameter)));
    }
}

/// A parameter is one of several messages, which number their fields differently.
fn parameter(out: &mut Message, of: &Value) {
    match of["in"].as_str() {
        Some("body") => out.message(1, |body| {
            body.text(1, &of["description"]);
            body.text(2, &of["name"]);
            body.text(3, &of["in"]);
            body.flag(4, &of["required"]);
            body.message(5, |out| schema(out, &of["schema"]));
        }),
        Some("path") => out.message(2, |other| {
            other.message(4, |path| {
                plain(path, of);
                path.text(5, &of["type"]);
                path.flag(18, &of["uniqueItems"]);
            });
        }),
        _ => out.message(2, |other| {
            other.message(3, |query| {
                plain(query, of);
                query.text(6, &of["type"]);
                query.flag(20, &of["uniqueItems"]);
            });
        }),
    }
}

fn plain(out: &mut Message, of: &Value) {
    out.flag(1, &of["required"]);
    out.text(2, &of["in"]);
    out.text(3, &of["description"]);
    out.text(4, &of["name"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_as_protobuf_has_them() {
        let mut out = Message::default();
        out.varint(300);
        assert_eq!(out.bytes, [0xac, 0x02]);
        let encoded = encode(&json!({"swagger": "2.0", "info": {"title": "t", "version": "v"}, "paths": {},
            "definitions": {"D": {"type": "object", "x-a": [1]}}}));
        let expected = [
            &[0x0a, 3][..],
            b"2.0",
            &[0x12, 6, 0x0a, 1],
            b"t",
            &[0x12, 1],
            b"v",
            &[0x42, 0],
            // definitions: one entry, its name and its schema
            &[0x4a, 33, 0x0a, 31, 0x0a, 1],
            b"D",
            &[0x12, 26],
            // type (22): a list of one
            &[0xb2, 0x01, 8, 0x0a, 6],
            b"object",
            // vendor_extension (31): one entry, its name and its YAML
            &[0xfa, 0x01, 12, 0x0a, 3],
            b"x-a",
            &[0x12, 5, 0x12, 3],
            b"[1]",
        ];
        assert_eq!(encoded, expected.concat());
    }
}
