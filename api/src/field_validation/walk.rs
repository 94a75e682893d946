//! Walks a body along the schema of its kind, noting what does not belong. Pure.

use super::{Findings, hint};
use crate::schema::{Field, Shape, Type, types};
use crate::yaml::{DEPTH_MAX, NODES_MAX, OBJECTS_MAX};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// What the walk has met so far.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub findings: Findings,
    pub too_deep: bool,
    pub too_much: bool,
    nodes: usize,
    objects: usize,
}

/// Where the walk is, linked along the stack: a path costs nothing unless it is told.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
    /// The type of the object here, where it is known.
    of: Option<&'static Type>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    fn child(&'a self, step: Step<'a>) -> Place<'a> {
        Place { parent: Some(self), step, of: None }
    }

    /// The objects around this one, innermost first, with their paths.
    pub fn around(&self) -> impl Iterator<Item = (String, &'static Type)> {
        let outer = std::iter::successors(self.parent, |place| place.parent);
        outer.filter_map(|place| Some((place.to_string(), place.of?)))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.parent, self.step) {
            (_, Step::Root) | (None, _) => Ok(()),
            (Some(Place { step: Step::Root, .. }), Step::Field(name)) => f.write_str(name),
            (Some(parent), Step::Field(name)) => write!(f, "{parent}.{name}"),
            (Some(parent), Step::Index(index)) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// One value to be walked.
pub(super) struct Frame<'a> {
    walk: &'a mut Walk,
    place: Place<'a>,
    shape: &'static Shape,
    depth: usize,
}

static ANY: Shape = Shape::Any;

impl<'a> Frame<'a> {
    pub fn root(walk: &'a mut Walk, of: Option<&'static Type>) -> Frame<'a> {
        Frame { walk, place: Place { parent: None, step: Step::Root, of }, shape: &ANY, depth: 0 }
    }

    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.depth >= DEPTH_MAX {
            self.walk.too_deep = true;
            return Err(E::custom("nested too deeply"));
        }
        if let Shape::Object(number) = self.shape {
            self.place.of = Some(types().get(*number));
        }
        Ok(())
    }
}

impl Walk {
    fn unknown(&mut self, place: &Place, name: &str, of: &'static Type) {
        let path = place.child(Step::Field(name)).to_string();
        let hint = hint::hint(place, name, of).map_or_else(String::new, |hint| format!(" ({hint})"));
        self.findings.add(format!("unknown field {path:?}{hint}"));
    }

    fn duplicate(&mut self, place: &Place, name: &str) {
        let path = place.child(Step::Field(name)).to_string();
        self.findings.add(format!("duplicate field {path:?}"));
    }
}

impl<'de> DeserializeSeed<'de> for Frame<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.walk.nodes += 1;
        if self.walk.nodes > NODES_MAX {
            self.walk.too_much = true;
            return Err(D::Error::custom("too much"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Frame<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.enter()?;
        self.place.of = None;
        let shape = if let Shape::List(items) = self.shape { items.as_ref() } else { &ANY };
        for index in 0.. {
            let place = self.place.child(Step::Index(index));
            let item = Frame { walk: &mut *self.walk, place, shape, depth: self.depth + 1 };
            if items.next_element_seed(item)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.enter()?;
        self.walk.objects += 1;
        if self.walk.objects > OBJECTS_MAX {
            self.walk.too_much = true;
            return Err(A::Error::custom("too much"));
        }
        let mut met = HashSet::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            let shape = match (self.place.of, self.shape) {
                (Some(of), _) => of.field(&key).map(|Field { shape, .. }| shape),
                (None, Shape::Map(values)) => Some(values.as_ref()),
                (None, _) => Some(&ANY),
            };
            if let (None, Some(of)) = (shape, self.place.of) {
                self.walk.unknown(&self.place, &key, of);
            }
            let place = self.place.child(Step::Field(&key));
            let shape = shape.unwrap_or(&ANY);
            entries.next_value_seed(Frame { walk: &mut *self.walk, place, shape, depth: self.depth + 1 })?;
            if met.contains(&key) {
                self.walk.duplicate(&self.place, &key);
            } else {
                met.insert(key);
            }
        }
        Ok(())
    }
}

/// A key, borrowed from the text unless it holds escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.into()))
    }
}
