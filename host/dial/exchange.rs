//! One HTTP request on a connection of its own, and its answer up to a size. Key function:
//! [`exchange`].

use std::pin::pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::zeroize::Zeroizing;
use tokio::io::{AsyncRead, AsyncWrite};

/// Largest head of an answer.
const MAX_HEAD: usize = 64 << 10;

/// An answer.
pub struct Answer<T> {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body, or the beginning of it; it may be secret.
    pub body: Zeroizing<Vec<u8>>,
    /// Whether the body is larger than was taken.
    pub is_cut: bool,
    /// The connection, where a `CONNECT` was granted: what is said on it from now on is the server's.
    pub connection: Option<T>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The connection broke, or what came on it is not HTTP.
    #[error("{}", said(.0))]
    Http(#[from] hyper::Error),
    /// Bytes after a granted `CONNECT` that nobody had asked for.
    #[error("it said more than that it leads on")]
    Chatty,
}

/// Sends a request and reads the answer, of its body at most `most` bytes. The caller limits the time.
///
/// # Errors
/// When the connection breaks, or the answer is not HTTP.
pub async fn exchange<T>(
    io: T,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answer<T>, ExchangeError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let is_connect = request.method() == Method::CONNECT;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(io)).await?;
    // Driven here and not in a task of its own: who drops this future drops the connection.
    let mut driver = pin!(connection.without_shutdown());
    let mut parts = None;
    let response = {
        let mut sending = pin!(sender.send_request(request));
        loop {
            tokio::select! {
                biased;
                response = &mut sending => break response?,
                ended = &mut driver, if parts.is_none() => parts = Some(ended),
            }
        }
    };
    let (head, mut incoming) = response.into_parts();
    let mut answer = Answer {
        status: head.status,
        headers: head.headers,
        body: Zeroizing::new(Vec::new()),
        is_cut: false,
        connection: None,
    };
    if is_connect && answer.status.is_success() {
        let parts = match parts {
            Some(parts) => parts?,
            None => driver.await?,
        };
        if !parts.read_buf.is_empty() {
            return Err(ExchangeError::Chatty);
        }
        answer.connection = Some(parts.io.into_inner());
        return Ok(answer);
    }
    while !answer.is_cut {
        let frame = tokio::select! {
            biased;
            frame = incoming.frame() => frame,
            ended = &mut driver, if parts.is_none() => {
                parts = Some(ended);
                continue;
            }
        };
        let Some(frame) = frame else { break };
        if let Ok(data) = frame?.into_data() {
            let room = most - answer.body.len();
            answer.is_cut = data.len() > room;
            answer.body.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(answer)
}

/// In words for people who do not know the library.
fn said(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "the connection ended before the answer".to_owned()
    } else if error.is_parse() {
        "the answer is not HTTP".to_owned()
    } else {
        crate::excerpt::causes(error)
    }
}
