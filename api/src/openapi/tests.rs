//! What kubectl looks for in the documents.

use super::*;

fn v3_document(group: &str) -> Value {
    serde_json::from_slice(&v3(group, "v1").unwrap()).unwrap()
}

/// Every reference in a document leads somewhere.
fn check_references(document: &Value, value: &Value, prefix: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                let name = reference.strip_prefix(prefix).unwrap_or_else(|| panic!("{reference}"));
                let found = match prefix {
                    "#/definitions/" => &document["definitions"][name],
                    _ => &document["components"]["schemas"][name],
                };
                assert!(found.is_object(), "{name} is not defined");
            }
            fields.values().for_each(|field| check_references(document, field, prefix));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item, prefix)),
        _ => {}
    }
}

#[test]
fn references_lead_somewhere() {
    for (group, version) in group_versions() {
        let document: Value = serde_json::from_slice(&v3(group, version).unwrap()).unwrap();
        check_references(&document, &document, "#/components/schemas/");
    }
    let document: Value = serde_json::from_slice(&v2()).unwrap();
    check_references(&document, &document, "#/definitions/");
    assert_eq!(v3("apps", "v2"), None);
}

#[test]
fn the_index_names_every_document() {
    let index = v3_index();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={}", v3_hash("apps", "v1").unwrap()));
    assert!(index["paths"]["api/v1"].is_object());
    assert_ne!(v3_hash("", "v1"), v3_hash("apps", "v1"));
}

#[test]
fn patches_say_that_fields_are_validated() {
    let document = v3_document("apps");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    let list = &document["paths"]["/apis/apps/v1/deployments"]["get"];
    assert_eq!(
        (list["x-kubernetes-action"].as_str(), list["operationId"].as_str()),
        (Some("list"), Some("listAppsV1DeploymentForAllNamespaces"))
    );
}

#[test]
fn schemas_carry_what_apply_and_explain_need() {
    let schemas = &v3_document("")["components"]["schemas"];
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(
        (&containers["x-kubernetes-patch-strategy"], &containers["x-kubernetes-patch-merge-key"]),
        (&json!("merge"), &json!("name"))
    );
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert!(containers["description"].as_str().unwrap().contains("containers"));
    let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "version": "v1", "kind": "Pod"}]));
    assert_eq!(
        pod["properties"]["spec"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}])
    );
    assert!(schemas["io.k8s.api.core.v1.PodList"]["properties"]["items"].is_object());
    let port = &schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!((port["format"].as_str(), port["oneOf"].as_array().map(Vec::len)), (Some("int-or-string"), Some(2)));
    let finalizers = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]["finalizers"];
    assert_eq!(finalizers["x-kubernetes-patch-strategy"], "merge");
}

#[test]
fn the_old_form_in_both_notations() {
    let document: Value = serde_json::from_slice(&v2()).unwrap();
    assert_eq!(document["swagger"], "2.0");
    let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"]["spec"];
    assert_eq!(pod["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert!(patch["consumes"].as_array().unwrap().contains(&json!("application/strategic-merge-patch+json")));
    let protobuf = v2_protobuf();
    assert!(protobuf.len() > 100_000 && protobuf.starts_with(b"\x0a\x032.0"));
    assert!(wants_protobuf("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"));
    assert!(wants_protobuf(&format!("{V2_PROTOBUF}, application/json")));
    assert!(!wants_protobuf("application/json, */*"));
}
