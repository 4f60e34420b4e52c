//! The HTTP side: the token endpoint, and which request becomes a stream. Key function: [`answer`].

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::faults::TokenFault;
use super::gate::{Gate, Pass, Shut, Turns};
use super::hub::{Filter, Share};
use super::tokens::{Grant, Revocation, Tokens};
use crate::decode::catalog::Stream;
use crate::sim::content;

/// Path of the token endpoint, the same as at the vendor's.
pub(super) const TOKEN_PATH: &str = "/as/token.oauth2";

/// The largest body of a token request.
const MAX_BODY: usize = 16 * 1024;

/// Header, and query parameter, by which a client says which types it wants.
const EVENT_TYPES: &str = "event-types";

/// The same for a GreenLake workspace: this, the workspace's id, and [`WORKSPACE_TOKEN_END`].
const WORKSPACE_TOKEN_START: &str = "/authorization/v2/oauth2/";
const WORKSPACE_TOKEN_END: &str = "/token";

/// Header by which connections share a stream.
const SUBSCRIBER_ID: &str = "subscriber-id";

/// The longest id; longer ones are refused.
const MAX_SUBSCRIBER_ID: usize = 256;

/// A request that became a stream.
pub(super) struct Opened {
    /// Gives the connection once the answer is out.
    pub upgrade: OnUpgrade,
    /// Its number, from 1 on, in the order in which requests became streams.
    pub number: u32,
    /// The stream's place among those served.
    pub index: usize,
    /// Which payloads are wanted.
    pub filter: Filter,
    /// Whom it shares with.
    pub share: Option<Share>,
    /// Lets it in.
    pub pass: Pass,
    /// What the token allows.
    pub grant: Grant,
    /// Tells of tokens revoked since just before the token was looked at.
    pub revoked: watch::Receiver<Revocation>,
}

/// What requests are answered from.
pub(super) struct Site {
    /// The streams that are served.
    pub streams: Vec<&'static Stream>,
    /// The ways into them.
    pub gates: Vec<Gate>,
    /// The tokens.
    pub tokens: Arc<Tokens>,
    /// What the token endpoint does wrong.
    pub token_faults: Turns<TokenFault>,
    /// How many streams were opened.
    pub opened: AtomicU32,
}

/// Where a request that became a stream is left for whoever runs the connection.
pub(super) type Slot = Mutex<Option<Opened>>;

/// An answer that says no.
type Refusal = Box<Response<String>>;

/// No answer at all: a fault ends the connection.
#[derive(Debug, thiserror::Error)]
#[error("a fault leaves a request without an answer")]
pub(super) struct NoAnswer;

/// Answers one request.
pub(super) async fn answer(
    site: &Site,
    request: Request<Incoming>,
    slot: &Slot,
) -> Result<Response<String>, NoAnswer> {
    if is_token_path(request.uri().path()) {
        return faulty_token(site, request).await;
    }
    Ok(match open(site, request) {
        Ok((opened, response)) => {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
            response
        }
        Err(refusal) => *refusal,
    })
}

fn is_token_path(path: &str) -> bool {
    let workspace = path.strip_prefix(WORKSPACE_TOKEN_START);
    let workspace = workspace.and_then(|rest| rest.strip_suffix(WORKSPACE_TOKEN_END));
    path == TOKEN_PATH || workspace.is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

fn open(
    site: &Site,
    mut request: Request<Incoming>,
) -> Result<(Opened, Response<String>), Refusal> {
    let path = request.uri().path().trim_start_matches('/');
    let index = site.streams.iter().position(|stream| stream.path() == path);
    let index =
        index.ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, "There is no such stream.\n")))?;
    let accept = accept(request.method(), request.headers())?;
    let revoked = site.tokens.revocations();
    let grant = bearer(request.headers()).and_then(|token| site.tokens.check(token));
    let grant = grant.ok_or_else(|| {
        let mut response = text(StatusCode::UNAUTHORIZED, "The access token is not valid.\n");
        let value = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
        Box::new(response)
    })?;
    let filter = wanted(&request).map(|wanted| filter(site.streams[index], &wanted));
    let share = share(request.headers(), &filter)?;
    let pass = site.gates[index].enter().map_err(|shut| Box::new(shut_out(shut)))?;
    let number = site.opened.fetch_add(1, Ordering::AcqRel) + 1;
    let upgrade = hyper::upgrade::on(&mut request);
    Ok((Opened { upgrade, number, index, filter, share, pass, grant, revoked }, accept))
}

/// Whom a connection shares with: those of the same id that want the same types.
fn share(headers: &HeaderMap, filter: &Filter) -> Result<Option<Share>, Refusal> {
    let Some(id) = headers.get(SUBSCRIBER_ID) else { return Ok(None) };
    let id = id.to_str().ok().filter(|id| !id.is_empty() && id.len() <= MAX_SUBSCRIBER_ID);
    let refused = || Box::new(text(StatusCode::BAD_REQUEST, "Subscriber-Id is not valid.\n"));
    Ok(Some(Share { id: id.ok_or_else(refused)?.into(), filter: filter.clone() }))
}

/// The answer that a fault wants: from 500 on a page, as from a proxy, below JSON, as from a service.
fn shut_out(shut: Shut) -> Response<String> {
    let (status, what) = match shut {
        Shut::Fault(status) => (status, "The simulator was told to refuse this."),
        Shut::Second(status) => (status, "Another connection of this stream is open."),
    };
    // Faults have no other statuses than those that exist.
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    let reason = status.canonical_reason().unwrap_or("Refused");
    let mut response = if status.is_server_error() {
        page(status, &format!("{} {reason}", status.as_u16()), what)
    } else {
        json(status, &serde_json::json!({ "error": reason, "message": what }))
    };
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The answer to a WebSocket handshake, if the request is one.
fn accept(method: &Method, headers: &HeaderMap) -> Result<Response<String>, Refusal> {
    let has = |name, token: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    if method != Method::GET || !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        let answer = "This is a WebSocket stream; connect to it with a WebSocket client.\n";
        let mut response = text(StatusCode::UPGRADE_REQUIRED, answer);
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        return Err(Box::new(response));
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        let mut response = text(StatusCode::UPGRADE_REQUIRED, "Only WebSocket version 13.\n");
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(Box::new(response));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| {
        Box::new(text(StatusCode::BAD_REQUEST, "The header Sec-WebSocket-Key is missing.\n"))
    })?;
    let key = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let key = key.map_err(|_| {
        Box::new(text(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is not valid.\n"))
    })?;
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    Ok(response)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The event types asked for: as a query parameter, or, by old clients, as a header. Nothing asked
/// for is everything.
fn wanted(request: &Request<Incoming>) -> Option<Vec<String>> {
    let query = form(request.uri().query().unwrap_or_default());
    let from_query = query.into_iter().filter(|(name, _)| name == EVENT_TYPES);
    let in_headers = request.headers().get_all(EVENT_TYPES).into_iter();
    let from_headers = in_headers.filter_map(|value| value.to_str().ok()).map(str::to_owned);
    let mut texts: Vec<String> = from_query.map(|(_, value)| value).collect();
    if texts.is_empty() {
        texts = from_headers.collect();
    }
    let types = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    let types: Vec<_> = types.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    (!types.is_empty()).then_some(types)
}

/// For each payload of a stream whether its type is wanted. What the real server does with a type
/// it does not know is not known; here it matches nothing.
fn filter(stream: &Stream, wanted: &[String]) -> Arc<[bool]> {
    let kinds = 0..stream.payloads.len();
    kinds.map(|kind| wanted.contains(&content::event_type(stream, kind))).collect()
}

/// The token endpoint, with what it does wrong.
async fn faulty_token(
    site: &Site,
    request: Request<Incoming>,
) -> Result<Response<String>, NoAnswer> {
    Ok(match site.token_faults.next() {
        None => token(&site.tokens, request, true).await,
        Some(TokenFault::NoExpiry) => token(&site.tokens, request, false).await,
        Some(TokenFault::Closed) => return Err(NoAnswer),
        Some(TokenFault::Down) => shut_out(Shut::Fault(503)),
        Some(TokenFault::Html) => page(StatusCode::OK, "Sign in", "Please sign in to go on."),
        Some(TokenFault::Unauthorized) => oauth_error(StatusCode::UNAUTHORIZED, "invalid_client"),
        Some(TokenFault::Slow(time)) => {
            tokio::time::sleep(time).await;
            token(&site.tokens, request, true).await
        }
    })
}

async fn token(tokens: &Tokens, request: Request<Incoming>, expiry: bool) -> Response<String> {
    if request.method() != Method::POST {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Tokens are asked for by POST.\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let basic = basic(request.headers());
    let Some(body) = read(request.into_body()).await else {
        return oauth_error(StatusCode::BAD_REQUEST, "invalid_request");
    };
    let body = form(&body);
    let field = |name: &str| body.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let in_body = || Some((field("client_id")?.clone(), field("client_secret")?.clone()));
    let accepted = basic.or_else(in_body).is_some_and(|(id, secret)| tokens.accepts(&id, &secret));
    if !accepted {
        return oauth_error(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    match field("grant_type").map(String::as_str) {
        Some("client_credentials") => {}
        Some(_) => return oauth_error(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        None => return oauth_error(StatusCode::BAD_REQUEST, "invalid_request"),
    }
    let mut answer = serde_json::json!({
        "access_token": tokens.issue(),
        "token_type": "Bearer",
    });
    if expiry {
        answer["expires_in"] = tokens.life().into();
    }
    json(StatusCode::OK, &answer)
}

fn oauth_error(status: StatusCode, error: &str) -> Response<String> {
    json(status, &serde_json::json!({ "error": error }))
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<String> {
    with_body(status, "application/json", value.to_string())
}

fn text(status: StatusCode, text: &str) -> Response<String> {
    with_body(status, "text/plain; charset=utf-8", text.to_owned())
}

fn page(status: StatusCode, title: &str, text: &str) -> Response<String> {
    let page = format!(
        "<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n\
         <body><h1>{title}</h1><p>{text}</p></body></html>\n"
    );
    with_body(status, "text/html; charset=utf-8", page)
}

fn with_body(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Client id and secret from HTTP Basic. A secret with odd characters may come form-encoded, as the
/// standard has it, or not, as many clients have it; the simulator's have none.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(value.trim()).ok()?).ok()?;
    text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// A body as text; `None` when it is too long, not text, or cut off.
async fn read(mut body: Incoming) -> Option<String> {
    let mut bytes = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        if let Ok(data) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > MAX_BODY {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The pairs of `application/x-www-form-urlencoded`.
fn form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let decode = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (form_decode(name), form_decode(value))
    };
    pairs.map(decode).collect()
}

fn form_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = after;
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let pairs = form("event-types=a%2Cb+c&x&grant_type=client_credentials&odd=%zz%4");
        let value = |name: &str| &pairs.iter().find(|pair| pair.0 == name).unwrap().1;
        assert_eq!(value("event-types"), "a,b c");
        assert_eq!(value("grant_type"), "client_credentials");
        assert_eq!(value("x"), "");
        assert_eq!(value("odd"), "%zz%4");
    }

    #[test]
    fn tokens_are_asked_for_at_two_kinds_of_places() {
        assert!(is_token_path("/as/token.oauth2"));
        assert!(is_token_path("/authorization/v2/oauth2/any-workspace/token"));
        for other in ["/authorization/v2/oauth2//token", "/authorization/v2/oauth2/a/b/token", "/"]
        {
            assert!(!is_token_path(other), "{other}");
        }
    }

    #[test]
    fn a_filter_names_types_in_full() {
        let stream = Stream::named("rssi-events").unwrap();
        let raw = "com.hpe.greenlake.network-services.v1alpha1.rssi.raw-rssi".to_owned();
        assert_eq!(*filter(stream, &[raw, "unheard.of".into()]), [true, false]);
    }

    #[test]
    fn a_handshake_is_answered_and_anything_else_explained() {
        let headers = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap())
            });
            pairs.collect::<HeaderMap>()
        };
        let mut pairs = vec![("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(accept(&Method::GET, &headers(&pairs)).unwrap_err().status(), 426);
        pairs.push(("sec-websocket-version", "13"));
        assert_eq!(accept(&Method::GET, &headers(&pairs)).unwrap_err().status(), 400);
        pairs.push(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
        let response = accept(&Method::GET, &headers(&pairs)).unwrap();
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept(&Method::GET, &HeaderMap::new()).unwrap_err().status(), 426);
    }
}
