//! Strategic merge patch: lists are merged by the keys that Kubernetes declares, and directives inside the
//! patch say what to delete, replace, keep and order. Pure, decides.
//!
//! The rules are those of `k8s.io/apimachinery/pkg/util/strategicpatch`, which kubectl writes its patches by.

use super::Error;
use super::order::{Naming, arrange};
use crate::schema::{MergeRule, Shape, Type, types};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";

pub(super) fn apply(object: Value, patch: Value, of: &'static Type) -> Result<Value, Error> {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return Err(Error::Malformed("a strategic merge patch is a JSON object".into()));
    };
    Ok(Value::Object(merge(object, patch, &Shape::Any, Some(of))?))
}

/// What is known of a value: the type of an object, the shape of what is inside a map or list.
fn inner(shape: &Shape) -> (&Shape, Option<&'static Type>) {
    match shape {
        Shape::Object(number) => (&Shape::Any, Some(types().get(*number))),
        Shape::Map(values) => (values, None),
        _ => (&Shape::Any, None),
    }
}

/// Merges `patch` into `object`. Fields are looked up in `of`; without it, every value has the shape `values`.
fn merge(
    mut object: Map<String, Value>,
    mut patch: Map<String, Value>,
    values: &Shape,
    of: Option<&'static Type>,
) -> Result<Map<String, Value>, Error> {
    match directive(&mut patch)? {
        Some(Directive::Replace) => return Ok(without_directives(patch)),
        Some(Directive::Delete) => return Ok(Map::new()),
        Some(Directive::Merge) | None => {}
    }
    retain_keys(&mut object, &mut patch)?;
    let look_up = |name: &str| match of {
        Some(of) => of.field(name).map_or((&Shape::Any, None), |field| (&field.shape, field.merge)),
        None => (values, None),
    };
    set_element_orders(&mut object, &mut patch, &look_up)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM_LIST) {
            delete_from_list(&mut object, list, value)?;
            continue;
        }
        let (shape, rule) = look_up(&key);
        if value.is_null() {
            object.remove(&key);
            continue;
        }
        let merged = match (object.remove(&key), value) {
            (Some(Value::Object(current)), Value::Object(patch)) => {
                let (values, of) = inner(shape);
                Value::Object(merge(current, patch, values, of)?)
            }
            (Some(Value::Array(current)), Value::Array(patch)) if merges(rule) => {
                let wanted = patch.clone();
                let merged = merge_list(current.clone(), patch, shape, rule, &key)?;
                Value::Array(arrange(merged, &wanted, &current, naming(rule)))
            }
            (_, Value::Array(patch)) if merges(rule) => Value::Array(new_list(patch)),
            (_, value) => fresh(value),
        };
        object.insert(key, merged);
    }
    Ok(object)
}

fn merges(rule: Option<&MergeRule>) -> bool {
    rule.is_some_and(|rule| rule.patch_merge)
}

fn naming(rule: Option<&'static MergeRule>) -> Naming<'static> {
    Naming { merge_key: rule.and_then(|rule| rule.merge_key) }
}

enum Directive {
    Replace,
    Delete,
    Merge,
}

/// Takes `$patch` out of an object of the patch.
fn directive(patch: &mut Map<String, Value>) -> Result<Option<Directive>, Error> {
    match patch.remove(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(word)) if word == "replace" => Ok(Some(Directive::Replace)),
        Some(Value::String(word)) if word == "delete" => Ok(Some(Directive::Delete)),
        Some(Value::String(word)) if word == "merge" => Ok(Some(Directive::Merge)),
        Some(other) => {
            Err(Error::Malformed(format!("unknown patch type {other}: $patch is \"replace\", \"delete\" or \"merge\"")))
        }
    }
}

/// `$retainKeys`: the keys of the object that stay; those that the patch sets must be among them.
fn retain_keys(object: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Error> {
    let Some(listed) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keys: Option<Vec<&str>> = listed.as_array().and_then(|keys| keys.iter().map(Value::as_str).collect());
    let keys = keys.ok_or_else(|| Error::Malformed("$retainKeys is a list of keys".into()))?;
    for (key, value) in patch.iter() {
        if !value.is_null() && !key.starts_with('$') && !keys.contains(&key.as_str()) {
            return Err(Error::Malformed(format!(
                "$retainKeys must name every key that the patch sets: {key:?} is missing"
            )));
        }
    }
    object.retain(|key, _| keys.contains(&key.as_str()));
    Ok(())
}

/// `$setElementOrder/<list>`: merges the list and puts it into the order that the patch gives.
fn set_element_orders<'s>(
    object: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    look_up: &dyn Fn(&str) -> (&'s Shape, Option<&'static MergeRule>),
) -> Result<(), Error> {
    let orders: Vec<String> = patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
    for key in orders {
        let list = &key[ELEMENT_ORDER.len()..];
        let Some(Value::Array(wanted)) = patch.remove(&key) else {
            return Err(Error::Malformed(format!("{key} is a list")));
        };
        let (shape, rule) = look_up(list);
        let naming = naming(rule);
        let in_patch = match patch.get(list) {
            Some(Value::Array(_)) | None => patch.remove(list),
            Some(Value::Null) => continue,
            Some(_) => return Err(Error::Malformed(format!("{list} is ordered by {key}, so it must be a list"))),
        };
        let in_patch = in_patch.and_then(|list| if let Value::Array(list) = list { Some(list) } else { None });
        check_order(in_patch.as_deref().unwrap_or(&[]), &wanted, naming, list)?;
        let current = match object.remove(list) {
            Some(Value::Array(current)) => Some(current),
            Some(Value::Null) | None => None,
            Some(_) => return Err(Error::DoesNotFit(format!("{list} is not a list in the object"))),
        };
        let merged = match (&current, in_patch) {
            (None, None) => continue,
            (Some(current), None) => current.clone(),
            (None, Some(patch)) => new_list(patch),
            (Some(current), Some(patch)) if merges(rule) => merge_list(current.clone(), patch, shape, rule, list)?,
            (Some(_), Some(patch)) => new_list(patch),
        };
        let arranged = arrange(merged, &wanted, current.as_deref().unwrap_or(&[]), naming);
        object.insert(list.to_string(), Value::Array(arranged));
    }
    Ok(())
}

/// The patch's elements must stand in its order list, in that order; deletions are free.
fn check_order(patch: &[Value], wanted: &[Value], naming: Naming<'_>, list: &str) -> Result<(), Error> {
    let (wanted, mut last) = (naming.places(wanted), 0);
    for element in patch.iter().filter(|element| element.get(DIRECTIVE).is_none()) {
        match naming.name(element).and_then(|name| wanted.get(name)) {
            Some(place) if *place >= last => last = *place,
            _ => {
                let message = format!("the order in the patch's list {list} doesn't match {ELEMENT_ORDER}{list}");
                return Err(Error::Malformed(message));
            }
        }
    }
    Ok(())
}

/// `$deleteFromPrimitiveList/<list>`: takes scalars out of a list.
fn delete_from_list(object: &mut Map<String, Value>, list: &str, gone: Value) -> Result<(), Error> {
    let Value::Array(gone) = gone else {
        return Err(Error::Malformed(format!("{DELETE_FROM_LIST}{list} is a list")));
    };
    match object.get_mut(list) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(current)) => {
            let gone: HashSet<&Value> = gone.iter().collect();
            current.retain(|element| !gone.contains(element));
            Ok(())
        }
        Some(_) => Err(Error::DoesNotFit(format!("{list} is not a list in the object"))),
    }
}

/// Merges a list element by element; the order is for the caller.
fn merge_list(
    mut current: Vec<Value>,
    patch: Vec<Value>,
    shape: &Shape,
    rule: Option<&'static MergeRule>,
    list: &str,
) -> Result<Vec<Value>, Error> {
    let naming = naming(rule);
    let Some(key) = naming.merge_key else {
        let known: HashSet<Value> = current.iter().cloned().collect();
        let mut added = HashSet::new();
        for element in patch {
            if !known.contains(&element) && added.insert(element.clone()) {
                current.push(element);
            }
        }
        return Ok(current);
    };
    let (mut replaced, mut deleted, mut additions) = (false, HashSet::new(), Vec::new());
    for element in patch {
        let Value::Object(mut element) = element else {
            return Err(Error::Malformed(format!("the elements of {list} are objects, found {element}")));
        };
        let what = directive(&mut element)?;
        if let Some(Directive::Replace) = what {
            replaced = true;
            continue;
        }
        let name = element.get(key).filter(|name| !name.is_null()).cloned();
        let unnamed = || Error::Malformed(format!("an element of {list} does not contain its merge key: {key}"));
        let name = name.ok_or_else(unnamed)?;
        match what {
            Some(Directive::Delete) => {
                deleted.insert(name);
            }
            _ => additions.push((name, element)),
        }
    }
    if replaced {
        return Ok(additions.into_iter().map(|(_, element)| Value::Object(without_directives(element))).collect());
    }
    current.retain(|element| element.get(key).is_none_or(|name| !deleted.contains(name)));
    let elements = if let Shape::List(elements) = shape { elements.as_ref() } else { &Shape::Any };
    let (values, of) = inner(elements);
    let mut places: HashMap<Value, usize> =
        naming.places(&current).into_iter().map(|(name, place)| (name.clone(), place)).collect();
    for (name, element) in additions {
        match places.get(&name).map(|place| &mut current[*place]) {
            Some(Value::Object(other)) => *other = merge(std::mem::take(other), element, values, of)?,
            _ => {
                places.insert(name, current.len());
                current.push(Value::Object(without_directives(element)));
            }
        }
    }
    Ok(current)
}

/// A list that the object does not have yet.
fn new_list(patch: Vec<Value>) -> Vec<Value> {
    let directed = |element: &Value| element.get(DIRECTIVE).is_some_and(|word| word != "merge");
    patch.into_iter().filter(|element| !directed(element)).map(fresh).collect()
}

/// A value that the object does not have yet: what its directives mean for nothing, and no nulls.
fn fresh(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(without_directives(fields)),
        Value::Array(elements) => Value::Array(new_list(elements)),
        scalar => scalar,
    }
}

fn without_directives(fields: Map<String, Value>) -> Map<String, Value> {
    if fields.get(DIRECTIVE).is_some_and(|word| word == "delete") {
        return Map::new();
    }
    let is_directive = |key: &str| {
        key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) || key.starts_with(DELETE_FROM_LIST)
    };
    let kept = fields.into_iter().filter(|(key, value)| !value.is_null() && !is_directive(key));
    kept.map(|(key, value)| (key, fresh(value))).collect()
}
