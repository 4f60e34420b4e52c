//! The simulator's certificates: made once, kept in a folder, used again as long as they are good,
//! so that a restart keeps the CA that clients trust. Key type: [`Tls`].

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::SimError;

/// TLS, ready to accept connections.
pub(super) struct Tls {
    /// Accepts them.
    pub acceptor: TlsAcceptor,
    /// The CA's certificate, for clients to trust.
    pub ca_file: PathBuf,
}

/// Names of the three files.
const CA: &str = "ca.pem";
const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server.key";

impl Tls {
    /// Takes the certificates of a folder, or makes them.
    pub fn open(dir: Option<&Path>, listen: IpAddr) -> Result<Self, SimError> {
        let dir = match dir {
            Some(dir) => {
                let made = fs::create_dir_all(dir);
                made.map_err(|source| SimError::File { path: dir.to_owned(), source })?;
                dir.to_owned()
            }
            None => new_folder()?,
        };
        let config = match load(&dir) {
            Some(config) => config,
            None => {
                if dir.join(CERTIFICATE).exists() {
                    tracing::warn!(dir = %dir.display(), "no good certificates; making new");
                }
                make(&dir, listen)?;
                load(&dir).ok_or(tokio_rustls::rustls::Error::NoCertificatesPresented)?
            }
        };
        let ca_file = fs::canonicalize(dir.join(CA))
            .map_err(|source| SimError::File { path: dir.join(CA), source })?;
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), ca_file })
    }
}

/// A folder of its own among the temporary files. It stays: clients may still want the CA.
fn new_folder() -> Result<PathBuf, SimError> {
    let parent = std::env::temp_dir();
    loop {
        let path = parent.join(format!("trommel-sim-{:08x}", rand::random::<u32>()));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(SimError::File { path, source }),
        }
    }
}

/// The certificates of a folder, if they are there, belong together and are good today.
fn load(dir: &Path) -> Option<ServerConfig> {
    let certificates = |name: &str| -> Option<Vec<_>> {
        CertificateDer::pem_file_iter(dir.join(name)).ok()?.collect::<Result<_, _>>().ok()
    };
    let (ca, chain) = (certificates(CA)?, certificates(CERTIFICATE)?);
    let key = PrivateKeyDer::from_pem_file(dir.join(KEY)).ok()?;
    let mut roots = RootCertStore::empty();
    roots.add(ca.first()?.clone()).ok()?;
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build();
    let name = ServerName::try_from("localhost").ok()?;
    let (first, others) = chain.split_first()?;
    verifier.ok()?.verify_server_cert(first, others, &name, &[], UnixTime::now()).ok()?;
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.ok()?.with_no_client_auth().with_single_cert(chain, key).ok()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(config)
}

/// Makes a CA and a certificate by it. The CA's key is thrown away: nothing else will be signed.
fn make(dir: &Path, listen: IpAddr) -> Result<(), SimError> {
    let (not_before, not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2044, 1, 1));
    let mut ca = CertificateParams::default();
    (ca.not_before, ca.not_after) = (not_before, not_after);
    ca.distinguished_name.push(DnType::CommonName, "trommel simulator CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut server = CertificateParams::new(names)?;
    if !listen.is_loopback() && !listen.is_unspecified() {
        server.subject_alt_names.push(SanType::IpAddress(listen));
    }
    (server.not_before, server.not_after) = (not_before, not_after);
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;

    write(&dir.join(CA), &ca_certificate.pem(), 0o644)?;
    write(&dir.join(CERTIFICATE), &certificate.pem(), 0o644)?;
    write(&dir.join(KEY), &key.serialize_pem(), 0o600)
}

/// Writes a new file, with its mode from the start.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), SimError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| SimError::File { path: path.to_owned(), source };
    if path.exists() {
        fs::remove_file(path).map_err(failed)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file: File| file.write_all(text.as_bytes())).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn certificates_are_kept_as_long_as_they_are_good() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("new/folder");
        let first = Tls::open(Some(&dir), LOCAL).unwrap();
        let ca = fs::read_to_string(&first.ca_file).unwrap();
        let mode = fs::metadata(dir.join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let second = Tls::open(Some(&dir), LOCAL).unwrap();
        assert_eq!(fs::read_to_string(&second.ca_file).unwrap(), ca);

        fs::write(dir.join(KEY), "no key").unwrap();
        let third = Tls::open(Some(&dir), LOCAL).unwrap();
        assert_ne!(fs::read_to_string(&third.ca_file).unwrap(), ca);
    }
}
