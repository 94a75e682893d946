//! The string form of label selectors: tokens and their grammar. Pure.

use super::label::{Operator, Requirement};
use super::{Error, REQUIREMENTS_MAX, VALUES_MAX};

/// Parses a whole selector; white space alone is the selector of everything.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, Error> {
    let mut tokens = Tokens { rest: text };
    let mut requirements = Vec::new();
    if tokens.peek().is_empty() {
        return Ok(requirements);
    }
    loop {
        if requirements.len() == REQUIREMENTS_MAX {
            return Err(Error::TooLarge { what: "requirements", max: REQUIREMENTS_MAX });
        }
        requirements.push(requirement(&mut tokens)?);
        match tokens.next() {
            "" => return Ok(requirements),
            "," => {}
            found => return Err(expected(found, "',' or end of selector")),
        }
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, Error> {
    if tokens.peek() == "!" {
        tokens.next();
        let key = word(tokens, "identifier")?;
        return Requirement::new(key, Operator::DoesNotExist, []);
    }
    let key = word(tokens, "!, identifier, or end of selector")?;
    match tokens.peek() {
        "" | "," => Requirement::new(key, Operator::Exists, []),
        "=" | "==" => {
            tokens.next();
            Requirement::new(key, Operator::In, [value(tokens)])
        }
        "!=" => {
            tokens.next();
            Requirement::new(key, Operator::NotIn, [value(tokens)])
        }
        ">" => {
            tokens.next();
            Requirement::new(key, Operator::GreaterThan, [value(tokens)])
        }
        "<" => {
            tokens.next();
            Requirement::new(key, Operator::LessThan, [value(tokens)])
        }
        "in" => {
            tokens.next();
            Requirement::new(key, Operator::In, set(tokens)?)
        }
        "notin" => {
            tokens.next();
            Requirement::new(key, Operator::NotIn, set(tokens)?)
        }
        found => Err(expected(found, "in, notin, =, ==, !=, gt, lt")),
    }
}

/// The value after `=`: may be empty.
fn value(tokens: &mut Tokens<'_>) -> String {
    if is_word(tokens.peek()) { tokens.next().to_string() } else { String::new() }
}

/// `(a, b, )`: a missing value stands for the empty one.
fn set(tokens: &mut Tokens<'_>) -> Result<Vec<String>, Error> {
    match tokens.next() {
        "(" => {}
        found => return Err(expected(found, "'('")),
    }
    let mut values = Vec::new();
    loop {
        if values.len() > VALUES_MAX {
            return Err(Error::TooLarge { what: "values", max: VALUES_MAX });
        }
        values.push(value(tokens));
        match tokens.next() {
            "," => {}
            ")" => return Ok(values),
            found => return Err(expected(found, "',' or ')'")),
        }
    }
}

fn word<'a>(tokens: &mut Tokens<'a>, wanted: &str) -> Result<&'a str, Error> {
    let found = tokens.next();
    if is_word(found) { Ok(found) } else { Err(expected(found, wanted)) }
}

fn is_word(token: &str) -> bool {
    token.chars().next().is_some_and(|first| !is_special(first))
}

fn is_special(character: char) -> bool {
    matches!(character, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn expected(found: &str, wanted: &str) -> Error {
    Error::Parse(format!("found '{found}', expected: {wanted}"))
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// The next token without taking it; "" at the end.
    fn peek(&self) -> &'a str {
        let text = self.rest.trim_start();
        let Some(first) = text.chars().next() else { return "" };
        if !is_special(first) {
            let end = text.find(|character: char| is_special(character) || character.is_whitespace());
            return &text[..end.unwrap_or(text.len())];
        }
        let length = if text.starts_with("==") || text.starts_with("!=") { 2 } else { 1 };
        &text[..length]
    }

    fn next(&mut self) -> &'a str {
        let token = self.peek();
        let rest = self.rest.trim_start();
        self.rest = &rest[token.len()..];
        token
    }
}
