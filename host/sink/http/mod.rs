//! Events posted to a server: one batch in one or more requests, each sent until it is taken. What
//! the server refuses is searched for by halving. Key type: [`HttpSink`].

mod answer;
mod body;

use std::error::Error;
use std::io;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;

use self::answer::{Verdict, excerpt, verdict};
use self::body::Most;
use super::{Job, Progress, Refused, Sink, SinkError};
use crate::backoff::Class;
use crate::config::{Format, HttpConfig};
use crate::excerpt::causes;
use crate::tls;

/// What a connection may take to come about, if the whole request may take longer.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How much of a response is read.
const MAX_ANSWER: usize = 64 << 10;
/// Words of a header field's value that are shorter are no secrets by themselves.
const LEAST_SECRET: usize = 8;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Posts events.
pub struct HttpSink {
    name: String,
    client: reqwest::Client,
    runtime: Handle,
    url: Url,
    headers: HeaderMap,
    /// What must not be told of what comes back.
    secrets: Vec<SecretString>,
    format: Format,
    gzip: bool,
    /// Smaller than configured once the server has said that it takes less.
    most: Most,
}

/// What a server said.
struct Response {
    status: u16,
    verdict: Verdict,
    body: String,
}

impl HttpSink {
    /// A sink that posts to a server. Connects when there is something to post. To be called where a
    /// runtime is.
    ///
    /// # Errors
    /// What is wrong with the certificate authorities, or the client.
    pub fn new(name: &str, config: &HttpConfig) -> Result<Self, String> {
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        for header in &config.headers {
            let bytes = header.name.as_bytes();
            let field = HeaderName::from_bytes(bytes).map_err(|error| error.to_string())?;
            let value = HeaderValue::from_str(header.value.expose_secret());
            let mut value =
                value.map_err(|_| format!("headers.{}: cannot be sent", header.name))?;
            value.set_sensitive(true);
            headers.insert(field, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(config.format)));
        if config.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(HttpSink {
            name: name.to_owned(),
            client: client(config)?,
            runtime,
            url: config.url.clone(),
            headers,
            secrets: secrets_of(config),
            format: config.format,
            gzip: config.gzip,
            most: Most { events: config.max_events, bytes: config.max_bytes },
        })
    }

    /// Posts the parts that are still to be posted, one after the other.
    fn post_all(&mut self, job: &Job<'_>, progress: &mut Progress) -> Result<(), SinkError> {
        let most = self.most;
        let todo = progress.todo.get_or_insert_with(|| body::cut(job.lines, 0, most));
        while let Some(part) = todo.last().cloned() {
            let response = self.post(job, &part)?;
            let status = response.status;
            let detail = match &*response.body {
                "" => format!("status {status}"),
                body => format!("status {status}: {body}"),
            };
            match response.verdict {
                Verdict::Taken => {}
                Verdict::Later(after) => return Err(SinkError::Retry { detail, after }),
                Verdict::Misconfigured(hint) => {
                    return Err(SinkError::Misconfigured { detail, hint: hint.to_owned() });
                }
                Verdict::TooLarge if part.len() > 1 => {
                    // All that is left, so that not each part of it is sent in vain first.
                    self.most.bytes = body::size(job.lines, &part) / 2;
                    *todo = body::cut(job.lines, part.start, self.most);
                    self.tell_less();
                    continue;
                }
                Verdict::Refused if part.len() > 1 => {
                    let middle = part.start + part.len() / 2;
                    todo.pop();
                    todo.extend([middle..part.end, part.start..middle]);
                    continue;
                }
                Verdict::TooLarge | Verdict::Refused => {
                    progress.refused.push(Refused { line: part.start, detail });
                }
            }
            todo.pop();
        }
        Ok(())
    }

    fn tell_less(&self) {
        tracing::warn!(
            sink = self.name,
            max_bytes = self.most.bytes,
            "the receiver takes no requests as large as these; they are smaller from now on"
        );
    }

    /// Posts some events, once. Ends early when the host stops.
    fn post(&self, job: &Job<'_>, part: &Range<usize>) -> Result<Response, SinkError> {
        let request = self.request(job, part)?;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = job.stop.cancelled() => Err(SinkError::Stopped),
                answered = self.exchange(request) => answered.map_err(|error| self.unanswered(error)),
            }
        })
    }

    fn request(&self, job: &Job<'_>, part: &Range<usize>) -> Result<reqwest::Request, SinkError> {
        let mut bytes = body::body(job.lines, part, self.format);
        if self.gzip {
            bytes = body::gzip(&bytes).map_err(|error| SinkError::retry(error.to_string()))?;
        }
        let key = body::key(job.pipeline, &self.name, job.lines, part);
        let key = HeaderValue::from_str(&key).map_err(|e| SinkError::Fatal(e.to_string()))?;
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        request.headers_mut().clone_from(&self.headers);
        request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        *request.body_mut() = Some(bytes.into());
        Ok(request)
    }

    /// Sends a request and reads the response, at most so much of it. A response that says yes and
    /// breaks off is an error: nobody knows what the server has done.
    async fn exchange(&self, request: reqwest::Request) -> Result<Response, reqwest::Error> {
        let mut response = self.client.execute(request).await?;
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let verdict = verdict(status.as_u16(), header(RETRY_AFTER), SystemTime::now());
        let mut body = match header(LOCATION) {
            Some(location) if status.is_redirection() => format!("to {location} ").into_bytes(),
            _ => Vec::new(),
        };
        while body.len() < MAX_ANSWER {
            match response.chunk().await {
                Ok(Some(part)) => body.extend_from_slice(&part[..part.len().min(MAX_ANSWER)]),
                Ok(None) => break,
                Err(error) if status.is_success() => return Err(error),
                // It said no. Only the words are not whole.
                Err(_) => break,
            }
        }
        let secrets: Vec<&str> = self.secrets.iter().map(|s| s.expose_secret()).collect();
        Ok(Response { status: status.as_u16(), verdict, body: excerpt(&body, &secrets) })
    }
}

impl HttpSink {
    /// Why there is no answer.
    fn unanswered(&self, error: reqwest::Error) -> SinkError {
        // The URL may hold a secret.
        let error = error.without_url();
        let host = self.url.host_str().unwrap_or_default();
        match failed_handshake(&error).map(|error| tls::explain(error, host)) {
            Some(tls::Explained { what, hint, class: Class::NeedsAttention }) => {
                SinkError::Misconfigured { detail: what, hint }
            }
            Some(tls::Explained { what, .. }) => SinkError::retry(what),
            None => SinkError::retry(causes(&error)),
        }
    }
}

impl Sink for HttpSink {
    fn write(&mut self, job: &Job<'_>, progress: &mut Progress) -> Result<(), SinkError> {
        self.post_all(job, progress)
    }
}

/// The client of a sink: TLS always verified, no redirects, connections kept.
fn client(config: &HttpConfig) -> Result<reqwest::Client, String> {
    let tls = if config.url.scheme() == "https" {
        let tls = tls::client_config(config.ca_file.as_deref());
        (*tls.map_err(|error| error.to_string())?).clone()
    } else {
        tls::no_trust().map_err(|error| error.to_string())?
    };
    let builder = config.proxies.for_reqwest(reqwest::Client::builder());
    builder
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(config.timeout)
        .connect_timeout(config.timeout.min(CONNECT_TIME))
        .pool_max_idle_per_host(1)
        .user_agent(concat!("trommel/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| causes(&error))
}

/// The TLS library's error among the causes of another.
fn failed_handshake<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let Some(io) = error.downcast_ref::<io::Error>() else {
        return error.source().and_then(failed_handshake);
    };
    // What an io::Error wraps is not its source.
    let wrapped = io.get_ref()?;
    if wrapped.is::<rustls::Error>() { Some(io) } else { failed_handshake(wrapped) }
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::CloudEventsBatch => "application/cloudevents-batch+json",
        Format::Ndjson => "application/x-ndjson",
    }
}

/// The values of header fields, and their words: what echoes them may leave the scheme out.
fn secrets_of(config: &HttpConfig) -> Vec<SecretString> {
    let values = config.headers.iter().map(|header| header.value.expose_secret());
    let words = values.flat_map(|value| std::iter::once(value).chain(value.split_whitespace()));
    words.filter(|word| word.len() >= LEAST_SECRET).map(SecretString::from).collect()
}
