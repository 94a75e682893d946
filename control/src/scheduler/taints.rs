//! Taints of nodes and what pods tolerate of them. Pure, decides.

use k8s_openapi::api::core::v1::{Taint, Toleration};

pub const NO_SCHEDULE: &str = "NoSchedule";
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
pub const NO_EXECUTE: &str = "NoExecute";

/// What the leader itself puts on nodes: by the Ready condition, and for `spec.unschedulable`.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub const CORDONED: &str = "node.kubernetes.io/unschedulable";

/// Kubernetes' rules: an empty key with Exists tolerates every taint, an empty effect every effect.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let same =
        |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == is);
    if !same(&toleration.effect, &taint.effect) || !same(&toleration.key, &taint.key) {
        return false;
    }
    let (mine, theirs) = (toleration.value.as_deref().unwrap_or(""), taint.value.as_deref().unwrap_or(""));
    let keyless = toleration.key.as_deref().unwrap_or("").is_empty();
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "" | "Equal" => !keyless && mine == theirs,
        "Lt" => compare(theirs, mine, |taint, bound| taint < bound),
        "Gt" => compare(theirs, mine, |taint, bound| taint > bound),
        _ => false,
    }
}

fn compare(taint: &str, bound: &str, holds: fn(i64, i64) -> bool) -> bool {
    taint.parse().ok().zip(bound.parse().ok()).is_some_and(|(taint, bound)| holds(taint, bound))
}

/// The first taint with one of these effects that none of the tolerations covers.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| effects.contains(&taint.effect.as_str()))
        .find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// How many PreferNoSchedule taints the pod would have to put up with.
pub fn disliked(taints: &[Taint], tolerations: &[Toleration]) -> usize {
    taints
        .iter()
        .filter(|taint| taint.effect == PREFER_NO_SCHEDULE)
        .filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
        .count()
}

/// How long a pod may stay on a node with a NoExecute taint: no time at all, a number of seconds since
/// the taint was added, or as long as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stay {
    Seconds(i64),
    Forever,
}

/// The shortest of the tolerations that cover the taint counts, as in Kubernetes.
pub fn stay(taint: &Taint, tolerations: &[Toleration]) -> Stay {
    tolerations
        .iter()
        .filter(|toleration| tolerates(toleration, taint))
        .map(|toleration| toleration.toleration_seconds.map_or(Stay::Forever, |seconds| Stay::Seconds(seconds.max(0))))
        .min()
        .unwrap_or(Stay::Seconds(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `key[=value]:effect`
    fn taint(text: &str) -> Taint {
        let (key, effect) = text.split_once(':').expect("an effect");
        let (key, value) = key.split_once('=').map_or((key, None), |(key, value)| (key, Some(value.to_string())));
        Taint { key: key.into(), value, effect: effect.into(), time_added: None }
    }

    /// `key operator value effect seconds`, with `-` for what is absent.
    fn toleration(text: &str) -> Toleration {
        let part = |index: usize| text.split(' ').nth(index).filter(|part| *part != "-").map(String::from);
        Toleration {
            key: part(0),
            operator: part(1),
            value: part(2),
            effect: part(3),
            toleration_seconds: part(4).map(|seconds| seconds.parse().expect("a number")),
        }
    }

    #[test]
    fn tolerations_cover_what_kubernetes_says() {
        for (tolerates_what, of, expected) in [
            ("k Equal v NoSchedule", "k=v:NoSchedule", true),
            ("k - v NoSchedule", "k=v:NoSchedule", true),
            ("k Equal w NoSchedule", "k=v:NoSchedule", false),
            ("k Equal v NoExecute", "k=v:NoSchedule", false),
            ("k Equal v -", "k=v:NoSchedule", true),
            ("k Exists - -", "k=v:NoExecute", true),
            ("j Exists - -", "k=v:NoExecute", false),
            ("- Exists - -", "k=v:NoExecute", true),
            ("- Equal - -", "k:NoExecute", false),
            ("k Equal - -", "k:NoExecute", true),
            ("k Gt 5 -", "k=6:NoSchedule", true),
            ("k Gt 5 -", "k=5:NoSchedule", false),
            ("k Lt 5 -", "k=4:NoSchedule", true),
            ("k Lt 5 -", "k=x:NoSchedule", false),
        ] {
            assert_eq!(tolerates(&toleration(tolerates_what), &taint(of)), expected, "{tolerates_what} of {of}");
        }
    }

    #[test]
    fn the_shortest_stay_counts() {
        let unreachable = taint("node.kubernetes.io/unreachable:NoExecute");
        for (tolerations, expected) in [
            (vec![], Stay::Seconds(0)),
            (vec!["other Exists - -"], Stay::Seconds(0)),
            (vec!["- Exists - -"], Stay::Forever),
            (vec!["- Exists - - 30", "- Exists - -"], Stay::Seconds(30)),
            (vec!["- Exists - NoExecute 30", "- Exists - NoExecute 5"], Stay::Seconds(5)),
            (vec!["- Exists - - -7"], Stay::Seconds(0)),
        ] {
            let parsed: Vec<_> = tolerations.iter().map(|text| toleration(text)).collect();
            assert_eq!(stay(&unreachable, &parsed), expected, "{tolerations:?}");
        }
    }
}
