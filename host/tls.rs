//! TLS towards servers: the system's certificate authorities, those of a file besides, and always
//! verified. There is no way to switch that off. Key functions: [`client_config`], [`explain`].

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use time::OffsetDateTime;

use crate::backoff::Class;
use crate::excerpt::causes;

/// Largest file of certificate authorities; the system's own has a quarter of a MiB.
const MAX_CA_FILE: u64 = 4 << 20;

/// Why no TLS configuration could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or holds something else.
    #[error("ca_file {}: {detail}", file.display())]
    CaFile {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// There is nobody to trust.
    #[error(
        "no certificate authorities found on this system\nhint: install ca-certificates, or give a ca_file"
    )]
    NoRoots,
    /// The library refused.
    #[error("tls: {0}")]
    Library(#[from] rustls::Error),
}

/// A configuration that trusts the system's certificate authorities and those in `ca_file`, but for
/// those of the file that have expired: these are named in the log.
///
/// # Errors
/// When the file is unusable, or nothing at all would be trusted.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    // Single certificates of the system's that cannot be read are the system's business.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let failed = |detail: String| TlsError::CaFile { file: file.to_owned(), detail };
        let pem = read_ca_file(file).map_err(failed)?;
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            found += 1;
            let certificate = certificate.map_err(|e| failed(e.to_string()))?;
            let mut one = RootCertStore::empty();
            one.add(certificate.clone())
                .map_err(|e| failed(format!("certificate {found}: {e}")))?;
            match expiry(one, &certificate) {
                // The library takes an authority for ever; nobody else would.
                Some(date) => tracing::warn!(
                    "ca_file {}: certificate {found} expired on {date}; it is not trusted",
                    file.display()
                ),
                None => roots.add(certificate).map_err(|e| failed(e.to_string()))?,
            }
        }
        if found == 0 {
            return Err(failed("it holds no PEM certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(Arc::new(trusting(roots)?))
}

fn read_ca_file(file: &Path) -> Result<Vec<u8>, String> {
    // Looked at first: opening a pipe would wait for a writer.
    if !std::fs::metadata(file).map_err(|e| e.to_string())?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut pem = Vec::new();
    let opened = std::fs::File::open(file);
    let read = opened.and_then(|opened| opened.take(MAX_CA_FILE + 1).read_to_end(&mut pem));
    read.map_err(|e| e.to_string())?;
    if pem.len() as u64 > MAX_CA_FILE {
        return Err(format!("it is larger than {} MiB", MAX_CA_FILE >> 20));
    }
    Ok(pem)
}

/// A configuration that trusts nobody: for clients that speak plain HTTP on this machine, and need
/// not read the system's certificates for that.
///
/// # Errors
/// When the library refuses.
pub fn no_trust() -> Result<ClientConfig, rustls::Error> {
    trusting(RootCertStore::empty())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// When an authority expired, if it has. The library looks at that only in what a server shows, so it
/// is asked about the authority as if a server had shown it.
fn expiry(only: RootCertStore, certificate: &CertificateDer<'_>) -> Option<String> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(only), provider()).build().ok()?;
    let name = ServerName::try_from("any.invalid").ok()?;
    let verified = verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
    match verified {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(date(not_after))
        }
        _ => None,
    }
}

fn date(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok();
    let time = time.and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
    time.map_or_else(|| "an unknown date".to_owned(), |time| time.date().to_string())
}

/// What a failed handshake means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// In words.
    pub what: String,
    /// The likely fix; empty where none is known.
    pub hint: String,
    /// Whether it may pass by itself.
    pub class: Class,
}

/// Says what a failed handshake with `host` means, and what to do.
pub fn explain(error: &io::Error, host: &str) -> Explained {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(why)) => {
            let (what, hint) = of_certificate(why, host);
            Explained { what, hint, class: Class::NeedsAttention }
        }
        Some(Error::InvalidMessage(_)) => Explained {
            what: "what answered does not speak TLS".to_owned(),
            hint: "is the port right, and is it one for https?".to_owned(),
            class: Class::NeedsAttention,
        },
        Some(Error::AlertReceived(alert)) => Explained {
            what: format!("the server refused the handshake: {alert:?}"),
            hint: "TLS 1.2 and 1.3 are spoken; does something between decrypt connections?"
                .to_owned(),
            class: Class::NeedsAttention,
        },
        Some(other) => transient(causes(other)),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            transient("the connection ended during the handshake".to_owned())
        }
        None => transient(causes(error)),
    }
}

fn transient(what: String) -> Explained {
    Explained { what, hint: String::new(), class: Class::Transient { after: None } }
}

fn of_certificate(why: &CertificateError, host: &str) -> (String, String) {
    let renew = || {
        format!(
            "{host} must renew it; if it has, is the clock of this machine right? it shows {}",
            date(UnixTime::now())
        )
    };
    match why {
        CertificateError::ExpiredContext { not_after, .. } => (
            format!("the certificate of {host}, or of who issued it, expired on {}", date(*not_after)),
            renew(),
        ),
        CertificateError::Expired => (format!("the certificate of {host} has expired"), renew()),
        CertificateError::NotValidYetContext { not_before, .. } => {
            (format!("the certificate of {host} is valid from {} on only", date(*not_before)), renew())
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().take(5).map(|name| name_of(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            (
                format!("the certificate is not for {host} but for {names}"),
                "is the host name right? give one that the certificate has".to_owned(),
            )
        }
        CertificateError::UnknownIssuer => (
            format!("the certificate of {host} is self-signed, or issued by an authority that is not trusted"),
            "give that authority's certificate as ca_file (or a proxy's that decrypts connections); \
             one that has expired does not count, the log names it at the start"
                .to_owned(),
        ),
        CertificateError::BadSignature => (
            format!("the certificate of {host} is not signed by the authority that it names"),
            "one of that name is trusted, but has another key: does ca_file hold an older one?"
                .to_owned(),
        ),
        // `CaUsedAsEndEntity`, which has no name of its own here.
        CertificateError::Other(_) => (
            format!("the certificate of {host} cannot be used: {why}"),
            "the server must show a certificate of its own, not that of an authority".to_owned(),
        ),
        CertificateError::Revoked => (format!("the certificate of {host} was revoked"), String::new()),
        _ => (format!("the certificate of {host} is not valid: {why}"), String::new()),
    }
}

/// `DnsName("central.example")`, as the library shows it, without what is around it.
fn name_of(shown: &str) -> &str {
    let inner = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(shown, |inner| inner.trim_matches('"'))
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn authority(until: i32) -> String {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) =
            (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn a_ca_file_that_is_none_is_said_to_be() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("ca.pem");
        let told = |text: &str| {
            std::fs::write(&path, text).unwrap();
            client_config(Some(&path)).err().map(|error| error.to_string())
        };
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, expected) in [
            (String::new(), "it holds no PEM certificate"),
            ("no certificate".to_owned(), "it holds no PEM certificate"),
            (authority(2099) + garbage, "certificate 2: "),
            ("x".repeat(5 << 20), "it is larger than 4 MiB"),
        ] {
            let told = told(&text).unwrap();
            assert!(told.contains(expected) && told.contains("ca.pem"), "{told}");
        }
        assert_eq!(told(&(authority(2099) + &authority(2021))), None);
        let told = client_config(Some(dir.path())).unwrap_err().to_string();
        assert!(told.ends_with("it is not a file"), "{told}");
    }

    #[test]
    fn an_authority_that_has_expired_is_noticed() {
        let expiry_of = |pem: &str| {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).unwrap();
            expiry(roots, &certificate)
        };
        assert_eq!(expiry_of(&authority(2099)), None);
        assert_eq!(expiry_of(&authority(2021)), Some("2021-01-01".to_owned()));
    }
}
