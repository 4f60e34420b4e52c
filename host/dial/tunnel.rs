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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use url::Url;

    use crate::backoff::Class;
    use crate::dial::{DialError, Limits, Step, dial};
    use crate::proxy::{Proxies, address};

    /// Dials through a proxy that says this and nothing more.
    async fn through(says: &[u8]) -> DialError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let says = says.to_vec();
        let proxy = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = tcp.read(&mut asked).await.unwrap();
            // Whoever hears enough goes away.
            let _ = tcp.write_all(&says).await;
            // Open until the other side is done with it, for a proxy that hangs.
            let _ = tcp.read(&mut asked[length..]).await;
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let proxies = Proxies::always(address(&format!("al:pass@{at}")).unwrap());
        let tls = std::sync::Arc::new(crate::tls::no_trust().unwrap()).into();
        let limits = Limits { proxy: Duration::from_millis(500), ..Limits::default() };
        let url = Url::parse("wss://[::1]:444/path?secret").unwrap();
        let error = dial(&url, &proxies, &tls, &limits).await.unwrap_err();
        let asked = proxy.await.unwrap();
        let line = "CONNECT [::1]:444 HTTP/1.1\r\nhost: [::1]:444\r\n";
        assert!(asked.starts_with(line), "{asked}");
        assert!(asked.contains("proxy-authorization: Basic YWw6cGFzcw==\r\n"), "{asked}");
        assert!(!asked.contains("secret"), "{asked}");
        error
    }

    #[tokio::test]
    async fn whatever_a_proxy_says_is_told_and_bounded() {
        let endless_head = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 1 << 20]].concat();
        let endless_body =
            [b"HTTP/1.1 403 No\r\n\r\nnot \x1b[31mallowed ".to_vec(), vec![b'x'; 1 << 20]].concat();
        for (says, expected) in [
            (&b""[..], "did not answer within 500ms"),
            (b"HTTP/1.1 200 OK\r\nx:", "did not answer within 500ms"),
            (b"SSH-2.0-proxy\r\n\r\n", "the answer is not HTTP"),
            (&endless_head, "the answer is not HTTP"),
            (&endless_body, "status 403: not [31mallowed xxx"),
            (b"HTTP/1.1 200 OK\r\n\r\nand more", "it said more than that it leads on"),
        ] {
            let error = through(says).await;
            assert_eq!(error.step, Step::Proxy, "{error}");
            let text = error.to_string();
            assert!(text.contains(expected), "{expected:?} is not in {text}");
            assert!(text.len() < 500 && !error.hint.is_empty() && !text.contains("pass"), "{text}");
        }
    }

    #[tokio::test]
    async fn what_a_refusal_wants_is_told_by_its_status() {
        let status = |line: &'static str| async move {
            through(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await
        };
        let error = status("407 Who").await;
        assert_eq!(error.class, Class::NeedsAttention);
        assert!(error.hint.contains("does not take these credentials"), "{}", error.hint);
        let error = status("503 Busy\r\nretry-after: 7").await;
        assert_eq!(error.class, Class::Transient { after: Some(Duration::from_secs(7)) });
        assert_eq!(status("502 Bad Gateway").await.class, Class::Transient { after: None });
    }
}
