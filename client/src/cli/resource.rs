//! What a person names on the command line: a kind by any of its names, and objects of it. Decides.

use api::kinds::{self, Kind};
use proto::api::Target;

use super::Failure;

/// Finds a kind by any of its names, such as `pods`, `po`, `Pod` or `deployments.apps`.
pub fn kind(word: &str) -> Result<&'static Kind, Failure> {
    kinds::find_spoken(word).ok_or_else(|| {
        let known: Vec<&str> = kinds::KINDS.iter().map(|kind| kind.plural).collect();
        Failure::new(format!("there is no kind {word:?}; there are {}", known.join(", ")))
    })
}

/// `pods`, `pods web`, `pod/web`, `deploy/web svc/web`: kinds with the names given for them.
pub fn parse(words: &[String]) -> Result<Vec<(&'static Kind, Vec<String>)>, Failure> {
    if words.iter().any(|word| word.contains('/')) {
        return words
            .iter()
            .map(|word| match word.split_once('/') {
                Some((of, name)) if !name.is_empty() => Ok((kind(of)?, vec![name.to_owned()])),
                _ => {
                    Err(Failure::new(format!("{word:?}: either every word is KIND/NAME, or only the first is a KIND")))
                }
            })
            .collect();
    }
    let Some((first, names)) = words.split_first() else {
        return Err(Failure::new("say which objects, such as: pods, pod web, deploy/web svc/web"));
    };
    let mut kinds = Vec::new();
    for word in first.split(',') {
        match category(word) {
            members if members.is_empty() => kinds.push(kind(word)?),
            members => kinds.extend(members),
        }
    }
    if kinds.len() > 1 && !names.is_empty() {
        return Err(Failure::new("names go with a single kind"));
    }
    Ok(kinds.into_iter().map(|of| (of, names.to_vec())).collect())
}

/// The kinds that a word such as `all` stands for.
fn category(word: &str) -> Vec<&'static Kind> {
    kinds::KINDS.iter().filter(|kind| kind.categories.contains(&word)).collect()
}

/// The Pod's name in `web` or `pod/web`.
pub fn pod(word: &str) -> Result<String, Failure> {
    let Some((of, name)) = word.split_once('/') else { return Ok(word.to_owned()) };
    match kind(of)? {
        pod if pod.plural == "pods" && !name.is_empty() => Ok(name.to_owned()),
        _ => Err(Failure::new(format!("{word} is no Pod; name one of those that `kontiki get pods` shows"))),
    }
}

/// The place of one object (or, with an empty name, of all).
pub fn target(kind: &Kind, namespace: &str, name: &str) -> Target {
    Target {
        group: kind.group.into(),
        version: kind.version.into(),
        resource: kind.plural.into(),
        namespace: if kind.namespaced { namespace.into() } else { String::new() },
        name: name.into(),
        subresource: String::new(),
    }
}

/// `deployment.apps/web`, as messages name an object.
pub fn full_name(kind: &Kind, name: &str) -> String {
    match kind.group {
        "" => format!("{}/{name}", kind.singular),
        group => format!("{}.{group}/{name}", kind.singular),
    }
}
