//! Bad input: a clear answer in the API's terms, a bounded cost, and everybody else is served on.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{CONFIG_MAPS, DEADLINE, PODS, Replica, config_map, get, pod, post, send_as};

#[tokio::test]
async fn bodies_that_mean_nothing_are_refused() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let before = replica.store.state().revision();
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned()
        + &(b'b'..=b'i')
            .map(|name| {
                let (name, below) = (name as char, (name - 1) as char);
                format!("{name}: &{name} [{}]\n", vec![format!("*{below}"); 9].join(", "))
            })
            .collect::<String>();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{{\"data\":{}1{}}}", "{\"a\":".repeat(5000), "}".repeat(5000));
    for (content_type, body, code, words) in [
        ("application/json", "{\"metadata\": {\"name\": ".to_owned(), 400, "EOF"),
        ("application/json", "{\"metadata\": nonsense}".to_owned(), 400, "line 1 column 15"),
        ("application/json", String::new(), 400, "no body"),
        ("application/json", "[]".to_owned(), 400, ""),
        ("application/json", "\u{0}".to_owned(), 400, ""),
        ("application/json", deep, 400, ""),
        ("application/json", nested, 400, ""),
        ("application/yaml", "metadata:\n  name: a\n b: c\n".to_owned(), 400, "line 3"),
        ("application/yaml", bomb, 400, ""),
        ("text/plain", "hello".to_owned(), 415, "application/json"),
        ("application/json", json!({"metadata": {"name": "x"}, "data": [1]}).to_string(), 400, "data"),
        ("application/json", json!({"metadata": {"name": 5}}).to_string(), 400, "metadata.name"),
        (
            "application/json",
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}).to_string(),
            400,
            "Pod",
        ),
        ("application/json", json!({"metadata": {"name": "Not_A_Name"}}).to_string(), 422, "metadata.name"),
        ("application/json", json!({"metadata": {}}).to_string(), 422, "metadata.name"),
        ("application/json", json!({"metadata": {"name": "a/b"}}).to_string(), 422, "metadata.name"),
        ("application/json", json!({"metadata": {"name": "x", "namespace": "other"}}).to_string(), 400, "namespace"),
    ] {
        let shown: String = body.chars().take(60).collect();
        let answer =
            send_as(&client, Method::POST, CONFIG_MAPS, content_type, "application/json", &Value::String(body)).await;
        assert_eq!(answer.code.as_u16(), code, "{shown}: {}", answer.body);
        assert_eq!((&answer.body["kind"], &answer.body["status"]), (&"Status".into(), &"Failure".into()), "{shown}");
        assert!(answer.message().contains(words), "{shown}: {}", answer.message());
    }
    assert_eq!(replica.store.state().revision(), before, "nothing was written");
    replica.stop().await;
}

#[tokio::test]
async fn unknown_fields_are_warned_of_or_refused() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let mut slip = pod("web");
    slip["spec"]["containers"][0]["imagee"] = "x".into();
    let strict = post(&client, &format!("{PODS}?fieldValidation=Strict"), &slip).await;
    assert_eq!(strict.code.as_u16(), 400);
    assert!(strict.message().contains(r#"unknown field "spec.containers[0].imagee""#), "{}", strict.message());
    let warned = post(&client, PODS, &slip).await;
    let header = warned.headers.get("warning").map(|value| value.to_str().unwrap().to_owned());
    assert!(header.is_some_and(|text| text.starts_with("299 - \"unknown field")), "{:?}", warned.headers);
    warned.expect(201);
    slip["metadata"]["name"] = "two".into();
    let ignored = post(&client, &format!("{PODS}?fieldValidation=Ignore"), &slip).await;
    assert!(!ignored.headers.contains_key("warning"));
    ignored.expect(201);
    assert_eq!(post(&client, &format!("{PODS}?fieldValidation=Maybe"), &slip).await.code.as_u16(), 400);
    replica.stop().await;
}

#[tokio::test]
async fn bodies_over_the_limit_are_cut_off() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let huge = config_map("huge", &"x".repeat(3 << 20));
    let answer = post(&client, CONFIG_MAPS, &huge).await;
    assert_eq!((answer.code.as_u16(), answer.reason()), (413, "RequestEntityTooLarge"));

    // Chunked, so that no length is told beforehand.
    let mut stream = replica.raw().await;
    let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(1 << 16));
    let mut answer = Vec::new();
    for _ in 0..64 {
        // The server may hang up while we still talk.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut bytes = [0u8; 4096];
    while !String::from_utf8_lossy(&answer).contains("413") {
        match tokio::time::timeout(DEADLINE, stream.read(&mut bytes)).await.expect("an answer comes in time") {
            Ok(count) if count > 0 => answer.extend_from_slice(&bytes[..count]),
            _ => break,
        }
    }
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    replica.stop().await;
}

#[tokio::test]
async fn half_a_request_stalls_nobody() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let mut halves = Vec::new();
    for text in [
        "",
        "GET /api",
        "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n{",
    ] {
        let mut stream = replica.raw().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        halves.push(stream);
    }
    // Neither does one that never begins its handshake.
    halves.push(replica.raw().await);
    let silent = tokio::net::TcpStream::connect(&replica.address).await.unwrap();
    for n in 0..20 {
        post(&client, CONFIG_MAPS, &config_map(&format!("m{n}"), "a")).await.expect(201);
    }
    drop((halves, silent));
    get(&client, CONFIG_MAPS).await.expect(200);
    replica.stop().await;
}

#[tokio::test]
async fn garbage_instead_of_http_is_cut() {
    let replica = Replica::start().await;
    let mut stream = replica.raw().await;
    stream.write_all(b"\x16\x03\x01 hello\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the server hangs up");
    assert!(read.is_err() || answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    replica.stop().await;
}

#[tokio::test]
async fn paths_and_methods_that_are_not_served() {
    let replica = Replica::start().await;
    let client = replica.admin();
    for (method, path, code) in [
        (Method::GET, "/nothing", 404),
        (Method::GET, "/api/v1/namespaces/default/widgets", 404),
        (Method::GET, "/apis/example.com/v1", 404),
        (Method::GET, "/api/v1/namespaces/default/pods/%2e%2e%2fsecrets%2fx", 404),
        (Method::POST, "/api/v1/pods", 405),
        (Method::PUT, PODS, 405),
        (Method::POST, "/healthz", 405),
        (Method::DELETE, "/api/v1/namespaces/default/pods/web/status", 405),
    ] {
        let answer = send_as(&client, method.clone(), path, "application/json", "application/json", &pod("web")).await;
        assert_eq!(answer.code.as_u16(), code, "{method} {path}: {}", answer.body);
        assert_eq!(answer.body["kind"], "Status", "{method} {path}");
        assert!(answer.headers.contains_key("audit-id"));
    }
    replica.stop().await;
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate_or_does_more_than_granted() {
    let replica = Replica::start().await;
    let anonymous = replica.anonymous();
    for path in [PODS, "/api", "/apis", "/metrics", "/openapi/v2", "/api/v1/nothing", "/apis/apps/v1"] {
        let answer = get(&anonymous, path).await;
        assert_eq!((answer.code.as_u16(), answer.reason()), (401, "Unauthorized"), "{path}");
    }
    for path in ["/healthz", "/livez", "/readyz", "/readyz?verbose", "/version"] {
        get(&anonymous, path).await.expect(200);
    }
    let jane = replica.client("jane", &["developers"]);
    let answer = get(&jane, PODS).await;
    assert_eq!(
        answer.message(),
        r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#
    );
    // With a slash at the end, as clients made from the OpenAPI document ask.
    for path in ["/apis", "/apis/", "/api/", "/version/", "/apis/apps/v1/"] {
        get(&jane, path).await.expect(200);
    }
    let who = post(&jane, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.expect(201);
    assert_eq!(who["status"]["userInfo"]["username"], "jane");

    let admin = replica.admin();
    let node = replica.client("system:node:n1", &["system:nodes"]);
    for (name, on) in [("mine", "n1"), ("other", "n2")] {
        let mut body = pod(name);
        body["spec"]["nodeName"] = on.into();
        post(&admin, PODS, &body).await.expect(201);
    }
    get(&node, &format!("{PODS}/mine")).await.expect(200);
    assert_eq!(get(&node, &format!("{PODS}/other")).await.code.as_u16(), 403);
    get(&node, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.expect(200);
    assert_eq!(get(&node, "/api/v1/pods").await.code.as_u16(), 403);
    let own = json!({"metadata": {"name": "n1"}});
    post(&node, "/api/v1/nodes", &own).await.expect(201);
    let others = json!({"metadata": {"name": "n2"}});
    assert_eq!(post(&node, "/api/v1/nodes", &others).await.code.as_u16(), 403);
    let running = json!({"status": {"phase": "Running"}});
    crate::harness::patch(&node, &format!("{PODS}/mine/status"), &running).await.expect(200);
    let answer = crate::harness::patch(&node, &format!("{PODS}/other/status"), &running).await;
    assert_eq!(answer.code.as_u16(), 403);
    replica.stop().await;
}
