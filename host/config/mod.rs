//! Configuration: what the user wrote ([`raw`]) becomes what the host builds from ([`Config`]).
//! The only place that knows figment and the process environment. Nothing is opened or connected
//! here; files named in it are read only for secrets.

mod check;
mod environment;
mod journal;
mod plugin_file;
pub mod raw;
mod secret;
mod sinks;
mod tail;
pub mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use secrecy::SecretString;
use url::Url;

use crate::proxy::Proxies;

pub use environment::proxies as environment_proxies;
pub use journal::{Begin, JournalConfig, WhenFull};
pub use plugin_file::{Egress, Limits, PluginFile};
pub use secret::secret_of_variable;
pub use sinks::{Format, Header, HttpConfig, Rotation, SinkConfig, SinkKind};
pub use tail::TailSource;

/// Variables that begin like an override and are none.
const NOT_OVERRIDES: &[&str] = &["log", "log_format", "cache", "wasm"];

/// Everything the host builds from. All paths are as the process will open them.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Where the host keeps what it keeps.
    pub data_dir: PathBuf,
    /// Where plugins lie.
    pub plugin_dir: PathBuf,
    /// Where metrics, health and the status API listen.
    pub listen: SocketAddr,
    /// The journal; `None` where it is switched off.
    pub journal: Option<JournalConfig>,
    /// The sources, by name.
    pub sources: Vec<SourceConfig>,
    /// The pipelines, by name.
    pub pipelines: Vec<PipelineConfig>,
    /// The sinks, by name.
    pub sinks: Vec<SinkConfig>,
}

/// A source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceConfig {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
}

impl SourceConfig {
    /// How many streams it holds open.
    pub fn stream_count(&self) -> usize {
        match &self.kind {
            SourceKind::Central(central) => central.streams.len(),
            SourceKind::Replay { .. } => 0,
        }
    }
}

/// The kinds of sources.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// Streams of New Central.
    Central(Box<CentralConfig>),
    /// A file of frames; it ends.
    Replay {
        /// Which file.
        path: PathBuf,
        /// The stream its frames are of.
        stream: String,
    },
}

/// Streams of New Central.
#[derive(Debug, Clone, PartialEq)]
pub struct CentralConfig {
    /// `https://host[:port][/path]`; streams lie below it.
    pub base_url: Url,
    /// How the bearer token is got.
    pub access: Access,
    /// A file of further certificate authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// The streams to hold open.
    pub streams: Vec<StreamConfig>,
    /// The largest frame taken, in bytes.
    pub max_frame: usize,
    /// Which proxies lead to it, for tokens and streams.
    pub proxies: Proxies,
    /// Whether streams are asked for with a `Subscriber-Id`.
    pub subscriber_id: SubscriberId,
    /// After how many tries in a row that failed a stream is given up; `None` for never.
    pub max_retries: Option<u32>,
}

/// How a source gets its bearer token.
#[derive(Debug, Clone)]
pub enum Access {
    /// A token given once and for all.
    Token(SecretString),
    /// A file that others keep a token in.
    File(PathBuf),
    /// OAuth2 client credentials.
    Client {
        /// `client_id`
        id: SecretString,
        /// `client_secret`
        secret: SecretString,
        /// Where tokens are given out.
        endpoint: Url,
        /// Where in the request they stand.
        credentials_in: CredentialsIn,
    },
}

impl PartialEq for Access {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Access::Token(token), Access::Token(other)) => secret::same_secret(token, other),
            (Access::File(file), Access::File(other)) => file == other,
            (
                Access::Client { id, secret, endpoint, credentials_in },
                Access::Client {
                    id: other_id,
                    secret: other_secret,
                    endpoint: other_endpoint,
                    credentials_in: other_in,
                },
            ) => {
                secret::same_secret(id, other_id)
                    && secret::same_secret(secret, other_secret)
                    && (endpoint, credentials_in) == (other_endpoint, other_in)
            }
            _ => false,
        }
    }
}

/// Where client credentials stand in a token request (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CredentialsIn {
    /// In the header field `Authorization`, as HTTP Basic.
    #[default]
    Header,
    /// In the form.
    Body,
}

/// What `Subscriber-Id` a source's streams send. Streams with one id share the events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubscriberId {
    /// None.
    #[default]
    Off,
    /// One that the host makes up, and keeps across restarts.
    Kept,
    /// This one, a UUID.
    Given(String),
}

/// One stream of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// Its name; the event's extension attribute `stream`.
    pub name: String,
    /// Path below the base URL, without a leading slash.
    pub path: String,
    /// Only events of these types are asked for; empty for all.
    pub event_types: Vec<String>,
}

/// A pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineConfig {
    /// Its name.
    pub name: String,
    /// Names of sources; `trommel` is the one built in.
    pub from: Vec<String>,
    /// Names of plugins in order; `None` for all that lie in the plugin directory.
    pub through: Option<Vec<String>>,
    /// Names of sinks.
    pub to: Vec<String>,
    /// Where in the journal it begins when it is new.
    pub begin: Begin,
}

/// Name of the source that is always there: alerts, reloads and the like as events.
pub const BUILT_IN_SOURCE: &str = "trommel";

/// What is wrong with a configuration: what, which and where, and the likely fix.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("cannot read {}: {source}\nhint: --config names the file", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Some of it is wrong. One entry each.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, variable or flag.
    pub file: String,
    /// Path of the key, for example `sink.archive.path`; empty for the whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// The likely fix; may be empty.
    pub hint: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        write!(f, "{}: {key}{}", self.file, self.what)?;
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads a configuration: the file, overridden by variables `TROMMEL_…` (`__` between keys), and
    /// these by `overrides`, each `KEY=VALUE` with dots between keys.
    ///
    /// # Errors
    /// All that is wrong with it, as far as it can be told in one go.
    pub fn load(file: &Path, overrides: &[String]) -> Result<Config, ConfigError> {
        let (figment, path) = figment_of(file, overrides)?;
        check::config(&figment, file, &path)
    }

    /// The data directory that a configuration names. No secret is looked for, so that a running
    /// host can be asked by those who have none of its secrets.
    ///
    /// # Errors
    /// What is wrong with the file as a whole.
    pub fn data_dir_of(file: &Path, overrides: &[String]) -> Result<PathBuf, ConfigError> {
        let (figment, path) = figment_of(file, overrides)?;
        let raw: raw::Raw = figment.extract().map_err(|error| {
            ConfigError::Invalid(check::problems_of(error, &file.display().to_string(), ""))
        })?;
        Ok(path.parent().unwrap_or(Path::new("/")).join(raw.data_dir))
    }
}

/// What was written, in order of precedence, and the absolute path of the file.
fn figment_of(file: &Path, overrides: &[String]) -> Result<(Figment, PathBuf), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
    // Read here and not by figment, which takes a missing file for an empty one.
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let path = std::path::absolute(file).map_err(unreadable)?;
    let mut figment = Figment::from(NamedToml::new(&text, file))
        .merge(Env::prefixed("TROMMEL_").ignore(NOT_OVERRIDES).split("__"));
    for flag in overrides {
        figment = figment.merge(override_of(flag)?);
    }
    Ok((figment, path))
}

/// What to log, from `TROMMEL_LOG`, if it is set.
pub fn log_filter() -> Option<String> {
    std::env::var("TROMMEL_LOG").ok().filter(|filter| !filter.is_empty())
}

/// What lines of the log look like, from `TROMMEL_LOG_FORMAT`, if it is set.
pub fn log_format() -> Option<String> {
    std::env::var("TROMMEL_LOG_FORMAT").ok().filter(|format| !format.is_empty())
}

/// Whether the user wants no colour anywhere: `NO_COLOR`, as no-color.org has it.
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// TOML from a text that errors name by its file.
struct NamedToml {
    toml: figment::providers::Data<Toml>,
    file: String,
}

impl NamedToml {
    fn new(text: &str, file: &Path) -> Self {
        NamedToml { toml: Toml::string(text), file: file.display().to_string() }
    }
}

impl figment::Provider for NamedToml {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(self.file.clone())
    }

    fn data(&self) -> figment::Result<figment::value::Map<figment::Profile, figment::value::Dict>> {
        self.toml.data()
    }
}

fn override_of(flag: &str) -> Result<impl figment::Provider, ConfigError> {
    let problem = || {
        ConfigError::Invalid(vec![Problem {
            file: "--set".to_owned(),
            key: flag.to_owned(),
            what: "is not KEY=VALUE".to_owned(),
            hint: "for example --set listen=127.0.0.1:0".to_owned(),
        }])
    };
    let (key, value) = flag.split_once('=').ok_or_else(problem)?;
    // A value reads as TOML where it is TOML, else as text.
    let parsed: figment::value::Value = value.parse().map_err(|_| problem())?;
    Ok(Flag(figment::providers::Serialized::global(key, parsed)))
}

/// An override that errors name by its flag.
struct Flag(figment::providers::Serialized<figment::value::Value>);

impl figment::Provider for Flag {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named("--set")
    }

    fn data(&self) -> figment::Result<figment::value::Map<figment::Profile, figment::value::Dict>> {
        self.0.data()
    }
}
