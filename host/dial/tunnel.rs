//! The way through an HTTP proxy: `CONNECT`, and what its answer means. Key function: [`lead`].

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Method, Request};
use tokio::net::TcpStream;

use super::{DialError, Step, exchange};
use crate::backoff::{Class, retry_after};
use crate::excerpt::excerpt;
use crate::proxy::Proxy;

/// Largest answer of a proxy that is read; it is told only.
const MAX_ANSWER: usize = 4 << 10;

/// Asks a proxy to lead on to a server. The caller limits the time.
pub(super) async fn lead(
    tcp: TcpStream,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<TcpStream, DialError> {
    let server =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(&server)
        .header(HOST, &server)
        .header(USER_AGENT, crate::USER_AGENT);
    if let Some(authorization) = &proxy.authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let failed = |what: String| {
        let hint = "is it an HTTP proxy? proxy, HTTPS_PROXY or ALL_PROXY names it";
        DialError::transient(Step::Proxy, format!("{proxy}: {what}"), hint)
    };
    let request =
        request.body(Full::<Bytes>::default()).map_err(|error| failed(error.to_string()))?;
    let answer =
        exchange(tcp, request, MAX_ANSWER).await.map_err(|error| failed(error.to_string()))?;
    match answer.connection {
        Some(connection) => Ok(connection),
        None => Err(refused(proxy, &server, answer.status.as_u16(), &answer.headers, &answer.body)),
    }
}

fn refused(
    proxy: &Proxy,
    server: &str,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> DialError {
    let after = headers
        .get(RETRY_AFTER)
        .and_then(|value| retry_after(value.to_str().ok()?, std::time::SystemTime::now()));
    let has_credentials = proxy.authorization.is_some();
    let hint = match status {
        407 if has_credentials => {
            "the proxy does not take these credentials: are user and password right? special characters in them are written %40 and the like"
        }
        407 => {
            "the proxy wants credentials: write it as http://user:password@host:port; of kinds, Basic is spoken"
        }
        401 | 403 => "does the proxy allow this host and port?",
        502..=504 => "can the proxy reach and resolve the server?",
        _ => "is it an HTTP proxy that allows CONNECT? proxy, HTTPS_PROXY or ALL_PROXY names it",
    };
    let body = excerpt(body);
    let said = if body.is_empty() { String::new() } else { format!(": {body}") };
    DialError {
        step: Step::Proxy,
        what: format!("{proxy} does not lead to {server}: status {status}{said}"),
        hint: hint.to_owned(),
        class: Class::of_status(status, after),
    }
}
