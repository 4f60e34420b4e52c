//! Sources of kind `central` as the user wrote them. Key type: [`Central`].

use std::path::PathBuf;

use serde::Deserialize;

use super::Secret;

/// `[source.NAME]` of kind `central`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Central {
    /// `central`
    #[serde(rename = "kind")]
    pub _kind: String,
    /// Name of a cluster, instead of `base_url`.
    pub cluster: Option<String>,
    /// `https://host[:port]`
    pub base_url: Option<String>,
    /// Id of a GreenLake workspace: says where tokens are given out.
    pub workspace: Option<String>,
    /// Where tokens are given out.
    pub token_endpoint: Option<String>,
    /// Further certificate authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// OAuth2 client id.
    pub client_id: Option<Secret>,
    /// OAuth2 client secret.
    pub client_secret: Option<Secret>,
    /// Where id and secret stand in a token request: `header` or `body`.
    pub credentials_in: Option<String>,
    /// A bearer token, instead of client credentials.
    pub token: Option<Secret>,
    /// A file that holds one, read again and again.
    pub token_file: Option<PathBuf>,
    /// A proxy's address, or `none`; in place of what the environment says.
    pub proxy: Option<Secret>,
    /// Whether to send a `Subscriber-Id`, or which.
    #[serde(default)]
    pub subscriber_id: SubscriberId,
    /// After how many tries in a row that failed a stream is given up.
    pub max_retries: Option<u32>,
    /// The streams to hold open.
    pub streams: Vec<Stream>,
    /// The largest frame taken.
    #[serde(default = "max_frame")]
    pub max_frame: String,
}

/// `subscriber_id`
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "true, false or a UUID")]
pub enum SubscriberId {
    /// Whether to send one.
    Whether(bool),
    /// Which one to send.
    Which(String),
}

impl Default for SubscriberId {
    fn default() -> Self {
        SubscriberId::Whether(false)
    }
}

/// One entry of `streams`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a stream's name, or a table { name or path, event_types }")]
pub enum Stream {
    /// Its name.
    Name(String),
    /// Its name or path, and what is wanted of it.
    Table(StreamTable),
}

/// A stream with settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamTable {
    /// Name of a known stream; beside `path`, how to call that one.
    pub name: Option<String>,
    /// Path of a stream not known by name.
    pub path: Option<String>,
    /// Only events of these types.
    #[serde(default)]
    pub event_types: Vec<String>,
}

fn max_frame() -> String {
    "16MiB".to_owned()
}
