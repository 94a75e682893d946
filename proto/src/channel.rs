//! gRPC channels over the seam, with deadlines and keepalives set where tonic leaves them off.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::gather::Gathered;
use crate::seam::Net;
use crate::tls;

/// How a channel behaves. The defaults suit a connection that should notice a dead peer within seconds.
#[derive(Clone, Debug)]
pub struct Options {
    pub connect_timeout: Duration,
    /// An HTTP/2 ping goes out this often; no answer within `keepalive_timeout` ends the connection.
    pub keepalive_interval: Duration,
    pub keepalive_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(2),
        }
    }
}

/// No connection could be made, so nothing was sent. Stands in the source chain of a call's error.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {address}")]
pub struct NotConnected {
    pub address: String,
    #[source]
    pub source: std::io::Error,
}

/// As the error of a call that was not sent, because `address` did not answer within `waited`.
pub fn silent(address: &str, waited: Duration) -> tonic::Status {
    let source = std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {waited:?}"));
    tonic::Status::from_error(Box::new(NotConnected { address: address.to_owned(), source }))
}

/// Did a call fail before anything was sent? Then it is safe to send it elsewhere.
pub fn never_sent(status: &tonic::Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<NotConnected>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A lazily connected channel to one address (`host:port`): dials at the first call, and again after a break.
/// `server_name`: the name the server's certificate must carry.
pub fn to(
    net: Arc<dyn Net>,
    tls: TlsConnector,
    address: String,
    server_name: &'static str,
    options: Options,
) -> Channel {
    let timeout = options.connect_timeout;
    let connector = tower::service_fn(move |_: Uri| {
        let (net, tls, address) = (net.clone(), tls.clone(), address.clone());
        async move {
            let dial = async {
                let stream = net.connect(&address).await?;
                tls::connect(&tls, server_name, stream).await
            };
            let connected = match tokio::time::timeout(timeout, dial).await {
                Ok(connected) => connected,
                Err(_) => {
                    Err(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {timeout:?}")))
                }
            };
            connected.map(Gathered::new).map(TokioIo::new).map_err(|source| NotConnected { address, source })
        }
    });
    // The scheme is plain because TLS is ours, below HTTP/2.
    Endpoint::from_static("http://kontiki.internal")
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .connect_with_connector_lazy(connector)
}
