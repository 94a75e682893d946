//! Makes the certificates of a cluster: two authorities (one for the API, one for peers), and what they sign.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// The name every replica's peer certificate carries besides its own; peers check for it.
pub const PEER_NAME: &str = "peer.kontiki.internal";
/// The name every replica's API certificate carries, so that clients can verify it by any address.
pub const API_NAME: &str = "kontiki.internal";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make the certificate for {name}")]
    Make {
        name: String,
        #[source]
        source: rcgen::Error,
    },
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

/// An authority: signs, and is trusted.
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
}

/// A certificate with its key, PEM.
pub struct Pair {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// What a certificate is for.
pub struct Request<'a> {
    pub common_name: &'a str,
    /// Groups, in Kubernetes' reading.
    pub organizations: &'a [&'a str],
    /// DNS names and IP addresses; empty for a pure client.
    pub hosts: &'a [String],
}

impl Authority {
    pub fn make(name: &str) -> Result<Authority, Error> {
        let fail = |source| Error::Make { name: name.into(), source };
        let key = KeyPair::generate().map_err(fail)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).map_err(fail)?;
        Ok(Authority { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Reads `<name>.crt` and `<name>.key`, or makes them when neither is there.
    pub fn load_or_make(dir: &Path, name: &str) -> Result<Authority, Error> {
        let path = dir.join(format!("{name}.crt"));
        if !path.exists() {
            let made = Authority::make(&format!("kontiki-{name}"))?;
            write(dir, name, &Pair { certificate_pem: made.certificate_pem.clone(), key_pem: made.key_pem.clone() })?;
            return Ok(made);
        }
        let read = |file: String| {
            let path = dir.join(file);
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.display().to_string(), source })
        };
        Ok(Authority { certificate_pem: read(format!("{name}.crt"))?, key_pem: read(format!("{name}.key"))? })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Signs a certificate that serves and connects alike.
    pub fn sign(&self, request: &Request<'_>) -> Result<Pair, Error> {
        let fail = |source| Error::Make { name: request.common_name.into(), source };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, request.common_name);
        for organization in request.organizations {
            params.distinguished_name.push(DnType::OrganizationName, *organization);
        }
        for host in request.hosts {
            params.subject_alt_names.push(match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into().map_err(fail)?),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let issuer_key = KeyPair::from_pem(&self.key_pem).map_err(fail)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, issuer_key).map_err(fail)?;
        let key = KeyPair::generate().map_err(fail)?;
        let certificate = params.signed_by(&key, &issuer).map_err(fail)?;
        Ok(Pair { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// Writes `<name>.crt` and `<name>.key` (readable by the owner alone).
pub fn write(dir: &Path, name: &str, pair: &Pair) -> Result<(), Error> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let put = |file: String, text: &str, mode: u32| {
        let path = dir.join(file);
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| Error::Write { path: path.display().to_string(), source })
    };
    std::fs::create_dir_all(dir).map_err(|source| Error::Write { path: dir.display().to_string(), source })?;
    put(format!("{name}.key"), &pair.key_pem, 0o600)?;
    put(format!("{name}.crt"), &pair.certificate_pem, 0o644)
}
