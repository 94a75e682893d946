//! Builds a value from any deserializer while counting what it costs. Pure.

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

use super::{DEPTH_MAX, NODES_MAX, OBJECTS_MAX, TEXT_BYTES_MAX};

/// More duplicates than a person reads.
const DUPLICATES_MAX: usize = 64;

/// What was met so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    nodes: usize,
    objects: usize,
    text_bytes: usize,
    pub too_deep: bool,
    pub too_much: bool,
    pub duplicates: Vec<String>,
}

/// Where a value stands, linked along the stack: a path costs nothing unless it is told.
#[derive(Clone, Copy)]
enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Field(Place::Root, name) => f.write_str(name),
            Place::Field(parent, name) => write!(f, "{parent}.{name}"),
            Place::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Reads one value.
pub(super) struct Build<'a> {
    seen: &'a mut Seen,
    place: Place<'a>,
    depth: usize,
}

impl<'a> Build<'a> {
    pub fn root(seen: &'a mut Seen) -> Build<'a> {
        Build { seen, place: Place::Root, depth: 0 }
    }

    fn deeper<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.depth >= DEPTH_MAX {
            self.seen.too_deep = true;
            return Err(E::custom("nested too deeply"));
        }
        Ok(())
    }
}

impl Seen {
    fn count<E: serde::de::Error>(&mut self, text_bytes: usize) -> Result<(), E> {
        self.nodes += 1;
        self.text_bytes += text_bytes;
        if self.nodes > NODES_MAX || self.text_bytes > TEXT_BYTES_MAX {
            self.too_much = true;
            return Err(E::custom("too much"));
        }
        Ok(())
    }

    fn duplicate(&mut self, path: String) {
        if self.duplicates.len() < DUPLICATES_MAX && !self.duplicates.contains(&path) {
            self.duplicates.push(path);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.seen.count(0)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can express")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let not_finite = || E::custom("not a number that JSON can express");
        Number::from_f64(value).map(Value::Number).ok_or_else(not_finite)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.seen.count(value.len())?;
        Ok(Value::String(value.into()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.seen.count(value.len())?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        self.deeper()?;
        let mut list = Vec::new();
        loop {
            let place = Place::Index(&self.place, list.len());
            let item = Build { seen: &mut *self.seen, place, depth: self.depth + 1 };
            match items.next_element_seed(item)? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        self.deeper()?;
        self.seen.objects += 1;
        if self.seen.objects > OBJECTS_MAX {
            self.seen.too_much = true;
            return Err(A::Error::custom("too much"));
        }
        let mut map = Map::new();
        let mut merged = Vec::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            self.seen.count(key.len())?;
            let place = Place::Field(&self.place, &key);
            let value = entries.next_value_seed(Build { seen: &mut *self.seen, place, depth: self.depth + 1 })?;
            if key == "<<" {
                merged.push(value);
            } else {
                if map.contains_key(&key) {
                    self.seen.duplicate(place.to_string());
                }
                map.insert(key, value);
            }
        }
        merged.into_iter().for_each(|from| merge(&mut map, from));
        Ok(Value::Object(map))
    }

    /// A tag of somebody's own, which JSON has no place for.
    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("a YAML tag that JSON has no type for"))
    }
}

/// YAML's merge key: what the object does not say itself, it takes from another, or several.
fn merge(into: &mut Map<String, Value>, from: Value) {
    match from {
        Value::Object(fields) => {
            for (key, value) in fields {
                into.entry(key).or_insert(value);
            }
        }
        Value::Array(several) => several.into_iter().filter(Value::is_object).for_each(|one| merge(into, one)),
        _ => {}
    }
}

/// A key of an object; YAML's scalars become text, as in Kubernetes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar as key")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}
