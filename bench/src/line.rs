//! Unary gRPC calls on one HTTP/2 connection, with as few steps as there can be: the time that the driver takes is not
//! there for the members, and makes the slower system look better than it is. Acts.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use proto::pki::API_NAME;
use proto::seam::Net;
use proto::tls;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::Status;

const DIAL_DEADLINE: Duration = Duration::from_secs(2);
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Compressed or not, and the length.
const FRAME_HEAD: usize = 5;

/// Cheap to clone: clones share the connection. Dials at the first call, and again after a break.
#[derive(Clone)]
pub struct Line {
    to: Arc<To>,
    live: Arc<Mutex<Option<SendRequest<Bytes>>>>,
}

struct To {
    net: Arc<dyn Net>,
    tls: TlsConnector,
    address: String,
}

impl Line {
    pub fn new(net: Arc<dyn Net>, tls: TlsConnector, address: String) -> Line {
        Line { to: Arc::new(To { net, tls, address }), live: Arc::default() }
    }

    pub async fn call<Q, A>(&self, path: &'static str, question: &Q) -> Result<A, Status>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        let sender = self.sender().await?;
        let answer = match exchange(sender, path, framed(question)).await {
            Ok(answer) => answer?,
            Err(broken) => {
                if !broken.is_reset() {
                    *self.live.lock().await = None;
                }
                return Err(Status::unavailable(broken.to_string()));
            }
        };
        let message = answer.get(FRAME_HEAD..).ok_or_else(|| Status::internal("an answer without a message"))?;
        A::decode(message).map_err(|error| Status::internal(error.to_string()))
    }

    async fn sender(&self) -> Result<SendRequest<Bytes>, Status> {
        let mut live = self.live.lock().await;
        if let Some(sender) = &*live {
            return Ok(sender.clone());
        }
        let dialled = timeout(DIAL_DEADLINE, self.to.dial()).await;
        let sender = dialled
            .map_err(|_| Status::unavailable(format!("{} does not answer", self.to.address)))?
            .map_err(|error| Status::unavailable(format!("{}: {error}", self.to.address)))?;
        Ok(live.insert(sender).clone())
    }
}

impl To {
    async fn dial(&self) -> Result<SendRequest<Bytes>, crate::Failure> {
        let stream = tls::connect(&self.tls, API_NAME, self.net.connect(&self.address).await?).await?;
        let mut http = h2::client::Builder::new();
        http.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW).enable_push(false);
        let (sender, connection) = http.handshake(stream).await?;
        // It ends with the last sender; why it broke, the calls say.
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn framed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(FRAME_HEAD + length);
    framed.put_u8(0);
    framed.put_u32(length as u32);
    message.encode(&mut framed).expect("there is room for it");
    framed.freeze()
}

/// The answer's frame, or what the member says instead; the error is the connection's.
async fn exchange(
    sender: SendRequest<Bytes>,
    path: &'static str,
    frame: Bytes,
) -> Result<Result<Bytes, Status>, h2::Error> {
    let mut sender = sender.ready().await?;
    let mut request = Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    let (answer, mut out) = sender.send_request(request, false)?;
    out.send_data(frame, true)?;
    let answer = answer.await?;
    if answer.status() != StatusCode::OK {
        return Ok(Err(Status::unavailable(format!("HTTP status {}", answer.status()))));
    }
    if let Some(status) = Status::from_header_map(answer.headers()) {
        return Ok(Err(status));
    }
    let mut body = answer.into_body();
    let mut frame = Bytes::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        frame = if frame.is_empty() { piece } else { [frame, piece].concat().into() };
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(match Status::from_header_map(&trailers) {
        Some(status) if status.code() == tonic::Code::Ok => Ok(frame),
        Some(status) => Err(status),
        None => Err(Status::unavailable("an answer without a status")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PutRequest;

    #[test]
    fn a_frame_says_how_long_its_message_is() {
        let message = PutRequest { key: "k".into(), value: vec![7; 300].into() };
        let framed = framed(&message);
        assert_eq!(framed[..FRAME_HEAD], [0, 0, 0, 1, 50], "{framed:?}");
        assert_eq!(<PutRequest as prost::Message>::decode(&framed[FRAME_HEAD..]).unwrap(), message);
    }
}
