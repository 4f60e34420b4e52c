//! Sinks as the host builds them. Secrets are in it, and no form of printing shows them. Key type:
//! [`SinkConfig`].

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::secret::same_secret;
use crate::pattern::Pattern;
use crate::proxy::Proxies;

/// A sink.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkConfig {
    /// Its name.
    pub name: String,
    /// The types of events it takes; empty for all.
    pub types: Vec<Pattern>,
    /// What it is.
    pub kind: SinkKind,
}

/// The kinds of sinks.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkKind {
    /// Lines on standard output.
    Stdout,
    /// Lines in a file.
    File {
        /// Which file.
        path: PathBuf,
        /// When another one is begun; `None` for never.
        rotation: Option<Rotation>,
    },
    /// Batches posted to a server.
    Http(Box<HttpConfig>),
    /// Counts only.
    Null,
}

/// When a file is put aside and another begun, and what becomes of those put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Before it would grow beyond so many bytes.
    pub size: Option<u64>,
    /// When it was begun so long ago.
    pub age: Option<Duration>,
    /// How many that were put aside are kept, the newest; 0 for all.
    pub keep: usize,
    /// Whether those put aside are compressed.
    pub gzip: bool,
}

/// A server that events are posted to.
#[derive(Clone, PartialEq)]
pub struct HttpConfig {
    /// Where to; a secret may be in it.
    pub url: Url,
    /// The form of a body.
    pub format: Format,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Header fields of every request.
    pub headers: Vec<Header>,
    /// A file of further certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// Which proxies lead to it; none to this machine.
    pub proxies: Proxies,
    /// How long a request may take, its answer read.
    pub timeout: Duration,
    /// Most events of a request.
    pub max_events: usize,
    /// Most bytes of a request's body before compression; a single event may have more.
    pub max_bytes: usize,
}

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON array of events, `application/cloudevents-batch+json`.
    CloudEventsBatch,
    /// An event per line, `application/x-ndjson`.
    Ndjson,
}

/// A header field of every request.
#[derive(Debug, Clone)]
pub struct Header {
    /// Its name, a valid one.
    pub name: String,
    /// Its value, a valid one.
    pub value: SecretString,
}

impl PartialEq for Header {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && same_secret(&self.value, &other.value)
    }
}

impl SinkKind {
    /// Whether both write to the same file, server or stream.
    pub fn is_same_place(&self, other: &SinkKind) -> bool {
        match (self, other) {
            (SinkKind::Stdout, SinkKind::Stdout) => true,
            (SinkKind::File { path, .. }, SinkKind::File { path: other, .. }) => path == other,
            (SinkKind::Http(http), SinkKind::Http(other)) => http.url == other.url,
            _ => false,
        }
    }
}

impl std::fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the path and the query: webhooks have their secret there.
        write!(f, "http sink to {}", self.url.origin().ascii_serialization())
    }
}
