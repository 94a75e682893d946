//! Field validation: fields that the API does not have, and fields that stand twice. Pure, decides.
//!
//! One pass over the bytes, without building a value: it is on the way of every write.

mod hint;
mod walk;

use crate::schema::{Type, types};
use crate::status::Status;
use crate::yaml::{self, Format};
use serde::de::DeserializeSeed;
use serde_json::Value;
use walk::{Frame, Walk};

/// What a client asked for with `?fieldValidation=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Directive {
    Ignore,
    /// Kubernetes' default since 1.27.
    #[default]
    Warn,
    Strict,
}

impl Directive {
    pub fn parse(parameter: Option<&str>) -> Result<Directive, Status> {
        match parameter {
            None | Some("") => Ok(Directive::default()),
            Some("Ignore") => Ok(Directive::Ignore),
            Some("Warn") => Ok(Directive::Warn),
            Some("Strict") => Ok(Directive::Strict),
            Some(other) => Err(Status::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// What was found, each as Kubernetes words it: `unknown field "spec.foo"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    pub faults: Vec<String>,
}

/// More faults than a person reads; also bounds what a hostile body can make us write.
const FAULTS_MAX: usize = 64;

impl Findings {
    /// The warnings to answer with, or the refusal. `kind` and `version` are those of the object.
    pub fn judge(self, directive: Directive, version: &str, kind: &str) -> Result<Vec<String>, Status> {
        match directive {
            Directive::Ignore => Ok(Vec::new()),
            Directive::Warn => Ok(self.faults),
            Directive::Strict if self.faults.is_empty() => Ok(Vec::new()),
            Directive::Strict => Err(Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                self.faults.join(", ")
            ))),
        }
    }

    /// Adds what only the text of the body showed (`yaml::Decoded::duplicates`, `patch::Patch::duplicates`).
    pub fn with_duplicates(mut self, paths: &[String]) -> Findings {
        paths.iter().for_each(|path| self.add(format!("duplicate field {path:?}")));
        self
    }

    fn add(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// Checks a JSON body, and that it costs no more than `yaml` allows. Kinds that are not known are searched for
/// duplicates only. What is not JSON at all is refused here as well.
pub fn check_json(group: &str, version: &str, kind: &str, body: &[u8]) -> Result<Findings, yaml::Error> {
    let text = yaml::text(body)?;
    let mut walk = Walk::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let checked = root(group, version, kind, &mut walk).deserialize(&mut deserializer);
    match checked.and_then(|()| deserializer.end()) {
        Ok(()) => Ok(walk.findings),
        Err(_) if walk.too_deep => Err(yaml::Error::TooDeep { format: "JSON" }),
        Err(_) if walk.too_much => Err(yaml::Error::TooMuch { format: "JSON" }),
        // The decoder for untrusted text words it better.
        Err(error) => Err(yaml::decode(Format::Json, body)
            .err()
            .unwrap_or_else(|| yaml::Error::Syntax { format: "JSON", message: error.to_string() })),
    }
}

/// Checks a value, such as the outcome of a patch.
pub fn check_value(group: &str, version: &str, kind: &str, value: &Value) -> Findings {
    let mut walk = Walk::default();
    // Fails only past the bounds, which values that were read by `yaml` keep.
    let _ = root(group, version, kind, &mut walk).deserialize(value);
    walk.findings
}

fn root<'a>(group: &str, version: &str, kind: &str, walk: &'a mut Walk) -> Frame<'a> {
    let of: Option<&'static Type> = types().root(group, version, kind);
    Frame::root(walk, of)
}

/// The value of a `Warning` header (RFC 7234, section 5.5), as clients of Kubernetes read it.
pub fn warning_header(text: &str) -> String {
    let plain: String = text.chars().filter(|character| !character.is_control()).collect();
    format!("299 - \"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests;
