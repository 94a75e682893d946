//! What is noticed, and how it is worded.

use super::*;
use crate::yaml::DEPTH_MAX;

fn pod(body: &str) -> Vec<String> {
    check_json("", "v1", "Pod", body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}")).faults
}

#[test]
fn unknown_and_duplicate_fields() {
    let cases: &[(&str, &[&str])] = &[
        (r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"any":"thing"}}}"#, &[]),
        (r#"{"spec":{"zzz":1}}"#, &[r#"unknown field "spec.zzz""#]),
        (
            r#"{"spec":{"containers":[{"name":"a"},{"resoueces":{"x":1}}]}}"#,
            &[r#"unknown field "spec.containers[1].resoueces" (did you mean "resources"?)"#],
        ),
        (r#"{"spec":{"Containers":[]}}"#, &[r#"unknown field "spec.Containers" (did you mean "containers"?)"#]),
        (
            r#"{"spec":{"containers":[{"name":"a"}],"image":"nginx"}}"#,
            &[r#"unknown field "spec.image" (did you mean "spec.containers[*].image"? Check the indentation)"#],
        ),
        (
            r#"{"containers":[]}"#,
            &[r#"unknown field "containers" (did you mean "spec.containers"? Check the indentation)"#],
        ),
        (
            r#"{"spec":{"containers":[{"nodeName":"a"}]}}"#,
            &[r#"unknown field "spec.containers[0].nodeName" (did you mean "spec.nodeName"? Check the indentation)"#],
        ),
        (
            r#"{"metadata":{"name":"a","name":"b","labels":{"x":"1","x":"2"}},"spec":{"a-b":1,"a-b":2}}"#,
            &[
                r#"duplicate field "metadata.name""#,
                r#"duplicate field "metadata.labels.x""#,
                r#"unknown field "spec.a-b""#,
                r#"duplicate field "spec.a-b""#,
            ],
        ),
        // What is unknown is not looked into; what is of the wrong type is for the decoder to say.
        (r#"{"zzzz":{"yyyy":1}}"#, &[r#"unknown field "zzzz""#]),
        (r#"{"spec":[{"zzzz":1}],"metadata":"x"}"#, &[]),
        (r#"{"metadata":{"managedFields":[{"fieldsV1":{"f:spec":{}}}]}}"#, &[]),
        (
            r#"{"spec":{"volumes":[{"name":"a","configMap":{"nam":"b"}}]}}"#,
            &[r#"unknown field "spec.volumes[0].configMap.nam" (did you mean "name"?)"#],
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(pod(body), *expected, "{body}");
        let parsed: Value = serde_json::from_str(body).unwrap();
        let without_duplicates: Vec<_> = expected.iter().filter(|fault| fault.starts_with("unknown")).collect();
        assert_eq!(
            check_value("", "v1", "Pod", &parsed).faults.iter().collect::<Vec<_>>(),
            without_duplicates,
            "{body}"
        );
    }
    let deployment = check_json("apps", "v1", "Deployment", br#"{"spec":{"template":{"spec":{"containres":[]}}}}"#);
    assert_eq!(
        deployment.unwrap().faults,
        [r#"unknown field "spec.template.spec.containres" (did you mean "containers"?)"#]
    );
}

#[test]
fn directives_decide_what_becomes_of_it() {
    let findings = || Findings { faults: vec!["unknown field \"spec.a\"".into(), "duplicate field \"b\"".into()] };
    let judge = |parameter| findings().judge(Directive::parse(parameter).unwrap(), "v1", "Pod");
    assert_eq!(judge(Some("Ignore")), Ok(vec![]));
    assert_eq!(judge(None), Ok(findings().faults));
    let refusal = judge(Some("Strict")).unwrap_err();
    assert_eq!(refusal.code, 400);
    assert_eq!(
        refusal.message,
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.a\", duplicate field \"b\""
    );
    assert_eq!(Findings::default().judge(Directive::Strict, "v1", "Pod"), Ok(vec![]));
    assert_eq!(Directive::parse(Some("strict")).unwrap_err().code, 400);
    assert_eq!(warning_header("unknown field \"a\\b\"\n"), r#"299 - "unknown field \"a\\b\"""#);
}

#[test]
fn bodies_that_are_none() {
    for (body, words) in
        [("{\"a\":", "EOF"), ("", "empty"), ("{}{}", "trailing"), ("{\"spec\": nil}", "line 1 column 11")]
    {
        let error = check_json("", "v1", "Pod", body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{body}: {error}");
    }
    let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(check_json("", "v1", "Pod", nested(DEPTH_MAX - 1).as_bytes()).is_ok());
    assert!(matches!(check_json("", "v1", "Pod", nested(DEPTH_MAX).as_bytes()), Err(yaml::Error::TooDeep { .. })));
    let many = format!("{{\"spec\":{{\"containers\":[{}{{}}]}}}}", "{},".repeat(yaml::OBJECTS_MAX));
    assert!(matches!(check_json("", "v1", "Pod", many.as_bytes()), Err(yaml::Error::TooMuch { .. })));
    let unknown: String = (0..1000).map(|n| format!("\"zz{n}\":1,")).collect();
    assert_eq!(pod(&format!("{{{unknown}\"kind\":\"Pod\"}}")).len(), FAULTS_MAX);
}
