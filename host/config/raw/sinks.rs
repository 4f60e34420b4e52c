//! Sinks as the user wrote them. Key types: [`FileSink`], [`HttpSink`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::Secret;

/// `[sink.NAME]` of a kind without settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainSink {
    /// Its kind.
    #[serde(rename = "kind")]
    pub _kind: String,
    /// Only events of these types.
    pub types: Option<Vec<String>>,
}

/// `[sink.NAME]` of kind `file`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSink {
    /// `file`
    #[serde(rename = "kind")]
    pub _kind: String,
    /// Only events of these types.
    pub types: Option<Vec<String>>,
    /// Which file.
    pub path: PathBuf,
    /// Another file is begun before it would be larger.
    pub rotate_size: Option<String>,
    /// Another file is begun when it is so old.
    pub rotate_age: Option<String>,
    /// How many rotated files are kept.
    pub keep: Option<usize>,
    /// `gzip` or `none`.
    pub compress: Option<String>,
}

/// `[sink.NAME]` of kind `http`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSink {
    /// `http`
    #[serde(rename = "kind")]
    pub _kind: String,
    /// Only events of these types.
    pub types: Option<Vec<String>>,
    /// Where to post. A secret where its path is one.
    pub url: Secret,
    /// `cloudevents-batch` or `ndjson`.
    #[serde(default = "format")]
    pub format: String,
    /// Whether bodies are compressed.
    #[serde(default)]
    pub gzip: bool,
    /// Header fields of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Further certificate authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// A proxy's address, or `none`; in place of what the environment says.
    pub proxy: Option<Secret>,
    /// How long a request may take.
    #[serde(default = "timeout")]
    pub timeout: String,
    /// Most events of a request.
    #[serde(default = "max_events")]
    pub max_events: usize,
    /// Most bytes of a request's body before compression.
    #[serde(default = "max_bytes")]
    pub max_bytes: String,
}

fn format() -> String {
    "cloudevents-batch".to_owned()
}

fn timeout() -> String {
    "30s".to_owned()
}

fn max_events() -> usize {
    1_000
}

fn max_bytes() -> String {
    "1MiB".to_owned()
}
