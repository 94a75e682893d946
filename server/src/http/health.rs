//! Liveness, readiness and metrics. Acts (reads only).

use axum::body::Body;
use axum::extract::State;
use http::{HeaderValue, Response, StatusCode, Uri};

use super::caller::Caller;
use super::respond::Failure;
use super::{Doors, respond};

/// One check with its outcome.
struct Check {
    name: &'static str,
    failure: Option<String>,
}

/// The process answers, so it lives. A replica without a leader lives as well: restarting it would not help.
pub async fn live(uri: Uri) -> Response<Body> {
    report(&uri, "livez", &[Check { name: "ping", failure: None }])
}

/// Ready for requests: the disk and the state can be trusted, a leader is known, and this replica is not about to end.
pub async fn ready(State(doors): State<Doors>, uri: Uri) -> Response<Body> {
    let leader = doors.store.standing().borrow().leader;
    let no_leader = leader.is_none().then(|| "no leader is known".to_owned());
    let ends = doors.shutdown.is_cancelled().then(|| "this replica is shutting down".to_owned());
    let checks = [
        Check { name: "ping", failure: None },
        Check { name: "store", failure: doors.store.health().err().map(|unwell| unwell.to_string()) },
        Check { name: "leader", failure: no_leader },
        Check { name: "shutdown", failure: ends },
    ];
    report(&uri, "readyz", &checks)
}

fn report(uri: &Uri, name: &str, checks: &[Check]) -> Response<Body> {
    let healthy = checks.iter().all(|check| check.failure.is_none());
    let verbose = uri.query().is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    if healthy && !verbose {
        return respond::text(StatusCode::OK, "ok");
    }
    let mut text = String::new();
    for check in checks {
        match &check.failure {
            None => text.push_str(&format!("[+]{} ok\n", check.name)),
            Some(why) => text.push_str(&format!("[-]{} failed: {why}\n", check.name)),
        }
    }
    text.push_str(&format!("{name} check {}\n", if healthy { "passed" } else { "failed" }));
    respond::text(if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, text)
}

pub async fn metrics(State(doors): State<Doors>, caller: Caller, uri: Uri) -> Result<Response<Body>, Failure> {
    caller.may_get(&uri)?;
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(respond::typed(StatusCode::OK, kind, doors.metrics.text(&doors.store)))
}
