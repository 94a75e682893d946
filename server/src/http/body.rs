//! Reads a request's body, within a size and a deadline. Acts.

use std::time::Duration;

use api::status::Status;
use api::yaml::{BODY_BYTES_MAX, Format};
use axum::body::Body as Incoming;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::protobuf;
use crate::objects::request::Body;

/// The whole body must be there within this time of its first byte.
const DEADLINE: Duration = Duration::from_secs(30);

pub async fn read(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Status> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(Status::request_entity_too_large(BODY_BYTES_MAX));
    }
    match tokio::time::timeout(DEADLINE, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Status::request_entity_too_large(BODY_BYTES_MAX)),
        Ok(Err(error)) => Err(Status::bad_request(format!("the body did not arrive whole: {error}"))),
        Err(_) => Err(Status::timeout(format!("the body did not arrive within {} s", DEADLINE.as_secs()), 0)),
    }
}

/// An object as a body. 415 for media types that no object is written in.
pub async fn object(headers: &HeaderMap, body: Incoming) -> Result<Body, Status> {
    match optional(headers, body).await? {
        Some(body) => Ok(body),
        None => Err(Status::bad_request("the request has no body: an object was expected")),
    }
}

/// As [`object`], where a body may be left out.
pub async fn optional(headers: &HeaderMap, body: Incoming) -> Result<Option<Body>, Status> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_protobuf = content_type.is_some_and(|given| given.split(';').next() == Some(protobuf::MEDIA_TYPE));
    let Some(format) = (if is_protobuf { Some(Format::Json) } else { Format::of(content_type) }) else {
        return Err(Status::unsupported_media_type(content_type.unwrap_or_default(), &SUPPORTED));
    };
    let bytes = read(headers, body).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes = if is_protobuf { protobuf::to_json(&bytes)?.into() } else { bytes };
    Ok(Some(Body { format, bytes }))
}

const SUPPORTED: [&str; 3] = ["application/json", "application/yaml", protobuf::MEDIA_TYPE];
