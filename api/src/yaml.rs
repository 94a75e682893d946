//! Reads JSON and YAML that nobody vouches for into values, at a bounded cost. Pure, decides.
//!
//! Whatever the text is, the work is linear in its size, the stack is bounded by `DEPTH_MAX`, and the memory by
//! `NODES_MAX` and `TEXT_BYTES_MAX`: aliases that unfold without end are cut there.

mod build;

use crate::status::Status;
use build::{Build, Seen};
use serde::de::DeserializeSeed;
use serde_json::Value;

/// The bound that Kubernetes' API server sets on a body.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Lists and objects in one another. Below serde_json's own bound (128), since stored objects are read back
/// with it, wrapped in lists.
pub const DEPTH_MAX: usize = 96;
/// Values in one body; each costs some tens of bytes however short its text.
pub const NODES_MAX: usize = 500_000;
/// Objects in one body; typed, each costs about a kilobyte however empty it is.
pub const OBJECTS_MAX: usize = 50_000;
/// Text in one body, after aliases are unfolded.
pub const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Brackets open at once in YAML text. The scanner's work per token grows with it.
const YAML_BRACKETS_MAX: i64 = 500;
/// Characters that begin a token in YAML text. The scanner keeps every token until the document ends.
const YAML_TOKENS_MAX: usize = 300_000;
/// Documents in one YAML stream.
pub const DOCUMENTS_MAX: usize = 10_000;

/// What a body holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    pub value: Value,
    /// The paths of fields that stand twice in their object; the last one won, as in Kubernetes.
    pub duplicates: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

impl Format {
    /// By the media type of a body; none means JSON, and `None` that it is neither.
    pub fn of(content_type: Option<&str>) -> Option<Format> {
        let essence = content_type.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match essence.as_str() {
            "" | "application/json" | "text/json" => Some(Format::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Some(Format::Yaml),
            other if other.ends_with("+json") => Some(Format::Json),
            other if other.ends_with("+yaml") => Some(Format::Yaml),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Format::Json => "JSON",
            Format::Yaml => "YAML",
        }
    }
}

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the body is too large: {bytes} bytes, limit is {BODY_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("the body is empty")]
    Empty,
    #[error("the body is not valid UTF-8: wrong byte at offset {0}")]
    NotUtf8(usize),
    #[error("the {format} is nested too deeply: at most {DEPTH_MAX} levels are read")]
    TooDeep { format: &'static str },
    #[error(
        "the {format} unfolds to too much: at most {NODES_MAX} values, {OBJECTS_MAX} of them objects, and {TEXT_BYTES_MAX} bytes of text are read"
    )]
    TooMuch { format: &'static str },
    #[error("the YAML stream has more than {DOCUMENTS_MAX} documents")]
    TooManyDocuments,
    #[error("error parsing {format}: {message}")]
    Syntax { format: &'static str, message: String },
}

impl Error {
    /// 413 for a body that is too large as it stands, else 400.
    pub fn http_code(&self) -> u16 {
        if matches!(self, Error::TooLarge { .. }) { 413 } else { 400 }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match error {
            Error::TooLarge { .. } => Status::request_entity_too_large(BODY_BYTES_MAX),
            other => Status::bad_request(other.to_string()),
        }
    }
}

/// Reads a body that must hold exactly one value.
pub fn decode(format: Format, body: &[u8]) -> Result<Decoded, Error> {
    let text = text(body)?;
    match format {
        Format::Json => json(text),
        Format::Yaml => match documents(text)?.as_mut_slice() {
            [one] => Ok(std::mem::take(one)),
            [] => Err(Error::Empty),
            many => {
                let message = format!("expected one document, found {}", many.len());
                Err(Error::Syntax { format: "YAML", message })
            }
        },
    }
}

/// Reads every document of a YAML stream (JSON is YAML too); empty ones are left out.
pub fn documents(text: &str) -> Result<Vec<Decoded>, Error> {
    if text.len() > BODY_BYTES_MAX {
        return Err(Error::TooLarge { bytes: text.len() });
    }
    scannable(text)?;
    let mut documents = Vec::new();
    let mut seen = Seen::default();
    for (index, deserializer) in serde_yaml::Deserializer::from_str(text).enumerate() {
        if index == DOCUMENTS_MAX {
            return Err(Error::TooManyDocuments);
        }
        let read = Build::root(&mut seen).deserialize(deserializer);
        let value = read.map_err(|error| fault(Format::Yaml, &seen, error.to_string()))?;
        let duplicates = std::mem::take(&mut seen.duplicates);
        if !value.is_null() {
            documents.push(Decoded { value, duplicates });
        }
    }
    Ok(documents)
}

fn json(text: &str) -> Result<Decoded, Error> {
    let mut seen = Seen::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Build::root(&mut seen).deserialize(&mut deserializer);
    let value = read.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| {
        let near = excerpt(text, error.line(), error.column());
        fault(Format::Json, &seen, format!("{error}{near}"))
    })?;
    Ok(Decoded { value, duplicates: seen.duplicates })
}

pub(crate) fn text(body: &[u8]) -> Result<&str, Error> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Error::TooLarge { bytes: body.len() });
    }
    let text = std::str::from_utf8(body).map_err(|error| Error::NotUtf8(error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() { Err(Error::Empty) } else { Ok(text) }
}

/// Refuses text on which the YAML scanner would spend too much time or memory before anybody sees a value.
/// Counts in text and comments too, which only makes it stricter.
fn scannable(text: &str) -> Result<(), Error> {
    let (mut open, mut tokens) = (0i64, 0);
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'[' | b'{' => {
                open += 1;
                tokens += 1;
            }
            b']' | b'}' => open = (open - 1).max(0),
            b'\n' | b',' => tokens += 1,
            b':' | b'-' | b'?' if matches!(bytes.get(at + 1), Some(b' ' | b'\t' | b'\n') | None) => tokens += 1,
            _ => {}
        }
        if open > YAML_BRACKETS_MAX {
            return Err(Error::TooDeep { format: "YAML" });
        }
        if tokens > YAML_TOKENS_MAX {
            return Err(Error::TooMuch { format: "YAML" });
        }
    }
    Ok(())
}

fn fault(format: Format, seen: &Seen, message: String) -> Error {
    let name = format.name();
    if seen.too_deep || message.contains("recursion limit exceeded") {
        return Error::TooDeep { format: name };
    }
    if seen.too_much || message.contains("repetition limit exceeded") {
        return Error::TooMuch { format: name };
    }
    Error::Syntax { format: name, message }
}

/// The end of what was read before the fault, so that a person finds the place.
pub(crate) fn excerpt(text: &str, line: usize, column: usize) -> String {
    let Some(line) = text.lines().nth(line.saturating_sub(1)) else { return String::new() };
    let mut end = column.min(line.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let near: String = line[..end].chars().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect();
    if near.trim().is_empty() { String::new() } else { format!(", after {:?}", near.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn yaml(text: &str) -> Value {
        decode(Format::Yaml, text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")).value
    }

    #[test]
    fn reads_what_kubernetes_reads() {
        assert_eq!(yaml("a: 1\nb: [x, true, null, 1.5]\n"), json!({"a": 1, "b": ["x", true, null, 1.5]}));
        assert_eq!(yaml("1: x\ntrue: y\n"), json!({"1": "x", "true": "y"}));
        assert_eq!(yaml("base: &b {x: 1, y: 2}\nc:\n  <<: *b\n  y: 3\n")["c"], json!({"x": 1, "y": 3}));
        assert_eq!(yaml("a: |\n  [[[[\n  b\n"), json!({"a": "[[[[\nb\n"}));
        assert_eq!(yaml("---\n# nothing\n---\na: b\n---\n"), json!({"a": "b"}));
        let many = documents("a: 1\n---\n---\nb: 2\n").unwrap();
        assert_eq!(many.into_iter().map(|one| one.value).collect::<Vec<_>>(), [json!({"a": 1}), json!({"b": 2})]);
        let read = decode(Format::Json, br#"{"a":{"b":[1,-2,3e2,18446744073709551615]}}"#).unwrap();
        assert_eq!(read.value, json!({"a": {"b": [1, -2, 300.0, u64::MAX]}}));
    }

    #[test]
    fn notices_duplicates_wherever_they_are() {
        let text = r#"{"a":1,"a":2,"b":[{"c":1,"c":2,"c":3}],"d":{"x.y/z":1,"x.y/z":1}}"#;
        let read = decode(Format::Json, text.as_bytes()).unwrap();
        assert_eq!(read.duplicates, ["a", "b[0].c", "d.x.y/z"]);
        assert_eq!(read.value["a"], 2);
        let read = decode(Format::Yaml, b"spec:\n  replicas: 1\n  replicas: 2\n").unwrap();
        assert_eq!(read.duplicates, ["spec.replicas"]);
    }

    #[test]
    fn says_where_the_mistake_is() {
        for (format, text, words) in [
            (Format::Json, "{\"a\": 1,}", "trailing comma at line 1 column 9"),
            (Format::Json, "{\n \"a\" 1}", "line 2 column 6, after \"\\\"a\\\" 1\""),
            (Format::Json, "{\"a\":", "EOF while parsing"),
            (Format::Json, "{} x", "trailing characters at line 1 column 4"),
            (Format::Json, "[1e999]", "number out of range"),
            (Format::Yaml, "a: [1, 2\nb: 3\n", "line 2 column 2"),
            (Format::Yaml, "a:\n\t- b\n", "line 2"),
            (Format::Yaml, "a: *nope\n", "unknown anchor"),
            (Format::Yaml, "a: !thing x\n", "tag"),
            (Format::Yaml, "a: .nan\n", "not a number"),
            (Format::Yaml, "? [a, b]\n: c\n", "key"),
            (Format::Yaml, "a: 1\n---\nb: 2\n", "found 2"),
        ] {
            let error = decode(format, text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        assert_eq!(decode(Format::Json, b" \n"), Err(Error::Empty));
        assert_eq!(decode(Format::Yaml, b"# only this\n"), Err(Error::Empty));
        assert_eq!(decode(Format::Json, b"{\"a\":\"\xff\"}"), Err(Error::NotUtf8(6)));
    }

    /// Half of the stack that any of our threads has, without optimization.
    #[test]
    fn hostile_text_costs_little() {
        let work = || {
            let deep = |format, text: String| match decode(format, text.as_bytes()) {
                Err(Error::TooDeep { .. } | Error::TooMuch { .. } | Error::Syntax { .. }) => {}
                other => panic!("{:?}", other.map(|read| read.value.to_string().len())),
            };
            let times = BODY_BYTES_MAX / 8;
            deep(Format::Json, "[".repeat(times));
            deep(Format::Json, "{\"a\":".repeat(times));
            deep(Format::Json, format!("[{}0]", "0,".repeat(NODES_MAX)));
            deep(Format::Yaml, "[".repeat(times));
            deep(Format::Yaml, "{a: ".repeat(times / 2));
            deep(Format::Yaml, "- ".repeat(20_000));
            deep(Format::Yaml, (0..1_500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect());
            let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
            for level in 1..12 {
                let last = level - 1;
                bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{last}"); 10].join(", "));
            }
            deep(Format::Yaml, bomb);
            let merges: String =
                (1..60).map(|n| format!("a{n}: &a{n} {{<<: [*a{0}, *a{0}], k{n}: 1}}\n", n - 1)).collect();
            deep(Format::Yaml, format!("a0: &a0 {{k: 1}}\n{merges}"));
            deep(Format::Json, format!("[{}{{}}]", "{},".repeat(OBJECTS_MAX)));
            let long = "x".repeat(100_000);
            deep(Format::Yaml, format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 1000].join(", ")));
        };
        std::thread::Builder::new().stack_size(1024 * 1024).spawn(work).unwrap().join().unwrap();
    }

    #[test]
    fn the_deepest_allowed_can_be_read_back() {
        let text = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        let value = decode(Format::Json, text.as_bytes()).unwrap().value;
        let again: Value = serde_json::from_str(&value.to_string()).unwrap();
        assert_eq!(again, value);
        let deeper = format!("[{text}]");
        assert_eq!(decode(Format::Json, deeper.as_bytes()), Err(Error::TooDeep { format: "JSON" }));
    }
}
