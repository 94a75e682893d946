//! Label selectors: requirements on labels, all of which must hold. Pure, decides.

use super::{Error, REQUIREMENTS_MAX, VALUES_MAX, parse};
use crate::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a requirement asks of one label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// A conjunction of requirements. The empty one matches everything, as an empty `LabelSelector` object does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// A null selector in an object matches nothing at all.
    nothing: bool,
}

impl LabelSelector {
    pub fn everything() -> LabelSelector {
        LabelSelector::default()
    }

    pub fn nothing() -> LabelSelector {
        LabelSelector { requirements: Vec::new(), nothing: true }
    }

    /// Reads the string form of `?labelSelector=` and `kubectl -l`:
    /// `a=b,c==d,e!=f,g in (x,y),h notin (z),i,!j,k>1,l<2`.
    pub fn parse(text: &str) -> Result<LabelSelector, Error> {
        let requirements = parse::requirements(text)?;
        Ok(LabelSelector { requirements, nothing: false })
    }

    /// Reads the object form that specs carry.
    pub fn from_object(object: &meta::LabelSelector) -> Result<LabelSelector, Error> {
        let mut requirements = Vec::new();
        for (key, value) in object.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::In, [value.clone()])?);
        }
        for expression in object.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(Error::Operator(other.into())),
            };
            requirements.push(Requirement::new(
                &expression.key,
                operator,
                expression.values.iter().flatten().cloned(),
            )?);
        }
        bounded(requirements)
    }

    /// A null object selects nothing, an empty one everything (Kubernetes' LabelSelectorAsSelector).
    pub fn from_optional(object: Option<&meta::LabelSelector>) -> Result<LabelSelector, Error> {
        object.map_or_else(|| Ok(LabelSelector::nothing()), LabelSelector::from_object)
    }

    /// The map form of Services and ReplicationControllers. An empty map is "everything" here;
    /// a Service without a selector selects nothing, which is for its caller to know.
    pub fn from_map(labels: &BTreeMap<String, String>) -> LabelSelector {
        let requirements = labels
            .iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: BTreeSet::from([value.clone()]),
            })
            .collect();
        LabelSelector { requirements, nothing: false }
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(&|key| labels.get(key).map(String::as_str))
    }

    /// As `matches`, for labels that may be absent altogether.
    pub fn matches_optional(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches_by(&|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
    }

    /// As `matches`, on an object as JSON.
    pub fn matches_value(&self, object: &serde_json::Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.matches_by(&|key| labels.get(key).and_then(|value| value.as_str()))
    }

    /// As `matches`, over any look-up.
    pub fn matches_by<'a>(&self, lookup: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.holds(lookup(&requirement.key)))
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

fn bounded(requirements: Vec<Requirement>) -> Result<LabelSelector, Error> {
    if requirements.len() > REQUIREMENTS_MAX {
        return Err(Error::TooLarge { what: "requirements", max: REQUIREMENTS_MAX });
    }
    Ok(LabelSelector { requirements, nothing: false })
}

impl Requirement {
    /// Checks key, values and their number against the operator.
    pub fn new(key: &str, operator: Operator, values: impl IntoIterator<Item = String>) -> Result<Requirement, Error> {
        if let Some(reason) = names::qualified_name(key).into_iter().next() {
            return Err(Error::Invalid { path: "key", value: key.into(), reason });
        }
        let values: BTreeSet<String> = values.into_iter().take(VALUES_MAX + 1).collect();
        if values.len() > VALUES_MAX {
            return Err(Error::TooLarge { what: "values", max: VALUES_MAX });
        }
        let wrong = |reason: &str| {
            let value = values.iter().cloned().collect::<Vec<_>>().join(",");
            Err(Error::Invalid { path: "values", value, reason: reason.into() })
        };
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return wrong("for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return wrong("values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    return wrong("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                if values.iter().any(|value| value.parse::<i64>().is_err()) {
                    return wrong("for 'Gt', 'Lt' operators, the value must be an integer");
                }
            }
            _ => {}
        }
        for value in &values {
            if let Some(reason) = names::label_value(value).into_iter().next() {
                return Err(Error::Invalid { path: "values", value: value.clone(), reason });
            }
        }
        Ok(Requirement { key: key.into(), operator, values })
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    pub fn values(&self) -> &BTreeSet<String> {
        &self.values
    }

    /// An absent label satisfies the negative operators.
    fn holds(&self, label: Option<&str>) -> bool {
        match self.operator {
            Operator::In => label.is_some_and(|label| self.values.contains(label)),
            Operator::NotIn => label.is_none_or(|label| !self.values.contains(label)),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan => self.compares(label, |label, bound| label > bound),
            Operator::LessThan => self.compares(label, |label, bound| label < bound),
        }
    }

    fn compares(&self, label: Option<&str>, holds: impl Fn(i64, i64) -> bool) -> bool {
        let label = label.and_then(|label| label.parse().ok());
        let bound = self.values.first().and_then(|bound| bound.parse().ok());
        label.zip(bound).is_some_and(|(label, bound)| holds(label, bound))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nothing {
            return f.write_str("<none>");
        }
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let values = || self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match self.operator {
            Operator::In if self.values.len() == 1 => write!(f, "{key}={}", values()),
            Operator::In => write!(f, "{key} in ({})", values()),
            Operator::NotIn if self.values.len() == 1 => write!(f, "{key}!={}", values()),
            Operator::NotIn => write!(f, "{key} notin ({})", values()),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{}", values()),
            Operator::LessThan => write!(f, "{key}<{}", values()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split(',')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').expect("k=v"))
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn string_form_matches_as_kubernetes_does() {
        let cases = [
            ("", "a=b", true),
            ("a=b", "a=b,c=d", true),
            ("a==b", "a=c", false),
            ("a = b , c=d", "a=b,c=d", true),
            ("a!=b", "a=c", true),
            ("a!=b", "c=d", true),
            ("a!=b", "a=b", false),
            ("a in (x, y)", "a=y", true),
            ("a in (x,y)", "b=y", false),
            ("a notin (x,y)", "a=z", true),
            ("a notin (x,y)", "", true),
            ("a notin (x,y)", "a=x", false),
            ("a", "a=", true),
            ("a", "b=c", false),
            ("!a", "b=c", true),
            ("! a", "a=c", false),
            ("a=", "a=", true),
            ("a=", "a=x", false),
            ("a,b in (c),!d,e!=f", "a=1,b=c", true),
            ("n>5", "n=6", true),
            ("n>5", "n=5", false),
            ("n<5", "n=4", true),
            ("n<5", "n=x", false),
            ("in in (in,notin)", "in=notin", true),
            ("app.kubernetes.io/name=web", "app.kubernetes.io/name=web", true),
        ];
        for (selector, on, expected) in cases {
            let parsed = LabelSelector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
            assert_eq!(parsed.matches(&labels(on)), expected, "{selector} on {on}");
            let again = LabelSelector::parse(&parsed.to_string()).expect("the printed form parses");
            assert_eq!(again, parsed, "{selector} printed as {parsed}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (selector, words) in [
            ("a b", "found 'b'"),
            ("a in x", "expected: '('"),
            ("a in (x", "expected: ',' or ')'"),
            ("=x", "found '='"),
            ("a,", "found ''"),
            ("a=b=c", "found '='"),
            ("a==", ""),
            ("-a=b", "Invalid value: \"-a\""),
            ("a=b c", "found 'c'"),
            ("a=b!", "found '!'"),
            ("A/b/c=d", "Invalid value"),
            ("n>x", "must be an integer"),
            ("!", "found ''"),
        ] {
            match LabelSelector::parse(selector) {
                Err(error) => assert!(error.to_string().contains(words), "{selector}: {error}"),
                Ok(parsed) => assert_eq!((words, selector), ("", "a=="), "{parsed} was accepted"),
            }
        }
        let long = vec!["a=b"; REQUIREMENTS_MAX + 1].join(",");
        assert!(matches!(LabelSelector::parse(&long), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn object_form() {
        let object: meta::LabelSelector = serde_json::from_str(
            r#"{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"tier","operator":"NotIn","values":["db"]}]}"#,
        )
        .unwrap();
        let selector = LabelSelector::from_object(&object).unwrap();
        assert!(selector.matches(&labels("app=web")));
        assert!(!selector.matches(&labels("app=web,tier=db")));
        assert_eq!(selector.to_string(), "app=web,tier!=db");
        assert!(!LabelSelector::from_optional(None).unwrap().matches(&labels("")));
        assert!(LabelSelector::from_optional(Some(&Default::default())).unwrap().matches(&labels("")));
        let bad: meta::LabelSelector =
            serde_json::from_str(r#"{"matchExpressions":[{"key":"tier","operator":"Within"}]}"#).unwrap();
        assert!(LabelSelector::from_object(&bad).unwrap_err().to_string().contains("Within"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_and_what_parses_prints(text in "[a-c!=<>(),in \\-./0-9]{0,24}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                let again = LabelSelector::parse(&selector.to_string());
                proptest::prop_assert_eq!(again, Ok(selector));
            }
        }
    }
}
