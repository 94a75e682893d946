//! Does a stored object match a request's selectors? Pure, decides; parses no more than it must.

use api::kinds::Kind;
use api::{Key, object};
use serde_json::Value;

use super::request::Selection;

impl Selection {
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// An object that does not parse matches nothing but the selection of everything.
    pub fn matches(&self, kind: &Kind, key: &[u8], stored: &[u8]) -> bool {
        self.fields_match(kind, key, stored) && self.labels_match(stored)
    }

    fn labels_match(&self, stored: &[u8]) -> bool {
        if self.labels.is_everything() {
            return true;
        }
        object::meta(stored).is_ok_and(|meta| self.labels.matches(&meta.labels))
    }

    fn fields_match(&self, kind: &Kind, key: &[u8], stored: &[u8]) -> bool {
        if self.fields.is_everything() {
            return true;
        }
        if self.fields.needs_key_only() {
            let Some(key) = Key::decode(key) else { return false };
            return self.fields.matches(&|field| match field {
                "metadata.name" => Some(key.name.clone()),
                "metadata.namespace" => Some(key.namespace.clone()),
                _ => None,
            });
        }
        serde_json::from_slice::<Value>(stored)
            .is_ok_and(|object| self.fields.matches_value(kind.group, kind.plural, &object))
    }
}
