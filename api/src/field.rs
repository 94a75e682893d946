//! What is wrong with one field of an object, worded as Kubernetes words it. Pure.

use std::fmt;

use serde_json::Value;

/// Where in an object: a list on the stack, so that a correct object costs no allocation.
#[derive(Clone, Copy)]
pub enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
    Key(&'a Path<'a>, &'a str),
}

impl<'a> Path<'a> {
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }

    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }

    /// An entry of a map: `limits[memory]`.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Path::Key(parent, key) => write!(f, "{parent}[{key}]"),
        }
    }
}

/// The classes of faults, with the names that clients see in `details.causes[].reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    Forbidden,
    TooLong,
    TooMany,
    NotFound,
}

impl Fault {
    pub fn reason(self) -> &'static str {
        match self {
            Fault::Required => "FieldValueRequired",
            Fault::Invalid => "FieldValueInvalid",
            Fault::NotSupported => "FieldValueNotSupported",
            Fault::Duplicate => "FieldValueDuplicate",
            Fault::Forbidden => "FieldValueForbidden",
            Fault::TooLong => "FieldValueTooLong",
            Fault::TooMany => "FieldValueTooMany",
            Fault::NotFound => "FieldValueNotFound",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Fault::Required => "Required value",
            Fault::Invalid => "Invalid value",
            Fault::NotSupported => "Unsupported value",
            Fault::Duplicate => "Duplicate value",
            Fault::Forbidden => "Forbidden",
            Fault::TooLong => "Too long",
            Fault::TooMany => "Too many",
            Fault::NotFound => "Not found",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// `spec.containers[0].image`
    pub field: String,
    pub fault: Fault,
    /// What was there; not shown for faults that speak for themselves (Required, Forbidden, TooLong).
    pub value: Value,
    pub detail: String,
}

/// A value quoted in a message is cut here, so that an answer never carries a megabyte back.
const QUOTED_VALUE_BYTES_MAX: usize = 1024;

impl FieldError {
    /// The message without the field: `Invalid value: "x": must be …`.
    pub fn body(&self) -> String {
        let mut text = String::from(self.fault.title());
        if matches!(
            self.fault,
            Fault::Invalid | Fault::NotSupported | Fault::Duplicate | Fault::NotFound | Fault::TooMany
        ) {
            text.push_str(": ");
            text.push_str(&shortened(self.value.to_string()));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > QUOTED_VALUE_BYTES_MAX {
        let end = (0..=QUOTED_VALUE_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.body())
    }
}

/// Collects the faults of one object, so that a person sees all of them at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldErrors {
    pub list: Vec<FieldError>,
}

/// More faults than a person reads; also bounds what a hostile object can make us write.
const FAULTS_MAX: usize = 64;

impl FieldErrors {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn add(&mut self, path: &Path, fault: Fault, value: impl Into<Value>, detail: impl Into<String>) {
        if self.list.len() < FAULTS_MAX {
            let (value, detail) = (value.into(), detail.into());
            self.list.push(FieldError { field: path.to_string(), fault, value, detail });
        }
    }

    pub fn required(&mut self, path: &Path, detail: &str) {
        self.add(path, Fault::Required, Value::Null, detail);
    }

    pub fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.add(path, Fault::Invalid, value, detail);
    }

    pub fn not_supported(&mut self, path: &Path, value: &str, supported: &[&str]) {
        let mut listed: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        listed.sort();
        self.add(path, Fault::NotSupported, value, format!("supported values: {}", listed.join(", ")));
    }

    pub fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.add(path, Fault::Duplicate, value, "");
    }

    pub fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.add(path, Fault::Forbidden, Value::Null, detail);
    }

    pub fn too_long(&mut self, path: &Path, bytes_max: usize) {
        self.add(path, Fault::TooLong, Value::Null, format!("may not be more than {bytes_max} bytes"));
    }

    pub fn too_many(&mut self, path: &Path, actual: usize, max: usize) {
        self.add(path, Fault::TooMany, actual, format!("must have at most {max} items"));
    }

    pub fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.add(path, Fault::NotFound, value, "");
    }

    /// Each message (from [`crate::names`]) becomes one Invalid fault.
    pub fn invalid_each(&mut self, path: &Path, value: &str, messages: Vec<String>) {
        for message in messages {
            self.invalid(path, value, message);
        }
    }
}
