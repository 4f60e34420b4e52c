//! TLS towards servers: the system's certificate authorities, those of a file besides, and always
//! verified. There is no way to switch that off. Key function: [`client_config`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

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

/// A configuration that trusts the system's certificate authorities and those in `ca_file`.
///
/// # Errors
/// When the file is unusable, or nothing at all would be trusted.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    // Single certificates of the system's that cannot be read are the system's business.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let failed = |detail: String| TlsError::CaFile { file: file.to_owned(), detail };
        let certificates =
            CertificateDer::pem_file_iter(file).map_err(|e| failed(e.to_string()))?;
        let before = roots.len();
        for certificate in certificates {
            let certificate = certificate.map_err(|e| failed(e.to_string()))?;
            roots.add(certificate).map_err(|e| failed(e.to_string()))?;
        }
        if roots.len() == before {
            return Err(failed("it holds no PEM certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(Arc::new(trusting(roots)?))
}

/// A configuration that trusts nobody: for clients that speak plain HTTP on this machine, and need
/// not read the system's certificates for that.
///
/// # Errors
/// When the library refuses.
pub fn no_trust() -> Result<ClientConfig, rustls::Error> {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
