//! Responses in the API's own shape: objects, statuses, warnings. Pure.

use api::field_validation::warning_header;
use api::status::Status;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
pub const WARNING: HeaderName = http::header::WARNING;

/// Together, so that a response's head stays small.
const WARNINGS_BYTES_MAX: usize = 8 << 10;
const WARNINGS_MAX: usize = 64;

pub fn json(code: StatusCode, body: impl Into<Body>) -> Response<Body> {
    typed(code, JSON, body)
}

pub fn yaml(code: StatusCode, body: impl Into<Body>) -> Response<Body> {
    typed(code, YAML, body)
}

pub fn text(code: StatusCode, body: impl Into<Body>) -> Response<Body> {
    typed(code, HeaderValue::from_static("text/plain; charset=utf-8"), body)
}

pub fn typed(code: StatusCode, content_type: HeaderValue, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A failure, or a success that has no object to show.
pub fn status(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, Bytes::from(status.to_json()));
    let after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if after > 0 {
        response.headers_mut().insert(RETRY_AFTER, after.into());
    }
    if code == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer realm=\"kontiki\"");
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// A refusal, as handlers return it with `?`.
pub struct Failure(Status);

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure(status)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        status(&self.0)
    }
}

/// As RFC 7234 has them, which is how clients of the API read them: `299 - "text"`.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    let mut bytes = 0;
    for warning in warnings.iter().take(WARNINGS_MAX) {
        let text = warning_header(warning);
        bytes += text.len();
        if bytes > WARNINGS_BYTES_MAX {
            return;
        }
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_cannot_break_the_head() {
        let mut response = json(StatusCode::OK, Body::empty());
        warn(&mut response, &["unknown field \"a\r\nb\"".into(), "x".repeat(9000)]);
        let values: Vec<_> = response.headers().get_all(WARNING).iter().collect();
        assert_eq!(values, [r#"299 - "unknown field \"ab\"""#]);
    }
}
