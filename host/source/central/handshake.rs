//! From a configuration to an open WebSocket: TCP, TLS, upgrade. Key types: [`Target`],
//! [`ConnectError`].

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

use super::token::{causes, excerpt};
use crate::config::{CentralConfig, StreamConfig};

/// What one way to the server may take, and all of it together.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const HANDSHAKE_TIME: Duration = Duration::from_secs(20);

/// An open WebSocket.
pub(super) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Unreachable(String),
    #[error("status {status}: {body}")]
    Refused { status: u16, body: String },
    #[error("no answer within {HANDSHAKE_TIME:?}")]
    TooSlow,
}

/// What to connect to.
#[derive(Clone)]
pub(super) struct Target {
    url: Url,
    tls: TlsConnector,
    config: WebSocketConfig,
}

impl Target {
    pub fn new(
        source: &CentralConfig,
        stream: &StreamConfig,
        tls: Arc<rustls::ClientConfig>,
    ) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(source.max_frame))
            .max_frame_size(Some(source.max_frame));
        Target { url: stream_url(source, stream), tls: TlsConnector::from(tls), config }
    }

    /// Connects, with the token as bearer.
    pub async fn connect(&self, token: &SecretString) -> Result<Socket, ConnectError> {
        tokio::time::timeout(HANDSHAKE_TIME, self.try_connect(token))
            .await
            .unwrap_or(Err(ConnectError::TooSlow))
    }

    async fn try_connect(&self, token: &SecretString) -> Result<Socket, ConnectError> {
        let request = self.request(token)?;
        let host = self.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = self.url.port_or_known_default().unwrap_or(443);
        let tcp = connect_tcp(host, port).await?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| ConnectError::Unreachable(e.to_string()))?;
        let tls = self.tls.connect(name, tcp).await;
        let tls = tls.map_err(|e| ConnectError::Unreachable(format!("TLS: {}", causes(&e))))?;
        match tokio_tungstenite::client_async_with_config(request, tls, Some(self.config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(WsError::Http(response)) => Err(ConnectError::Refused {
                status: response.status().as_u16(),
                body: excerpt(response.body().as_deref().unwrap_or_default()),
            }),
            Err(error) => Err(ConnectError::Unreachable(format!("WebSocket: {}", causes(&error)))),
        }
    }

    fn request(&self, token: &SecretString) -> Result<Request<()>, ConnectError> {
        let odd = |what: &str| ConnectError::Unreachable(what.to_owned());
        let mut request = self
            .url
            .as_str()
            .into_client_request()
            .map_err(|error| ConnectError::Unreachable(error.to_string()))?;
        let bearer = format!("Bearer {}", token.expose_secret());
        let mut bearer = HeaderValue::from_str(&bearer)
            .map_err(|_| odd("the token holds characters that no header can"))?;
        bearer.set_sensitive(true);
        request.headers_mut().insert("authorization", bearer);
        let agent = HeaderValue::from_static(concat!("trommel/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert("user-agent", agent);
        Ok(request)
    }
}

/// `wss://host[:port][/base]/path[?event-types=a%2Cb]`
fn stream_url(source: &CentralConfig, stream: &StreamConfig) -> Url {
    let mut url = source.base_url.clone();
    // From https to wss is always allowed.
    let _ = url.set_scheme("wss");
    let path = format!("{}/{}", url.path().trim_end_matches('/'), stream.path);
    url.set_path(&path);
    if !stream.event_types.is_empty() {
        url.query_pairs_mut().append_pair("event-types", &stream.event_types.join(","));
    }
    url
}

/// Tries each address of a host in turn.
async fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let unreachable = |what: String| ConnectError::Unreachable(format!("{host}:{port}: {what}"));
    let addresses =
        tokio::net::lookup_host((host, port)).await.map_err(|e| unreachable(e.to_string()))?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // Small frames of our own are pings and answers to them: never wait with those.
                tcp.set_nodelay(true).map_err(|e| unreachable(e.to_string()))?;
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no connection within {CONNECT_TIME:?}"),
        }
    }
    Err(unreachable(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Access;

    #[test]
    fn urls_are_those_of_the_vendors_client() {
        let source = |base: &str| CentralConfig {
            base_url: Url::parse(base).unwrap(),
            access: Access::Token("t".into()),
            ca_file: None,
            streams: vec![],
            max_frame: 1,
        };
        let stream = |event_types: &[&str]| StreamConfig {
            name: "ap-events".into(),
            path: "network-monitoring/v1alpha1/ap-events".into(),
            event_types: event_types.iter().map(|t| (*t).to_owned()).collect(),
        };
        let url =
            |base: &str, types: &[&str]| stream_url(&source(base), &stream(types)).to_string();
        assert_eq!(
            url("https://us1.api.central.arubanetworks.com", &[]),
            "wss://us1.api.central.arubanetworks.com/network-monitoring/v1alpha1/ap-events"
        );
        assert_eq!(
            url("https://h:99/pre", &["a b", "c"]),
            "wss://h:99/pre/network-monitoring/v1alpha1/ap-events?event-types=a+b%2Cc"
        );
    }
}
