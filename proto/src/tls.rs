//! TLS over the seam: identities from PEM, mutual TLS among peers, an optional certificate for clients.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
pub use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::seam::Stream;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} holds no usable PEM data: {message}")]
    Pem { path: String, message: String },
    #[error("TLS settings do not fit together")]
    Rustls(#[from] rustls::Error),
    #[error("client certificates cannot be verified: {0}")]
    Verifier(String),
}

/// Installs ring as the process's crypto provider. Call once, first thing in `main`; a second call does nothing.
pub fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A certificate chain with its key, and the authority that the other side must come from. All PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate_pem: String,
    pub key_pem: String,
    pub authority_pem: String,
}

impl Identity {
    /// Reads `<name>.crt` and `<name>.key`, and `<authority>.crt`, from a directory.
    pub fn load(dir: &Path, name: &str, authority: &str) -> Result<Identity, Error> {
        let read = |file: String| {
            let path = dir.join(file);
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.display().to_string(), source })
        };
        Ok(Identity {
            certificate_pem: read(format!("{name}.crt"))?,
            key_pem: read(format!("{name}.key"))?,
            authority_pem: read(format!("{authority}.crt"))?,
        })
    }

    fn chain(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        let certificates = certificates(&self.certificate_pem)?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|error| Error::Pem { path: "the private key".into(), message: error.to_string() })?;
        Ok((certificates, key))
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(Error::Pem { path: "the certificate".into(), message: "no certificate in it".into() }),
        Err(error) => Err(Error::Pem { path: "the certificate".into(), message: error.to_string() }),
    }
}

fn roots(pem: &str) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate)?;
    }
    Ok(store)
}

/// Does a server insist on a client's certificate?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientCertificate {
    Required,
    /// Verified when given; a client without one may still authenticate otherwise.
    Optional,
}

/// The server's side. `alpn`: protocols in order of preference, such as `["h2", "http/1.1"]`.
pub fn acceptor(identity: &Identity, client: ClientCertificate, alpn: &[&str]) -> Result<TlsAcceptor, Error> {
    let roots = Arc::new(roots(&identity.authority_pem)?);
    let verifier = WebPkiClientVerifier::builder(roots);
    let verifier = match client {
        ClientCertificate::Required => verifier,
        ClientCertificate::Optional => verifier.allow_unauthenticated(),
    };
    let verifier = verifier.build().map_err(|error| Error::Verifier(error.to_string()))?;
    let (chain, key) = identity.chain()?;
    let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    // Session tickets would let a connection resume without showing its certificate again.
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The client's side: shows `identity` and accepts only servers of its authority.
pub fn connector(identity: &Identity, alpn: &[&str]) -> Result<TlsConnector, Error> {
    let (chain, key) = identity.chain()?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots(&identity.authority_pem)?)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Like [`connector`], for a client that has no certificate (it brings a token).
pub fn anonymous_connector(authority_pem: &str, alpn: &[&str]) -> Result<TlsConnector, Error> {
    let mut config = ClientConfig::builder().with_root_certificates(roots(authority_pem)?).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Runs the handshake over a stream of the seam. `server_name`: the name that the certificate must carry.
/// Has no deadline of its own: the caller sets one.
pub async fn connect(
    connector: &TlsConnector,
    server_name: &str,
    stream: Box<dyn Stream>,
) -> std::io::Result<tokio_rustls::client::TlsStream<Box<dyn Stream>>> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(std::io::Error::other)?;
    connector.connect(name, stream).await
}

/// Who a client's certificate says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    /// The organizations (`O`), which are groups in Kubernetes' reading.
    pub organizations: Vec<String>,
}

/// Reads the subject of a verified certificate; `None` when it has no common name.
pub fn subject(certificate: &CertificateDer<'_>) -> Option<Subject> {
    use x509_parser::prelude::FromDer as _;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    Some(Subject {
        common_name: parsed.subject().iter_common_name().find_map(text)?,
        organizations: parsed.subject().iter_organization().filter_map(text).collect(),
    })
}
