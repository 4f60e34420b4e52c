//! Sinks as the user wrote them. Key type: [`FileSink`].

use std::path::PathBuf;

use serde::Deserialize;

/// `[sink.NAME]` of a kind without settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainSink {
    /// Its kind.
    #[serde(rename = "kind")]
    pub _kind: String,
}

/// `[sink.NAME]` of kind `file`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSink {
    /// `file`
    #[serde(rename = "kind")]
    pub _kind: String,
    /// Which file.
    pub path: PathBuf,
}
