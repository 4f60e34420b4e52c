//! From a URL to a TLS connection: name, TCP, the proxy if one leads there, TLS. Knows nothing of
//! what is spoken then. Each step has its time limit, and each failure says which step it was and what
//! to do. Key function: [`dial`]; key type: [`DialError`].

mod exchange;
mod tcp;
mod tunnel;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::backoff::Class;
use crate::proxy::Proxies;
use crate::tls;

pub use exchange::{Answer, ExchangeError, exchange};

/// What each step may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Finding a name's addresses.
    pub resolve: Duration,
    /// A connection to one address.
    pub connect: Duration,
    /// The proxy's answer.
    pub proxy: Duration,
    /// The TLS handshake.
    pub tls: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Limits { resolve: ten, connect: ten, proxy: Duration::from_secs(15), tls: ten }
    }
}

/// The step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The name has no address, or nobody says which.
    Dns,
    /// No connection.
    Tcp,
    /// The proxy does not lead on.
    Proxy,
    /// No TLS: the certificate, mostly.
    Tls,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Dns => "dns",
            Step::Tcp => "tcp",
            Step::Proxy => "proxy",
            Step::Tls => "tls",
        })
    }
}

/// Why there is no connection. Holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {what}")]
pub struct DialError {
    /// Which step failed.
    pub step: Step,
    /// To or by whom, and how.
    pub what: String,
    /// The likely fix; empty where none is known.
    pub hint: String,
    /// Whether it may pass by itself.
    pub class: Class,
}

impl DialError {
    /// A failure that may pass by itself.
    fn transient(step: Step, what: String, hint: &str) -> Self {
        let class = Class::Transient { after: None };
        DialError { step, what, hint: hint.to_owned(), class }
    }
}

/// Connects to the host of an `https` or `wss` URL, through the proxy that leads there if one does,
/// and begins TLS with it. What the server shows is verified as `tls` says.
///
/// # Errors
/// Which step failed, and what to do about it.
pub async fn dial(
    url: &Url,
    proxies: &Proxies,
    tls: &TlsConnector,
    limits: &Limits,
) -> Result<TlsStream<TcpStream>, DialError> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    let tcp = match proxies.of(url) {
        None => tcp::connect(host, port, limits).await?,
        Some(proxy) => {
            let tcp = tcp::connect(&proxy.host, proxy.port, limits).await;
            let tcp = tcp.map_err(|error| via(error, &proxy))?;
            let leading = tunnel::lead(tcp, &proxy, host, port);
            let slow = || format!("{proxy} did not answer within {:?}", limits.proxy);
            let hint = "is it an HTTP proxy, and can it reach the server?";
            within(limits.proxy, leading, || DialError::transient(Step::Proxy, slow(), hint))
                .await?
        }
    };
    begin_tls(tls, tcp, host, port, limits).await
}

async fn begin_tls(
    tls: &TlsConnector,
    tcp: TcpStream,
    host: &str,
    port: u16,
    limits: &Limits,
) -> Result<TlsStream<TcpStream>, DialError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError {
        step: Step::Tls,
        what: format!("{host:?} is not a name that a certificate can hold"),
        hint: "is base_url or token_endpoint right?".to_owned(),
        class: Class::NeedsAttention,
    })?;
    let handshake = async {
        tls.connect(name, tcp).await.map_err(|error| {
            let tls::Explained { what, hint, class } = tls::explain(&error, host);
            DialError { step: Step::Tls, what: format!("{host}:{port}: {what}"), hint, class }
        })
    };
    let slow = || format!("{host}:{port}: no handshake within {:?}", limits.tls);
    within(limits.tls, handshake, || DialError::transient(Step::Tls, slow(), "")).await
}

/// A proxy that cannot be reached is the proxy's matter, not the server's.
fn via(error: DialError, proxy: &crate::proxy::Proxy) -> DialError {
    DialError {
        step: Step::Proxy,
        what: format!("{proxy} is not reached: {error}"),
        hint: "is the proxy right? it comes from proxy, HTTPS_PROXY or ALL_PROXY; NO_PROXY makes \
               exceptions"
            .to_owned(),
        class: error.class,
    }
}

async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, DialError>>,
    too_slow: impl FnOnce() -> DialError,
) -> Result<T, DialError> {
    tokio::time::timeout(limit, step).await.unwrap_or_else(|_| Err(too_slow()))
}
