//! What `apply` sends: the manifest, and what the manifest applied before it named and this one does not. Pure.

use api::schema::{Shape, Type, types};
use serde_json::{Map, Value, json};

/// Where the manifest applied last is kept: the same place as kubectl's, so that both can be used in turn.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A strategic merge patch that turns what `last` made into what `wanted` says. Fields that neither names stay.
pub fn patch(root: &Type, last: &Value, wanted: &Value) -> Value {
    let mut patch = wanted.clone();
    if let (Value::Object(last), Value::Object(patch)) = (last, &mut patch) {
        remove_fields(Some(root), last, patch);
    }
    patch
}

fn remove_fields(of: Option<&Type>, last: &Map<String, Value>, patch: &mut Map<String, Value>) {
    for (name, before) in last {
        let field = of.and_then(|of| of.field(name));
        match (before, patch.get_mut(name)) {
            (_, None) => {
                patch.insert(name.clone(), Value::Null);
            }
            (Value::Object(before), Some(Value::Object(now))) => {
                remove_fields(field.and_then(|field| nested(&field.shape)), before, now);
            }
            (Value::Array(before), Some(Value::Array(now))) => {
                let Some(rule) = field.and_then(|field| field.merge).filter(|rule| rule.patch_merge) else { continue };
                let element = field.and_then(|field| nested(&field.shape));
                match rule.merge_key {
                    Some(key) => remove_elements(element, key, before, now),
                    None => {
                        let gone: Vec<Value> = before.iter().filter(|value| !now.contains(value)).cloned().collect();
                        if !gone.is_empty() {
                            patch.insert(format!("$deleteFromPrimitiveList/{name}"), gone.into());
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

fn remove_elements(element: Option<&Type>, key: &str, before: &[Value], now: &mut Vec<Value>) {
    for old in before {
        let same = now.iter_mut().find(|new| new.get(key).is_some() && new.get(key) == old.get(key));
        match (old, same) {
            (Value::Object(old), Some(Value::Object(new))) => remove_fields(element, old, new),
            (old, None) if old.get(key).is_some() => now.push(json!({"$patch": "delete", key: old[key]})),
            _ => {}
        }
    }
}

/// The type of an object, or of a list's elements.
fn nested(shape: &Shape) -> Option<&'static Type> {
    match shape {
        Shape::Object(number) => Some(types().get(*number)),
        Shape::List(element) => nested(element),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod_patch(last: Value, wanted: Value) -> Value {
        patch(types().root("", "v1", "Pod").unwrap(), &last, &wanted)
    }

    #[test]
    fn a_field_that_is_named_no_more_is_removed() {
        let last = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
        let wanted = json!({"metadata": {"labels": {"a": "1"}}});
        assert_eq!(pod_patch(last, wanted), json!({"metadata": {"labels": {"a": "1", "b": null}}}));
    }

    #[test]
    fn an_element_that_is_named_no_more_is_removed_by_its_key() {
        let last = json!({"spec": {"containers": [{"name": "a", "tty": true}, {"name": "b"}]}});
        let wanted = json!({"spec": {"containers": [{"name": "a"}]}});
        let expected = json!({"spec": {"containers": [{"name": "a", "tty": null}, {"$patch": "delete", "name": "b"}]}});
        assert_eq!(pod_patch(last, wanted), expected);
    }

    #[test]
    fn a_list_that_is_replaced_as_a_whole_needs_no_removals() {
        let last = json!({"spec": {"containers": [{"name": "a", "args": ["x", "y"]}]}});
        let wanted = json!({"spec": {"containers": [{"name": "a", "args": ["x"]}]}});
        assert_eq!(pod_patch(last, wanted.clone()), wanted);
    }

    #[test]
    fn a_member_of_a_set_is_removed_by_its_value() {
        let last = json!({"metadata": {"finalizers": ["a/b", "c/d"]}});
        let wanted = json!({"metadata": {"finalizers": ["a/b"]}});
        let expected = json!({"metadata": {"finalizers": ["a/b"], "$deleteFromPrimitiveList/finalizers": ["c/d"]}});
        assert_eq!(pod_patch(last, wanted), expected);
    }
}
