//! What bad input gets: an answer that helps, and a cluster that goes on.

use crate::harness::Cluster;

fn refused(cluster: &Cluster, manifest: &str) -> String {
    cluster.kubectl_with_input(&["create", "--validate=strict", "-f", "-"], manifest).expect_failure()
}

#[test]
fn slips_in_manifests_are_named() {
    let cluster = Cluster::under_test();
    let deployment =
        |spec: &str| format!("{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: bad}}, spec: {spec}}}");
    let pod = |spec: &str| format!("{{apiVersion: v1, kind: Pod, metadata: {{name: bad}}, spec: {spec}}}");
    for (manifest, parts) in [
        ("{apiVersion: v1, kind: namespace, metadata: {name: dev}}".to_owned(), vec!["did you mean \"Namespace\""]),
        (pod("{containers: [{name: a}], image: x}"), vec!["spec.image", "ndentation"]),
        (pod("{containers: [{name: a, image: x, resoueces: {}}]}"), vec!["resoueces", "resources"]),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: nginxPod}, spec: {containers: [{name: a, image: x}]}}"
                .to_owned(),
            vec!["metadata.name", "nginxPod", "lower case"],
        ),
        (
            pod("{containers: [{name: a, image: x, resources: {limits: {memory: 1.5Gib}}}]}"),
            vec!["quantities must match"],
        ),
        (
            deployment(
                "{replicas: -1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: x}]}}}",
            ),
            vec!["spec.replicas", "-1"],
        ),
        (
            deployment(
                "{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: x}]}}}",
            ),
            vec!["spec.template.metadata.labels", "selector"],
        ),
        (pod("{containers: many}"), vec!["containers"]),
    ] {
        let said = refused(&cluster, &manifest);
        for part in parts {
            assert!(said.contains(part), "{part:?} is missing for {manifest}:\n{said}");
        }
    }
    assert!(!cluster.kubectl(&["get", "pod,deploy", "bad"]).ok, "nothing was left behind");
}

#[test]
fn hostile_bodies_cost_little_and_break_nothing() {
    let cluster = Cluster::under_test();
    let post = |path: &str, content_type: &str, body: &str| {
        let url =
            cluster.kubectl(&["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}"]).expect();
        let pki = cluster.dir().join("pki");
        let file = |name: &str| pki.join(name).display().to_string();
        let header = format!("content-type: {content_type}");
        let target = format!("{url}{path}");
        let (ca, crt, key) = (file("api-ca.crt"), file("admin.crt"), file("admin.key"));
        let args = [
            "-sS",
            "--http1.1",
            "--max-time",
            "20",
            "-o",
            "-",
            "-w",
            "\n%{http_code}",
            "--cacert",
            &ca,
            "--cert",
            &crt,
            "--key",
            &key,
            "-H",
            &header,
            "--data-binary",
            "@-",
            &target,
        ];
        cluster.run("curl", &args, body).expect()
    };
    let pods = "/api/v1/namespaces/default/pods";
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(8 << 20));
    for (body, content_type, code) in [
        ("{\"kind\":", "application/json", "400"),
        ("a: [1, 2", "application/yaml", "400"),
        (deep.as_str(), "application/json", "400"),
        (bomb, "application/yaml", "400"),
        (large.as_str(), "application/json", "413"),
        ("words", "text/plain", "415"),
    ] {
        let answer = post(pods, content_type, body);
        assert!(answer.ends_with(code), "{code} expected for {}…: {answer}", &body[..body.len().min(20)]);
        assert!(answer.contains("\"kind\":\"Status\""), "{answer}");
    }
    let missing = post("/api/v1/namespaces/default/nothings", "application/json", "{}");
    assert!(missing.ends_with("404"), "{missing}");
    cluster.settled();
}
