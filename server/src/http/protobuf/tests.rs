//! Bytes as client-go writes them, and bytes as nobody should.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value as u64)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn text(field: u64, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let types = [text(1, api_version), text(2, kind)].concat();
    [MAGIC.to_vec(), bytes(1, &types), bytes(2, object), text(3, ""), text(4, "")].concat()
}

fn decoded(api_version: &str, kind: &str, object: &[u8]) -> Value {
    serde_json::from_slice(&to_json(&body(api_version, kind, object)).unwrap()).unwrap()
}

#[test]
fn a_deployment_says_what_it_said() {
    let entry = |key: &str, value: &str| [text(1, key), text(2, value)].concat();
    let meta =
        [text(1, "web"), text(2, ""), text(3, "default"), number(7, 0), bytes(8, b""), bytes(11, &entry("app", "web"))];
    let quantity = [text(1, "memory"), bytes(2, &text(1, "64Mi"))].concat();
    let port = [text(1, ""), number(2, 0), number(3, 80), text(4, "TCP")].concat();
    let probe_action =
        bytes(2, &[text(1, "/"), bytes(2, &[number(1, 1), number(2, 0), text(3, "http")].concat())].concat());
    let probe = [bytes(1, &probe_action), number(2, 0), number(3, 5)].concat();
    let container = [
        text(1, "main"),
        text(2, "nginx:1.17.1"),
        text(3, "sh"),
        text(3, "-c"),
        bytes(6, &port),
        bytes(8, &bytes(1, &quantity)),
        bytes(10, &probe),
    ]
    .concat();
    // The source of a volume is a message of its own on the wire, and no level of its own in JSON.
    let volume = [text(1, "data"), bytes(2, &bytes(2, &text(1, "Memory")))].concat();
    let pod = [bytes(1, &volume), bytes(2, &container), number(4, 0), number(11, 0)].concat();
    let template = [bytes(1, &bytes(11, &entry("app", "web"))), bytes(2, &pod)].concat();
    let selector = bytes(1, &entry("app", "web"));
    let rolling = bytes(1, &[number(1, 0), number(2, 0), text(3, "")].concat());
    let strategy = [text(1, "RollingUpdate"), bytes(2, &rolling)].concat();
    let spec =
        [number(1, 0), bytes(2, &selector), bytes(3, &template), bytes(4, &strategy), number(5, 0), number(7, 1)];
    let object = [bytes(1, &meta.concat()), bytes(2, &spec.concat()), bytes(3, &number(1, 0))].concat();
    assert_eq!(
        decoded("apps/v1", "Deployment", &object),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
            "spec": {"replicas": 0, "paused": true, "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "volumes": [{"name": "data", "emptyDir": {"medium": "Memory"}}],
                    "containers": [{"name": "main", "image": "nginx:1.17.1", "command": ["sh", "-c"],
                        "ports": [{"containerPort": 80, "protocol": "TCP"}],
                        "resources": {"limits": {"memory": "64Mi"}},
                        "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "timeoutSeconds": 5}}]}}},
            "status": {}})
    );
}

#[test]
fn secrets_times_and_options_are_read() {
    let secret = bytes(2, &[text(1, "key"), bytes(2, b"\x00\xff")].concat());
    assert_eq!(decoded("v1", "Secret", &secret)["data"]["key"], "AP8=");
    let lease = bytes(2, &[number(2, 15), bytes(4, &[number(1, 1_700_000_000), number(2, 5_000)].concat())].concat());
    assert_eq!(
        decoded("coordination.k8s.io/v1", "Lease", &lease)["spec"],
        json!({"leaseDurationSeconds": 15, "renewTime": "2023-11-14T22:13:20.000005Z"})
    );
    let options = [number(1, 0), text(4, "Background")].concat();
    assert_eq!(
        decoded("policy/v1", "DeleteOptions", &options),
        json!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    );
    let groups = number(2, -5);
    let pod = bytes(2, &bytes(14, &[bytes(4, &[varint(7), varint(8)].concat()), number(5, -1), groups].concat()));
    assert_eq!(decoded("v1", "Pod", &pod)["spec"]["securityContext"]["supplementalGroups"], json!([7, 8]));
}

#[test]
fn what_is_no_object_is_refused() {
    assert_eq!(to_json(b"{}"), Err(Error::Magic));
    assert_eq!(to_json(b"k8s\0\xff"), Err(Error::Malformed));
    assert_eq!(to_json(&body("v1", "Pod", b"\x0a\x7f")), Err(Error::Malformed));
    let unknown = Error::Unknown { api_version: "v1".into(), kind: "Nothing".into() };
    assert_eq!(to_json(&body("v1", "Nothing", b"")), Err(unknown));
    let many = bytes(14, b"").repeat(NODES_MAX + 1);
    assert_eq!(to_json(&body("v1", "Pod", &bytes(1, &many))), Err(Error::TooMuch));
}

proptest! {
    #[test]
    fn no_bytes_panic(object in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        for kind in ["Pod", "Secret", "Event", "Node"] {
            let mut body = body("v1", kind, &object);
            let _ = to_json(&body);
            body.truncate(body.len().saturating_sub(cut));
            let _ = to_json(&body);
        }
    }
}
