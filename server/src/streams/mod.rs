//! Streams of containers: logs, exec, attach, port-forward. Read in this order:
//!
//! - `options`: what a caller asks for, from a query or from gRPC (pure);
//! - `container`: which container is meant, and can its logs be had (pure);
//! - `open`: from a Pod to a tunnel, for REST and gRPC alike;
//! - `ending`: how the end of a command is told (pure);
//! - `over`: the end of a replica's run;
//! - `log`, `exec`, `forward`: the handlers of the Pod's subresources;
//! - `websocket`, `spdy`: the two protocols that kubectl upgrades to; `carry`: the one inside the other.
//!
//! Authorization is done before: nothing here asks who the caller is.

mod carry;
mod container;
mod ending;
mod exec;
#[cfg(test)]
mod fixtures;
mod forward;
mod log;
mod open;
mod options;
mod over;
mod spdy;
mod websocket;

pub use exec::{attach, exec};
pub use forward::port_forward;
pub use log::log;
pub use open::Streams;
pub use options::{ExecOptions, LogOptions};

use api::Status;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

/// An error in the API's own shape.
fn failure(status: Status) -> Response {
    let mut response = Response::new(Body::from(status.to_json()));
    *response.status_mut() = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
