//! JSON patch, one operation at a time, so that none can blow the object up. Pure, decides.

use super::Error;
use crate::yaml::DEPTH_MAX;
use json_patch::PatchOperation;
use serde_json::Value;

/// As Kubernetes has it.
pub const OPERATIONS_MAX: usize = 10_000;
/// What all copies of one patch may add up to: a copy of a copy doubles the object each time.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Values that all operations together may move: those in what they carry, and those that make place in a
/// list.
const MOVES_MAX: usize = 50_000_000;

pub(super) fn apply(mut object: Value, patch: &Value) -> Result<Value, Error> {
    let Some(listed) = patch.as_array() else {
        return Err(Error::Malformed("a JSON patch is a list of operations".into()));
    };
    if listed.len() > OPERATIONS_MAX {
        return Err(Error::TooManyOperations(listed.len()));
    }
    let (mut copied_bytes, mut moves) = (0, 0);
    for (index, operation) in listed.iter().enumerate() {
        let read: PatchOperation = serde_json::from_value(operation.clone())
            .map_err(|error| Error::Malformed(format!("operation {index}: {error}")))?;
        let carried = match &read {
            PatchOperation::Add(add) => Some(&add.value),
            PatchOperation::Replace(replace) => Some(&replace.value),
            PatchOperation::Copy(copy) => object.pointer(copy.from.as_str()),
            PatchOperation::Move(moved) => object.pointer(moved.from.as_str()),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
        };
        if let Some(value) = carried {
            let mut values = 0;
            if read.path().tokens().count() + depth(value, &mut values) > DEPTH_MAX {
                return Err(Error::TooDeep);
            }
            moves += values;
            if let PatchOperation::Copy(_) = read {
                copied_bytes += value.to_string().len();
            }
        }
        moves += list_length(&object, &read);
        if moves > MOVES_MAX || copied_bytes > COPIED_BYTES_MAX {
            return Err(Error::TooMuchWork);
        }
        json_patch::patch_unsafe(&mut object, std::slice::from_ref(&read)).map_err(|error| {
            let path = read.path().as_str();
            Error::DoesNotFit(format!("JSON patch operation {index} ({path}) cannot be applied: {}", error.kind))
        })?;
    }
    Ok(object)
}

/// The length of the list that the operation inserts into or removes from, if it is one.
fn list_length(object: &Value, operation: &PatchOperation) -> usize {
    let parent = operation.path().parent();
    parent.and_then(|parent| object.pointer(parent.as_str())).and_then(Value::as_array).map_or(0, Vec::len)
}

/// How deep a value is nested; adds the number of values in it to `values`.
fn depth(value: &Value, values: &mut usize) -> usize {
    *values += 1;
    match value {
        Value::Array(items) => 1 + items.iter().map(|item| depth(item, values)).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(|field| depth(field, values)).max().unwrap_or(0),
        _ => 0,
    }
}
