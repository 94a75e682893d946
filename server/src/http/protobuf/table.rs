//! Which field a number means, for the messages that clients send. Pure; read once from `messages.txt`.

use std::collections::HashMap;
use std::sync::OnceLock;

pub struct Message {
    /// In order of their numbers.
    fields: Vec<Field>,
}

pub struct Field {
    number: u64,
    pub name: Box<str>,
    /// The fields of this message belong to the one that holds it.
    pub is_inline: bool,
    pub keeps_zero: bool,
    pub shape: Shape,
}

pub enum Shape {
    Scalar(Scalar),
    Message(Reference),
    List(Box<Shape>),
    /// Keys are strings.
    Map(Box<Shape>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Text,
    Int,
    Bool,
    Bytes,
    Quantity,
    Time,
    IntOrString,
    /// A message of nothing but a list of strings.
    Items,
}

/// A message by its place in the table.
#[derive(Clone, Copy)]
pub struct Reference(usize);

impl Reference {
    pub fn get(self) -> &'static Message {
        &table().messages[self.0]
    }
}

impl Message {
    pub fn field(&self, number: u64) -> Option<&Field> {
        let at = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        Some(&self.fields[at])
    }
}

/// By group and kind: ("apps", "Deployment").
pub fn message(package: &str, kind: &str) -> Option<&'static Message> {
    let at = *table().names.get(&format!("{package}.{kind}"))?;
    Some(&table().messages[at])
}

struct Table {
    names: HashMap<String, usize>,
    messages: Vec<Message>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| read(include_str!("messages.txt")))
}

fn read(text: &str) -> Table {
    let mut entries: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let mut words = line.split_whitespace();
        if !line.starts_with(' ') {
            entries.push((words.next().unwrap_or_default(), Vec::new()));
        }
        entries.last_mut().expect("the first line names a message").1.extend(words);
    }
    let names: HashMap<String, usize> = entries.iter().zip(0..).map(|((name, _), at)| ((*name).into(), at)).collect();
    let message = |(_, words): &(&str, Vec<&str>)| {
        let mut fields: Vec<Field> = words.iter().map(|word| field(word, &names)).collect();
        fields.sort_by_key(|field| field.number);
        Message { fields }
    };
    Table { messages: entries.iter().map(message).collect(), names }
}

/// The table is part of the program: what is wrong in it panics, and a test reads all of it.
fn field(word: &str, names: &HashMap<String, usize>) -> Field {
    let mut parts = word.splitn(3, ':');
    let mut part = || parts.next().unwrap_or_else(|| panic!("{word} is no field"));
    let number = part().parse().unwrap_or_else(|_| panic!("{word} has no number"));
    let (name, shape) = (part(), part());
    let (shape, keeps_zero) = match shape.strip_suffix('?') {
        Some(shape) => (shape, true),
        None => (shape, false),
    };
    Field { number, name: name.into(), is_inline: name == "^", keeps_zero, shape: self::shape(shape, names) }
}

fn shape(text: &str, names: &HashMap<String, usize>) -> Shape {
    if let Some(of) = text.strip_prefix("[]") {
        return Shape::List(Box::new(shape(of, names)));
    }
    if let Some(of) = text.strip_prefix("{}") {
        return Shape::Map(Box::new(shape(of, names)));
    }
    Shape::Scalar(match text {
        "string" => Scalar::Text,
        "int" => Scalar::Int,
        "bool" => Scalar::Bool,
        "bytes" => Scalar::Bytes,
        "quantity" => Scalar::Quantity,
        "time" => Scalar::Time,
        "intOrString" => Scalar::IntOrString,
        "items" => Scalar::Items,
        message => {
            let at = names.get(message).unwrap_or_else(|| panic!("{message} is no message of the table"));
            return Shape::Message(Reference(*at));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_is_served_is_in_the_table() {
        for kind in api::KINDS {
            let package = super::super::package(kind.group);
            assert!(message(package, kind.kind).is_some_and(|message| message.field(1).is_some()), "{}", kind.kind);
        }
        assert!(message("meta", "DeleteOptions").is_some());
        assert!(message("core", "Nothing").is_none());
    }
}
