//! One small request over a stream: HTTP, HTTPS without checking the certificate (as probes do), gRPC health. Acts.

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::seam::Stream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::Target;

const AGENT: &str = "kube-probe/1.33";
/// Taken in of an answer about health, which has 7 bytes: a container may send as much as it likes.
const HEALTH_BYTES_MAX: usize = 4096;

/// The response's status code.
pub async fn get(stream: Box<dyn Stream>, target: &Target) -> Result<u16, String> {
    if !target.tls {
        return send(stream, target).await;
    }
    let connector = tokio_rustls::TlsConnector::from(Arc::new(trusting()?));
    let name = ServerName::IpAddress(target.address.ip().into());
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    send(Box::new(stream), target).await
}

async fn send(stream: Box<dyn Stream>, target: &Target) -> Result<u16, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let mut request = Request::get(&target.path).header("Host", &target.host).header("Connection", "close");
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let has = |name: &str| target.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    if !has("user-agent") {
        request = request.header("User-Agent", AGENT);
    }
    if !has("accept") {
        request = request.header("Accept", "*/*");
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Ok(response.status().as_u16())
    };
    // The connection is driven by the same task, so that it ends with it.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It may end right behind the answer, or with an error that the answer repeats.
        _ = connection => answer.await,
    }
}

/// `grpc.health.v1.Health/Check`, written by hand: the messages have one field each.
pub async fn grpc_health(stream: Box<dyn Stream>, service: &str) -> Result<(), String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(text)?;
    let mut message = BytesMut::new();
    if !service.is_empty() {
        prost::encoding::string::encode(1, &service.to_owned(), &mut message);
    }
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(message.len() as u32);
    body.extend_from_slice(&message);
    let request = Request::post("http://probe/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body.freeze()))
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(text)?;
        let body = Limited::new(response.into_body(), HEALTH_BYTES_MAX);
        let body = body.collect().await.map_err(|error| format!("no answer about health: {error}"))?;
        serving(body.to_bytes())
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It may end right behind the answer, or with an error that the answer repeats.
        _ = connection => answer.await,
    }
}

/// A frame's head of 5 bytes, then field 1 as a varint: 1 means SERVING.
fn serving(mut bytes: Bytes) -> Result<(), String> {
    if bytes.len() < 7 {
        return Err("service unhealthy (responded without a status)".into());
    }
    bytes.advance(5);
    match (bytes.get_u8(), bytes.get_u8()) {
        (0x08, 1) => Ok(()),
        (_, status) => Err(format!("service unhealthy (responded with status {status})")),
    }
}

fn trusting() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate)).with_no_client_auth())
}

/// A probe asks whether the container answers, not who it is.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::Response;
    use hyper::body::Incoming;
    use hyper::server::conn::http2;
    use hyper::service::service_fn;

    use super::*;

    /// What is made of an answer with this body.
    async fn health(body: Vec<u8>) -> Result<(), String> {
        let (near, far) = tokio::io::duplex(4096);
        let body = Bytes::from(body);
        let service = service_fn(move |_: Request<Incoming>| {
            let body = body.clone();
            async move { Ok::<_, Infallible>(Response::new(Full::new(body))) }
        });
        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(far), service));
        grpc_health(Box::new(near), "").await
    }

    #[tokio::test]
    async fn of_an_answer_about_health_only_so_much_is_taken_in() {
        let answer = vec![0, 0, 0, 0, 2, 0x08, 1];
        assert_eq!(health(answer.clone()).await, Ok(()));
        let refusal = health([answer, vec![0; HEALTH_BYTES_MAX]].concat()).await.unwrap_err();
        assert!(refusal.contains("length limit exceeded"), "{refusal}");
    }
}
