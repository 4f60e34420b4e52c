//! The simulator's certificates: made once, kept in a folder, used again as long as they are good,
//! so that a restart keeps the CA that clients trust. Key type: [`Tls`].

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::SimError;
use super::faults::{BadCertificate, Turn};
use super::gate::Turns;

/// TLS, ready to accept connections.
pub(super) struct Tls {
    good: TlsAcceptor,
    /// Those that faults ask for.
    bad: Vec<(BadCertificate, TlsAcceptor)>,
    turns: Turns<BadCertificate>,
    /// The CA's certificate, for clients to trust.
    pub ca_file: PathBuf,
}

/// Names of the files.
const CA: &str = "ca.pem";
const CERTIFICATE: &str = "server.pem";
const KEY: &str = "server.key";

/// Certificates to be refused, and the names of their files. They are made with the others: the CA's
/// key is not kept.
const BAD: [(BadCertificate, &str); 3] = [
    (BadCertificate::Expired, "expired.pem"),
    (BadCertificate::WrongName, "wrong-name.pem"),
    (BadCertificate::SelfSigned, "self-signed.pem"),
];

impl Tls {
    /// Takes the certificates of a folder, or makes them.
    pub fn open(
        dir: Option<&Path>,
        listen: IpAddr,
        turns: &[Turn<BadCertificate>],
    ) -> Result<Self, SimError> {
        let dir = match dir {
            Some(dir) => {
                let made = fs::create_dir_all(dir);
                made.map_err(|source| SimError::File { path: dir.to_owned(), source })?;
                dir.to_owned()
            }
            None => new_folder()?,
        };
        let is_wanted = |kind| turns.iter().any(|turn| turn.what == kind);
        let load = || Some((load(&dir)?, load_bad(&dir, is_wanted)?));
        let (good, bad) = match load() {
            Some(loaded) => loaded,
            None => {
                if dir.join(CERTIFICATE).exists() {
                    tracing::warn!(dir = %dir.display(), "no good certificates; making new");
                }
                make(&dir, listen)?;
                load().ok_or(tokio_rustls::rustls::Error::NoCertificatesPresented)?
            }
        };
        let ca_file = fs::canonicalize(dir.join(CA))
            .map_err(|source| SimError::File { path: dir.join(CA), source })?;
        Ok(Tls { good, bad, turns: Turns::new(turns), ca_file })
    }

    /// What accepts the next connection.
    pub fn acceptor(&self) -> &TlsAcceptor {
        let turn = self.turns.next();
        let bad = self.bad.iter().find(|(kind, _)| Some(*kind) == turn);
        bad.map_or(&self.good, |(_, acceptor)| acceptor)
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
fn load(dir: &Path) -> Option<TlsAcceptor> {
    let (ca, chain) = (certificates(dir, CA)?, certificates(dir, CERTIFICATE)?);
    let mut roots = RootCertStore::empty();
    roots.add(ca.first()?.clone()).ok()?;
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
    let name = ServerName::try_from("localhost").ok()?;
    let (first, others) = chain.split_first()?;
    verifier.ok()?.verify_server_cert(first, others, &name, &[], UnixTime::now()).ok()?;
    acceptor(dir, chain)
}

/// Those of the bad certificates that are wanted.
fn load_bad(
    dir: &Path,
    is_wanted: impl Fn(BadCertificate) -> bool,
) -> Option<Vec<(BadCertificate, TlsAcceptor)>> {
    let wanted = BAD.iter().filter(|(kind, _)| is_wanted(*kind));
    wanted.map(|(kind, name)| Some((*kind, acceptor(dir, certificates(dir, name)?)?))).collect()
}

fn certificates(dir: &Path, name: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(dir.join(name)).ok()?.collect::<Result<_, _>>().ok()
}

fn acceptor(dir: &Path, chain: Vec<CertificateDer<'static>>) -> Option<TlsAcceptor> {
    let key = PrivateKeyDer::from_pem_file(dir.join(KEY)).ok()?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).ok()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(TlsAcceptor::from(Arc::new(config)))
}

/// Makes a CA, a certificate by it, and those that are to be refused. The CA's key is thrown away: nothing else will be signed.
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

    let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    if !listen.is_loopback() && !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    let server = |names: Vec<String>, not_after| -> Result<CertificateParams, rcgen::Error> {
        let mut server = CertificateParams::new(names)?;
        (server.not_before, server.not_after) = (not_before, not_after);
        server.distinguished_name.push(DnType::CommonName, "localhost");
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        Ok(server)
    };
    let key = KeyPair::generate()?;
    let good = server(names.clone(), not_after)?.signed_by(&key, &issuer)?;
    write(&dir.join(CA), &ca_certificate.pem(), 0o644)?;
    write(&dir.join(CERTIFICATE), &good.pem(), 0o644)?;
    for (kind, name) in BAD {
        let bad = match kind {
            BadCertificate::Expired => {
                server(names.clone(), date_time_ymd(2024, 2, 1))?.signed_by(&key, &issuer)?
            }
            BadCertificate::WrongName => {
                server(vec!["elsewhere.invalid".to_owned()], not_after)?.signed_by(&key, &issuer)?
            }
            BadCertificate::SelfSigned => {
                let mut server = server(names.clone(), not_after)?;
                // A name that no authority has: else its key would be tried.
                server.distinguished_name.push(DnType::CommonName, "trommel simulator, by itself");
                server.self_signed(&key)?
            }
        };
        write(&dir.join(name), &bad.pem(), 0o644)?;
    }
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
        let first = Tls::open(Some(&dir), LOCAL, &[]).unwrap();
        let ca = fs::read_to_string(&first.ca_file).unwrap();
        let mode = fs::metadata(dir.join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let second = Tls::open(Some(&dir), LOCAL, &[]).unwrap();
        assert_eq!(fs::read_to_string(&second.ca_file).unwrap(), ca);

        fs::write(dir.join(KEY), "no key").unwrap();
        let third = Tls::open(Some(&dir), LOCAL, &[]).unwrap();
        assert_ne!(fs::read_to_string(&third.ca_file).unwrap(), ca);
    }
}
