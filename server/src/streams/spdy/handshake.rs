//! The HTTP/1.1 upgrade to SPDY/3.1, with the sub-protocol in a header of Kubernetes' own. Acts.

use std::future::Future;
use std::time::Duration;

use api::{Status, status::Resource};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::streams::over;

/// Exec and attach, newest first. A client that names none speaks the oldest.
pub const EXEC_PROTOCOLS: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
pub const FORWARD_PROTOCOL: &str = "portforward.k8s.io";

const VERSION_HEADER: &str = "x-stream-protocol-version";
/// From the 101 to the bare connection.
const UPGRADE_MAX: Duration = Duration::from_secs(10);

/// A request that can be upgraded.
pub struct Handshake {
    upgrade: OnUpgrade,
    protocol: &'static str,
}

impl Handshake {
    /// `known`: the sub-protocols, the oldest last.
    pub fn of(request: &mut Request, known: &[&'static str]) -> Result<Handshake, Status> {
        let values = request.headers().get_all(VERSION_HEADER);
        let offered: Vec<&str> = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        let protocol = match offered.is_empty() {
            true => known.last().copied(),
            false => offered.iter().find_map(|name| known.iter().find(|&known| known == name).copied()),
        };
        let protocol = protocol.ok_or_else(|| {
            let why = format!("unable to upgrade: the client speaks {offered:?}, and this server {known:?}");
            Status::forbidden(Resource { group: "", plural: "" }, "", why)
        })?;
        if request.extensions().get::<OnUpgrade>().is_none() {
            return Err(Status::bad_request("unable to upgrade: SPDY/3.1 needs HTTP/1.1"));
        }
        Ok(Handshake { upgrade: hyper::upgrade::on(request), protocol })
    }

    /// Answers 101, and runs what `serve` makes in a task of its own, which ends with the `run`.
    pub fn accept<F>(
        self,
        run: CancellationToken,
        serve: impl FnOnce(Connection, &'static str) -> F + Send + 'static,
    ) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Handshake { upgrade, protocol } = self;
        tokio::spawn(over::within(run, async move {
            match timeout(UPGRADE_MAX, upgrade).await {
                Ok(Ok(upgraded)) => serve(Connection::over(TokioIo::new(upgraded)), protocol).await,
                Ok(Err(error)) => tracing::debug!(%error, "an upgrade to SPDY/3.1 failed"),
                Err(_) => tracing::debug!("an upgrade to SPDY/3.1 did not come about in time"),
            }
        }));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        headers.insert(VERSION_HEADER, HeaderValue::from_static(protocol));
        response
    }
}
