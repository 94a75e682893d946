//! What a request's body is written in, and what it says. Pure, but for taking it: it arrived before (see `access`).

use api::status::Status;
use api::yaml::Format;
use axum::body::Body as Incoming;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;

use super::protobuf;
use crate::objects::request::Body;

pub async fn read(body: Incoming) -> Result<Bytes, Status> {
    let collected = body.collect().await.map_err(|error| Status::bad_request(error.to_string()))?;
    Ok(collected.to_bytes())
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
    let bytes = read(body).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes = if is_protobuf { protobuf::to_json(&bytes)?.into() } else { bytes };
    Ok(Some(Body { format, bytes }))
}

const SUPPORTED: [&str; 3] = ["application/json", "application/yaml", protobuf::MEDIA_TYPE];
