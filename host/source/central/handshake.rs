//! From a configuration to an open WebSocket: TCP, TLS, upgrade. Key types: [`Target`], [`Opened`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Url;

use super::failure::Failure;
use crate::config::{CentralConfig, StreamConfig, SubscriberId};
use crate::dial::{Limits, dial};
use crate::excerpt::{causes, excerpt};
use crate::proxy::Proxies;

/// What the whole of it may take, from the name to the answer.
const HANDSHAKE_TIME: Duration = Duration::from_secs(20);
/// How much of a refusal is read, and how long.
const MAX_BODY: usize = 64 << 10;
const BODY_TIME: Duration = Duration::from_secs(5);

/// An open WebSocket.
pub(super) struct Opened {
    /// The connection.
    pub stream: TlsStream<TcpStream>,
    /// What was read of it together with the answer.
    pub read: Bytes,
}

/// What to connect to.
#[derive(Clone)]
pub(super) struct Target {
    url: Url,
    tls: TlsConnector,
    proxies: Proxies,
    subscriber: Option<String>,
}

impl Target {
    /// A stream of a source.
    pub fn new(
        source: &CentralConfig,
        stream: &StreamConfig,
        tls: Arc<rustls::ClientConfig>,
    ) -> Self {
        Target {
            url: stream_url(source, stream),
            tls: TlsConnector::from(tls),
            proxies: source.proxies.clone(),
            subscriber: match &source.subscriber_id {
                SubscriberId::Given(id) => Some(id.clone()),
                SubscriberId::Off | SubscriberId::Kept => None,
            },
        }
    }

    /// Whether the server knows this client by an id, and shares the stream among all its
    /// connections.
    pub fn is_shared(&self) -> bool {
        self.subscriber.is_some()
    }

    /// Connects, with the token as bearer.
    pub async fn connect(&self, token: &SecretString) -> Result<Opened, Failure> {
        let slow = || Failure::passing(format!("no answer within {HANDSHAKE_TIME:?}"));
        tokio::time::timeout(HANDSHAKE_TIME, self.upgrade(token))
            .await
            .unwrap_or_else(|_| Err(slow()))
    }

    async fn upgrade(&self, token: &SecretString) -> Result<Opened, Failure> {
        let key = generate_key();
        let request = self.request(token, &key)?;
        let stream = dial(&self.url, &self.proxies, &self.tls, &Limits::default())
            .await
            .map_err(Failure::from)?;
        let failed = |error: hyper::Error| Failure::passing(format!("HTTP: {}", causes(&error)));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // Ends with the handshake, or with what comes of it: an upgraded connection is taken out.
        let driver = tokio::spawn(connection.with_upgrades());
        let answered = sender.send_request(request).await.map_err(failed);
        let opened = match answered {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                opened(response, &key).await
            }
            Ok(response) => Err(refused(response).await),
            Err(failure) => Err(failure),
        };
        if opened.is_err() {
            driver.abort();
        }
        opened
    }

    fn request(&self, token: &SecretString, key: &str) -> Result<Request<Empty<Bytes>>, Failure> {
        let bearer = format!("Bearer {}", token.expose_secret());
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| {
            let detail = "the token holds characters that no header can";
            Failure::needs_attention(detail, "is the whole token there, and nothing else?")
        })?;
        bearer.set_sensitive(true);
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let host = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut request = Request::get(path)
            .header(header::HOST, host)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, key)
            .header(header::AUTHORIZATION, bearer)
            .header(header::USER_AGENT, concat!("trommel/", env!("CARGO_PKG_VERSION")));
        if let Some(id) = &self.subscriber {
            request = request.header("subscriber-id", id);
        }
        request.body(Empty::new()).map_err(|error| Failure::needs_attention(error.to_string(), ""))
    }
}

/// Takes the connection out of an answer that agrees to the upgrade.
async fn opened(mut response: Response<Incoming>, key: &str) -> Result<Opened, Failure> {
    check_answer(response.headers(), key).map_err(Failure::passing)?;
    let upgraded = hyper::upgrade::on(&mut response).await;
    let upgraded =
        upgraded.map_err(|error| Failure::passing(format!("HTTP: {}", causes(&error))))?;
    let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>();
    // It was put in as this a moment ago.
    let parts = parts.map_err(|_| Failure::passing("the connection is of another kind"))?;
    Ok(Opened { stream: parts.io.into_inner(), read: parts.read_buf })
}

/// Whether an answer agrees to what was asked, and to nothing else.
fn check_answer(headers: &HeaderMap, key: &str) -> Result<(), String> {
    let of = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if !of(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err("the server agreed to another protocol than WebSocket".to_owned());
    }
    if of(header::SEC_WEBSOCKET_ACCEPT) != Some(&derive_accept_key(key.as_bytes())) {
        return Err("the server's Sec-WebSocket-Accept is wrong: a cache in between?".to_owned());
    }
    for name in [header::SEC_WEBSOCKET_EXTENSIONS, header::SEC_WEBSOCKET_PROTOCOL] {
        if let Some(value) = headers.get(&name) {
            return Err(format!("the server wants {name}: {value:?}, which was not offered"));
        }
    }
    Ok(())
}

async fn refused(response: Response<Incoming>) -> Failure {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = tokio::time::timeout(BODY_TIME, Limited::new(response, MAX_BODY).collect()).await;
    // Half a body, or none, says as much as there is.
    let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
    Failure::refused(status, &excerpt(&body), retry_after.as_deref())
}

/// `https://host[:port][/base]/path[?event-types=a%2Cb]`
fn stream_url(source: &CentralConfig, stream: &StreamConfig) -> Url {
    let mut url = source.base_url.clone();
    let path = format!("{}/{}", url.path().trim_end_matches('/'), stream.path);
    url.set_path(&path);
    if !stream.event_types.is_empty() {
        url.query_pairs_mut().append_pair("event-types", &stream.event_types.join(","));
    }
    url
}
