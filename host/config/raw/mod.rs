//! The configuration as the user wrote it, key by key. No work is done here; an unknown key is an
//! error. Key type: [`Raw`].

mod central;
mod journal;
mod sinks;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub use central::{Central, Stream, StreamTable, SubscriberId};
pub use journal::{Journal, JournalTable};
pub use sinks::{FileSink, HttpSink, PlainSink};

/// The whole file. What has a `kind` is read once that is known.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Everything the host keeps.
    #[serde(default = "data_dir")]
    pub data_dir: PathBuf,
    /// Where plugins lie.
    #[serde(default = "plugin_dir")]
    pub plugin_dir: PathBuf,
    /// Where metrics, health and the status API listen.
    #[serde(default = "listen")]
    pub listen: String,
    /// `journal = false`, or `[journal]`
    pub journal: Option<Journal>,
    /// `[source.NAME]`
    #[serde(default)]
    pub source: BTreeMap<String, Kind>,
    /// `[pipeline.NAME]`
    #[serde(default)]
    pub pipeline: BTreeMap<String, Pipeline>,
    /// `[sink.NAME]`
    #[serde(default)]
    pub sink: BTreeMap<String, Kind>,
}

/// Of a table with a `kind`, that alone.
#[derive(Debug, Deserialize)]
pub struct Kind {
    /// Which kind it is.
    pub kind: String,
}

/// `[source.NAME]` of kind `replay`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// `replay`
    #[serde(rename = "kind")]
    pub _kind: String,
    /// Frames, each after its length as 4 bytes, big-endian.
    pub path: PathBuf,
    /// The stream they are of.
    pub stream: String,
}

/// A secret, or a text that might be one: where it is to be had.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "a text, { env = \"NAME\" } or { file = \"PATH\" }")]
pub enum Secret {
    /// As it is.
    Plain(secrecy::SecretString),
    /// In a variable.
    Env(SecretEnv),
    /// In a file.
    File(SecretFile),
}

/// `{ env = "NAME" }`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretEnv {
    /// Name of the variable.
    pub env: String,
}

/// `{ file = "PATH" }`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// Path of the file.
    pub file: PathBuf,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Secret::Plain(_) => f.write_str("(secret)"),
            Secret::Env(secret) => write!(f, "env {}", secret.env),
            Secret::File(secret) => write!(f, "file {}", secret.file.display()),
        }
    }
}

/// `[pipeline.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Sources.
    pub from: Vec<String>,
    /// Plugins, in order.
    pub through: Option<Vec<String>>,
    /// Sinks.
    #[serde(default)]
    pub to: Vec<String>,
    /// Where it begins when it is new: `now` or `oldest`.
    pub begin: Option<String>,
}

/// `NAME.toml` beside a plugin.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Handed to the plugin as JSON.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// `[limits]`
    #[serde(default)]
    pub limits: Limits,
    /// `[egress]`
    #[serde(default)]
    pub egress: Egress,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Linear memory of an instance.
    pub memory: Option<String>,
    /// Time of one call.
    pub time: Option<String>,
    /// Size of one answer.
    pub output: Option<String>,
    /// Size of what it remembers, in each pipeline.
    pub state: Option<String>,
    /// How long it remembers what it does not set again.
    pub state_life: Option<String>,
}

/// `[egress]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Origins that requests may go to.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Further certificate authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// Secrets by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
}

fn data_dir() -> PathBuf {
    "data".into()
}

fn plugin_dir() -> PathBuf {
    "plugins.d".into()
}

fn listen() -> String {
    "127.0.0.1:9464".to_owned()
}
