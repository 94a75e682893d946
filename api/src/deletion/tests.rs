//! What single outcomes do not show: that asking again is harmless, and who is let go. More in `testdata/kinds`.

use proptest::prelude::*;

use super::*;
use crate::kinds::find_resource;

fn pod(meta: &str, spec: &str, status: &str) -> Vec<u8> {
    let meta = format!(r#"{{"name":"a","namespace":"default","uid":"u-1"{meta}}}"#);
    format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{meta},"spec":{{{spec}}},"status":{{{status}}}}}"#).into()
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

#[test]
fn a_pod_that_ran_to_its_end_needs_no_grace() {
    let pods = find_resource("", "pods").unwrap();
    let asked = Options { grace_seconds: Some(60), ..Options::default() };
    for (phase, removed) in [("Succeeded", true), ("Failed", true), ("Running", false), ("Pending", false)] {
        let stored = pod("", r#""nodeName":"n""#, &format!(r#""phase":"{phase}""#));
        let outcome = delete(pods, &stored, 1, &asked, now()).unwrap();
        assert_eq!(outcome == Deletion::Remove, removed, "{phase}");
    }
}

#[test]
fn a_pod_without_a_say_gets_the_default_and_a_negative_one_a_second() {
    let pods = find_resource("", "pods").unwrap();
    for (grace, expected) in [(None, 30), (Some(-5), 1), (Some(i64::MAX), GRACE_SECONDS_MAX)] {
        let stored = pod("", r#""nodeName":"n""#, "");
        let options = Options { grace_seconds: grace, ..Options::default() };
        let Deletion::Mark(marked) = delete(pods, &stored, 1, &options, now()).unwrap() else { panic!("{grace:?}") };
        let meta = object::meta(&marked).unwrap();
        assert_eq!(meta.deletion_grace_period_seconds, Some(expected));
        assert_eq!(meta.deletion_timestamp.unwrap().0, later(now(), expected));
    }
}

/// Its agent is to end it first, unless whoever asks says that nothing of it runs.
#[test]
fn a_bound_pod_that_wants_no_grace_is_marked_and_one_for_which_none_is_asked_is_removed() {
    let pods = find_resource("", "pods").unwrap();
    let cases = [("n", None, Some(1)), ("n", Some(0), None), ("n", Some(9), Some(9)), ("", None, None)];
    for (node, asked, expected) in cases {
        let spec = format!(r#""terminationGracePeriodSeconds":0,"nodeName":"{node}""#);
        let options = Options { grace_seconds: asked, ..Options::default() };
        let grace = match delete(pods, &pod("", &spec, ""), 1, &options, now()).unwrap() {
            Deletion::Mark(marked) => object::meta(&marked).unwrap().deletion_grace_period_seconds,
            Deletion::Remove => None,
            Deletion::Unchanged => panic!("it was not being deleted"),
        };
        assert_eq!(grace, expected, "{node:?} {asked:?}");
    }
}

#[test]
fn only_what_nothing_holds_is_released() {
    let pods = find_resource("", "pods").unwrap();
    let maps = find_resource("", "configmaps").unwrap();
    let deleted = r#","deletionTimestamp":"2026-01-02T03:04:05Z","deletionGracePeriodSeconds":"#;
    for (kind, meta, expected) in [
        (pods, "".to_string(), false),
        (pods, format!("{deleted}0"), true),
        (pods, format!("{deleted}30"), false),
        (maps, format!("{deleted}0"), true),
        (maps, format!(r#"{deleted}0,"finalizers":["a/b"]"#), false),
        (maps, r#","finalizers":[]"#.to_string(), false),
    ] {
        assert_eq!(is_released(kind, &pod(&meta, "", "")), expected, "{} {meta}", kind.kind);
    }
}

proptest! {
    #[test]
    fn asking_again_changes_nothing(
        is_pod: bool,
        is_bound: bool,
        has_finalizer: bool,
        grace in proptest::option::of(-1i64..100),
        propagation in proptest::option::of(0usize..3),
    ) {
        let kind = find_resource("", if is_pod { "pods" } else { "configmaps" }).unwrap();
        let meta = if has_finalizer { r#","finalizers":["a/b"]"# } else { "" };
        let stored = pod(meta, if is_bound { r#""nodeName":"n""# } else { "" }, "");
        let policies = [Propagation::Orphan, Propagation::Background, Propagation::Foreground];
        let propagation = propagation.map(|at| policies[at]);
        let options = Options { grace_seconds: grace, propagation, ..Options::default() };
        match delete(kind, &stored, 1, &options, now()).unwrap() {
            Deletion::Mark(marked) => {
                prop_assert!(object::meta(&marked).unwrap().deletion_timestamp.is_some());
                let again = delete(kind, &marked, 2, &options, later(now(), 1)).unwrap();
                prop_assert_eq!(again, Deletion::Unchanged);
            }
            Deletion::Remove => prop_assert!(!has_finalizer),
            Deletion::Unchanged => prop_assert!(false, "a live object was left alone"),
        }
    }
}
