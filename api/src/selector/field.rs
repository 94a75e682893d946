//! Field selectors: equality on the few fields that each kind offers. Pure, decides.

use super::{Error, REQUIREMENTS_MAX};
use serde_json::Value;
use std::fmt;

/// A conjunction of (in)equalities on fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

/// A field, and what it counts as when it is absent.
type Offered = (&'static str, &'static str);

/// The fields that a kind can be selected by, besides metadata.name and metadata.namespace.
const FIELDS: &[(&str, &str, &[Offered])] = &[
    (
        "",
        "pods",
        &[
            ("spec.nodeName", ""),
            ("spec.restartPolicy", ""),
            ("spec.schedulerName", ""),
            ("spec.serviceAccountName", ""),
            ("spec.hostNetwork", "false"),
            ("status.phase", ""),
            ("status.podIP", ""),
            ("status.nominatedNodeName", ""),
        ],
    ),
    (
        "",
        "events",
        &[
            ("involvedObject.kind", ""),
            ("involvedObject.namespace", ""),
            ("involvedObject.name", ""),
            ("involvedObject.uid", ""),
            ("involvedObject.apiVersion", ""),
            ("involvedObject.resourceVersion", ""),
            ("involvedObject.fieldPath", ""),
            ("reason", ""),
            ("reportingComponent", ""),
            ("source", ""),
            ("type", ""),
        ],
    ),
    ("", "secrets", &[("type", "")]),
    ("", "nodes", &[("spec.unschedulable", "false")]),
    ("", "namespaces", &[("status.phase", "")]),
    ("", "services", &[("spec.clusterIP", ""), ("spec.type", "")]),
    ("", "replicationcontrollers", &[("status.replicas", "0")]),
    ("apps", "replicasets", &[("status.replicas", "0")]),
    ("batch", "jobs", &[("status.successful", "0")]),
];

impl FieldSelector {
    pub fn everything() -> FieldSelector {
        FieldSelector::default()
    }

    /// Reads `a=b,c==d,e!=f`; a backslash escapes `,`, `=` and itself in values. Whether the kind offers the
    /// fields is `check`'s question.
    pub fn parse(text: &str) -> Result<FieldSelector, Error> {
        let mut terms = Vec::new();
        for term in split(text) {
            if term.is_empty() {
                continue;
            }
            if terms.len() == REQUIREMENTS_MAX {
                return Err(Error::TooLarge { what: "requirements", max: REQUIREMENTS_MAX });
            }
            let at = term.find('=').filter(|at| *at > 0);
            let misunderstood = || Error::Field { selector: text.into(), term: term.into() };
            let at = at.ok_or_else(misunderstood)?;
            let (field, equal) = match term[..at].strip_suffix('!') {
                Some(field) => (field, false),
                None => (&term[..at], true),
            };
            let value = &term[at + 1..];
            let value = if equal { value.strip_prefix('=').unwrap_or(value) } else { value };
            let value = unescape(value)?;
            terms.push(Term { field: field.trim().into(), equal, value });
        }
        Ok(FieldSelector { terms })
    }

    /// As `parse`, refusing fields that the kind does not offer.
    pub fn parse_for(group: &str, plural: &str, text: &str) -> Result<FieldSelector, Error> {
        let selector = FieldSelector::parse(text)?;
        selector.check(group, plural)?;
        Ok(selector)
    }

    /// Refuses a selector on fields that objects of this kind cannot be selected by.
    pub fn check(&self, group: &str, plural: &str) -> Result<(), Error> {
        let offered = fields(group, plural);
        for Term { field, .. } in &self.terms {
            let known = matches!(field.as_str(), "metadata.name" | "metadata.namespace")
                || offered.iter().any(|(name, _)| name == field);
            if !known {
                let field = field.clone();
                return Err(if offered.is_empty() {
                    Error::UnsupportedForKind(field)
                } else {
                    Error::Unsupported(field)
                });
            }
        }
        Ok(())
    }

    /// Whether an object, as JSON, is meant. Absent fields count as Kubernetes' zero values.
    pub fn matches_value(&self, group: &str, plural: &str, object: &Value) -> bool {
        let offered = fields(group, plural);
        self.matches(&|field| {
            lookup(object, field).or_else(|| {
                let (_, absent) = offered.iter().find(|(name, _)| *name == field)?;
                Some((*absent).to_string())
            })
        })
    }

    /// As `matches_value`, over any look-up; `None` counts as "".
    pub fn matches(&self, lookup: &dyn Fn(&str) -> Option<String>) -> bool {
        self.terms.iter().all(|term| (lookup(&term.field).unwrap_or_default() == term.value) == term.equal)
    }

    /// The value that `field` must have, where the selector says so: a list by `metadata.name` is a get.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    /// Whether only name and namespace are asked about, which needs no look into the object.
    pub fn needs_key_only(&self) -> bool {
        self.terms.iter().all(|term| matches!(term.field.as_str(), "metadata.name" | "metadata.namespace"))
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
}

fn fields(group: &str, plural: &str) -> &'static [Offered] {
    let row = FIELDS.iter().find(|(of_group, of_plural, _)| *of_group == group && *of_plural == plural);
    row.map_or(&[], |(_, _, fields)| fields)
}

/// Events name their source in one of two places, depending on the API that wrote them.
fn lookup(object: &Value, field: &str) -> Option<String> {
    let found = match field {
        "source" => at(object, "source.component").or_else(|| at(object, "reportingComponent")),
        _ => at(object, field),
    };
    match found? {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        scalar => Some(scalar.to_string()),
    }
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |value, part| value.get(part)).filter(|value| value.as_str() != Some(""))
}

/// Splits at commas that no backslash escapes.
fn split(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn unescape(value: &str) -> Result<String, Error> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                Some(other) => return Err(Error::Escape(format!("invalid escape sequence: \\{other}"))),
                None => return Err(Error::Escape("unfinished escape sequence".into())),
            },
            '=' => return Err(Error::Escape(format!("unescaped '=' in value {value:?}"))),
            other => plain.push(other),
        }
    }
    Ok(plain)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let value = term.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{}{value}", term.field, if term.equal { "=" } else { "!=" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selects_as_kubernetes_does() {
        let pod = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"nodeName": "n1"},
            "status": {"phase": "Running"}});
        let event = json!({"metadata": {"name": "e"}, "involvedObject": {"name": "web", "kind": "Pod"},
            "source": {"component": "kubelet"}, "type": "Warning"});
        let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "None"}});
        let set = json!({"metadata": {"name": "s"}, "status": {"replicas": 3}});
        let cases = [
            ("", "pods", &pod, "", true),
            ("", "pods", &pod, "metadata.name=web", true),
            ("", "pods", &pod, "spec.nodeName=n1,status.phase!=Succeeded,status.phase!=Failed", true),
            ("", "pods", &pod, "spec.nodeName==n2", false),
            ("", "pods", &pod, "spec.nodeName!=", true),
            ("", "pods", &pod, "status.podIP=", true),
            ("", "pods", &pod, "spec.hostNetwork=false", true),
            ("", "events", &event, "involvedObject.name=web,involvedObject.kind=Pod,source=kubelet", true),
            ("", "events", &event, "type!=Normal", true),
            ("", "services", &service, "spec.clusterIP=None", true),
            ("apps", "replicasets", &set, "status.replicas=3", true),
            ("apps", "replicasets", &pod, "status.replicas=0", true),
            ("apps", "deployments", &set, "metadata.name!=s", false),
        ];
        for (group, plural, object, text, expected) in cases {
            let selector = FieldSelector::parse_for(group, plural, text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(selector.matches_value(group, plural, object), expected, "{text}");
            assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector), "{text}");
        }
    }

    #[test]
    fn refusals_speak_kubernetes() {
        let refused = |group, plural, text| FieldSelector::parse_for(group, plural, text).unwrap_err().to_string();
        assert_eq!(refused("", "pods", "spec.image=x"), "field label not supported: spec.image");
        assert_eq!(
            refused("apps", "deployments", "spec.replicas=1"),
            "\"spec.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert_eq!(refused("", "pods", "a b"), "invalid selector: 'a b'; can't understand 'a b'");
        assert!(refused("", "pods", "metadata.name=a\\x").contains("escape"));
    }

    #[test]
    fn escapes_and_exact_names() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b\=c,reason!=x").unwrap();
        assert_eq!(selector.exact("metadata.name"), Some("a,b=c"));
        assert_eq!(selector.exact("reason"), None);
        assert!(!selector.needs_key_only());
    }
}
