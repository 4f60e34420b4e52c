//! From a configuration to an open WebSocket: TCP, TLS, upgrade. Key types: [`Target`],
//! [`ConnectError`].

use std::sync::Arc;
use std::time::Duration;

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
use crate::dial::{DialError, Limits, dial};
use crate::proxy::Proxies;

/// What all of it together may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(20);

/// An open WebSocket.
pub(super) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Unreachable(String),
    #[error("{error} (hint: {})", .error.hint)]
    Dial { error: DialError },
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
    proxies: Proxies,
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
        let proxies = source.proxies.clone();
        Target { url: stream_url(source, stream), tls: TlsConnector::from(tls), proxies, config }
    }

    /// Connects, with the token as bearer.
    pub async fn connect(&self, token: &SecretString) -> Result<Socket, ConnectError> {
        tokio::time::timeout(HANDSHAKE_TIME, self.try_connect(token))
            .await
            .unwrap_or(Err(ConnectError::TooSlow))
    }

    async fn try_connect(&self, token: &SecretString) -> Result<Socket, ConnectError> {
        let request = self.request(token)?;
        let tls = dial(&self.url, &self.proxies, &self.tls, &Limits::default())
            .await
            .map_err(|error| ConnectError::Dial { error })?;
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
            proxies: crate::proxy::Proxies::none(),
            subscriber_id: crate::config::SubscriberId::Off,
            max_retries: None,
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
