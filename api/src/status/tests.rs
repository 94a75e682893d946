//! How faults read, and that they survive the wire.

use super::*;

const PODS: Resource = Resource { group: "", plural: "pods" };
const DEPLOYMENTS: Resource = Resource { group: "apps", plural: "deployments" };

#[test]
fn is_worded_as_kubernetes_words_it() {
    let mut errors = FieldErrors::default();
    let spec = Path::Root.field("spec");
    let containers = spec.field("containers");
    errors.required(&containers.index(0).field("image"), "");
    errors.not_supported(&spec.field("restartPolicy"), "always", &["Always", "Never"]);
    for (status, code, message) in [
        (Status::not_found(PODS, "web"), 404, r#"pods "web" not found"#),
        (Status::not_found(DEPLOYMENTS, "web"), 404, r#"deployments.apps "web" not found"#),
        (Status::already_exists(PODS, "web"), 409, r#"pods "web" already exists"#),
        (
            Status::stale(DEPLOYMENTS, "web"),
            409,
            r#"Operation cannot be fulfilled on deployments.apps "web": the object has been modified; please apply your changes to the latest version and try again"#,
        ),
        (
            Status::invalid("", "Pod", "web", errors),
            422,
            r#"Pod "web" is invalid: [spec.containers[0].image: Required value, spec.restartPolicy: Unsupported value: "always": supported values: "Always", "Never"]"#,
        ),
        (Status::method_not_allowed(PODS, "delete"), 405, r#"delete is not supported on resources of kind "pods""#),
    ] {
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
}

#[test]
fn survives_the_wire() {
    let status = Status::too_many_requests("busy", 3);
    let text = String::from_utf8(status.to_json()).unwrap();
    assert_eq!(
        text,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"busy","reason":"TooManyRequests","details":{"retryAfterSeconds":3},"code":429}"#
    );
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
}

#[test]
fn quotes_no_more_than_a_person_reads() {
    let mut errors = FieldErrors::default();
    errors.invalid(&Path::Root.field("x"), "é".repeat(100_000), "too much");
    assert!(Status::invalid("", "Pod", "web", errors).to_json().len() < 6_000);
}
