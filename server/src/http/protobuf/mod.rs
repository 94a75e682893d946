//! Kubernetes' protobuf, as far as clients send it: bodies become the JSON that says the same. Pure.
//!
//! Clients built on client-go 1.33 and later, stock kubectl among them, write the bodies of built-in kinds so. They
//! read JSON, which is what they are answered.

mod table;
mod wire;

use api::status::Status;
use api::yaml::NODES_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use table::{Field, Message, Scalar, Shape, message};
use wire::{Reader, Wire};

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages in one another; the deepest of the API's own types needs about 15.
const DEPTH_MAX: usize = 40;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the body does not begin as Kubernetes' protobuf does")]
    Magic,
    #[error("the protobuf ends too early or is malformed")]
    Malformed,
    #[error("{kind} of {api_version:?} cannot be read as protobuf here; send JSON")]
    Unknown { api_version: String, kind: String },
    #[error("the protobuf is nested more than {DEPTH_MAX} levels deep, or unfolds to more than {NODES_MAX} values")]
    TooMuch,
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match error {
            Error::Unknown { .. } => {
                Status { code: 415, reason: "UnsupportedMediaType".into(), ..Status::bad_request(error.to_string()) }
            }
            _ => Status::bad_request(error.to_string()),
        }
    }
}

/// The object in a body, as JSON.
pub fn to_json(body: &[u8]) -> Result<Vec<u8>, Error> {
    let (api_version, kind, raw) = envelope(body.strip_prefix(MAGIC).ok_or(Error::Magic)?)?;
    let (group, _) = api::kinds::split_api_version(&api_version);
    // Options of a deletion go by the group they are sent to.
    let of = if kind == "DeleteOptions" { message("meta", &kind) } else { message(package(group), &kind) };
    let Some(of) = of else { return Err(Error::Unknown { api_version, kind }) };
    let mut object = Map::new();
    Decoder { values: 0 }.message(of, raw, DEPTH_MAX, &mut object)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(serde_json::to_vec(&object).expect("JSON values serialize"))
}

/// The table's name of a group: `core`, `apps`, `coordination`.
fn package(group: &str) -> &str {
    if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) }
}

/// apiVersion, kind, and the object's own bytes.
fn envelope(bytes: &[u8]) -> Result<(String, String, &[u8]), Error> {
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &bytes[..0]);
    let mut fields = Reader::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Wire::Bytes(types)) => {
                let mut types = Reader::new(types);
                while let Some((number, value)) = types.next()? {
                    match number {
                        1 => api_version = value.text()?.into(),
                        2 => kind = value.text()?.into(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(object)) => raw = object,
            _ => {}
        }
    }
    Ok((api_version, kind, raw))
}

struct Decoder {
    /// Values made so far.
    values: usize,
}

impl Decoder {
    fn message(&mut self, of: &Message, bytes: &[u8], depth: usize, out: &mut Map<String, Value>) -> Result<(), Error> {
        let depth = depth.checked_sub(1).ok_or(Error::TooMuch)?;
        let mut fields = Reader::new(bytes);
        while let Some((number, value)) = fields.next()? {
            let Some(field) = of.field(number) else { continue };
            self.count()?;
            match (&field.shape, field.is_inline) {
                (Shape::Message(inner), true) => self.message(inner.get(), value.bytes()?, depth, out)?,
                _ => self.field(field, value, depth, out)?,
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        wire: Wire<'_>,
        depth: usize,
        out: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        match &field.shape {
            Shape::List(of) => {
                let list = out.entry(&*field.name).or_insert_with(|| Value::Array(Vec::new()));
                let list = list.as_array_mut().ok_or(Error::Malformed)?;
                // Numbers may come packed.
                if let (Shape::Scalar(Scalar::Int), Wire::Bytes(packed)) = (&**of, wire) {
                    let mut numbers = Reader::new(packed);
                    while let Some(number) = numbers.packed()? {
                        self.count()?;
                        list.push((number as i64).into());
                    }
                    return Ok(());
                }
                list.push(self.value(of, wire, depth)?);
            }
            Shape::Map(of) => {
                let (mut key, mut value) = (String::new(), None);
                let mut entry = Reader::new(wire.bytes()?);
                while let Some((number, part)) = entry.next()? {
                    match number {
                        1 => key = part.text()?.into(),
                        2 => value = Some(self.value(of, part, depth)?),
                        _ => {}
                    }
                }
                let value = value.unwrap_or_else(|| zero(of));
                let map = out.entry(&*field.name).or_insert_with(|| Value::Object(Map::new()));
                map.as_object_mut().ok_or(Error::Malformed)?.insert(key, value);
            }
            shape => {
                let value = self.value(shape, wire, depth)?;
                if field.keeps_zero || !is_zero(shape, &value) {
                    out.insert(field.name.to_string(), value);
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, shape: &Shape, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
        self.count()?;
        match shape {
            Shape::Scalar(scalar) => scalar_value(*scalar, wire),
            Shape::Message(of) => {
                let mut object = Map::new();
                self.message(of.get(), wire.bytes()?, depth, &mut object)?;
                Ok(object.into())
            }
            // Neither is repeated in the API.
            Shape::List(_) | Shape::Map(_) => Err(Error::Malformed),
        }
    }

    fn count(&mut self) -> Result<(), Error> {
        self.values += 1;
        if self.values > NODES_MAX { Err(Error::TooMuch) } else { Ok(()) }
    }
}

fn scalar_value(scalar: Scalar, wire: Wire<'_>) -> Result<Value, Error> {
    Ok(match scalar {
        Scalar::Text => wire.text()?.into(),
        Scalar::Int => (wire.number()? as i64).into(),
        Scalar::Bool => (wire.number()? != 0).into(),
        Scalar::Bytes => STANDARD.encode(wire.bytes()?).into(),
        Scalar::Quantity => first_text(wire.bytes()?)?.into(),
        Scalar::Time => {
            let [seconds, nanos] = numbers(wire.bytes()?)?;
            if (seconds, nanos) == (0, 0) {
                return Ok(Value::Null);
            }
            let nanos = i32::try_from(nanos).map_err(|_| Error::Malformed)?;
            jiff::Timestamp::new(seconds, nanos).map_err(|_| Error::Malformed)?.to_string().into()
        }
        Scalar::IntOrString => {
            let bytes = wire.bytes()?;
            let [is_text, number] = numbers(bytes)?;
            if is_text == 0 { number.into() } else { third_text(bytes)?.into() }
        }
        Scalar::Items => {
            let mut items = Vec::new();
            let mut reader = Reader::new(wire.bytes()?);
            while let Some((_, item)) = reader.next()? {
                items.push(Value::from(item.text()?));
            }
            items.into()
        }
    })
}

/// The numbers under 1 and 2; 0 for what is absent.
fn numbers(bytes: &[u8]) -> Result<[i64; 2], Error> {
    let mut found = [0; 2];
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        if let (1 | 2, Wire::Number(value)) = (number, value) {
            found[number as usize - 1] = value as i64;
        }
    }
    Ok(found)
}

fn first_text(bytes: &[u8]) -> Result<String, Error> {
    text_at(bytes, 1)
}

fn third_text(bytes: &[u8]) -> Result<String, Error> {
    text_at(bytes, 3)
}

fn text_at(bytes: &[u8], at: u64) -> Result<String, Error> {
    let mut text = String::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        if number == at {
            text = value.text()?.into();
        }
    }
    Ok(text)
}

/// What a map's entry without a value has.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Scalar(Scalar::Int | Scalar::IntOrString) => 0.into(),
        Shape::Scalar(Scalar::Bool) => false.into(),
        Shape::Scalar(Scalar::Items) | Shape::List(_) => Value::Array(Vec::new()),
        Shape::Scalar(_) => "".into(),
        Shape::Message(_) | Shape::Map(_) => Value::Object(Map::new()),
    }
}

/// The encoding writes fields that are not set as zero: they are left out, as in JSON.
fn is_zero(shape: &Shape, value: &Value) -> bool {
    match shape {
        Shape::Scalar(Scalar::Time) => value.is_null(),
        Shape::Scalar(_) => *value == zero(shape),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
