//! `NAME.toml` beside a plugin: its configuration, its limits and where it may reach. Key type:
//! [`PluginFile`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use secrecy::SecretString;
use url::{Origin, Url};

use super::{ConfigError, Problem, check, raw, secret, units};

/// The most that a plugin may remember in a pipeline.
const MAX_STATE: usize = crate::state::MAX_TOTAL;

/// What a plugin is given.
#[derive(Debug, Clone, Default)]
pub struct PluginFile {
    /// Handed to it as JSON.
    pub config: serde_json::Map<String, serde_json::Value>,
    /// What it may use.
    pub limits: Limits,
    /// Where it may reach.
    pub egress: Egress,
}

/// What one instance and one call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, in bytes.
    pub memory: usize,
    /// Time of one call. For an export plugin the time it waits for a response is not counted.
    pub time: Duration,
    /// Size of one answer, in bytes.
    pub output: usize,
    /// Size of what it remembers in each pipeline, in bytes.
    pub state: usize,
    /// How long it remembers what it does not set again; `None` for ever.
    pub state_life: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 64 << 20,
            time: Duration::from_secs(1),
            output: 16 << 20,
            state: MAX_STATE,
            state_life: None,
        }
    }
}

/// Where an export plugin's requests may go, and with what.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    /// The origins allowed: scheme, host and port.
    pub allow: Vec<Origin>,
    /// Further certificate authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// What `{secret:NAME}` stands for.
    pub secrets: BTreeMap<String, SecretString>,
}

impl PluginFile {
    /// Reads the text of a plugin's file. `file` names it in errors, and what it names is relative
    /// to the file's directory.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(text: &str, file: &Path) -> Result<PluginFile, ConfigError> {
        let shown = file.display().to_string();
        let figment =
            Figment::from(super::NamedToml { toml: Toml::string(text), file: shown.clone() });
        let raw: raw::Plugin = figment
            .extract()
            .map_err(|error| ConfigError::Invalid(check::problems_of(error, &shown, "")))?;
        let mut reading = Reading {
            file: shown,
            dir: file.parent().unwrap_or(Path::new(".")),
            problems: Vec::new(),
        };
        let plugin = PluginFile {
            limits: reading.limits(&raw.limits),
            egress: reading.egress(&raw.egress),
            config: raw.config,
        };
        match reading.problems {
            problems if problems.is_empty() => Ok(plugin),
            problems => Err(ConfigError::Invalid(problems)),
        }
    }
}

struct Reading<'a> {
    file: String,
    dir: &'a Path,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn problem(&mut self, key: &str, what: String, hint: &str) {
        let file = self.file.clone();
        self.problems.push(Problem { file, key: key.to_owned(), what, hint: hint.to_owned() });
    }

    fn limits(&mut self, raw: &raw::Limits) -> Limits {
        let defaults = Limits::default();
        let least = |what: &str| format!("{what} is the least");
        Limits {
            memory: self.size("limits.memory", raw.memory.as_deref(), defaults.memory),
            output: self.size("limits.output", raw.output.as_deref(), defaults.output),
            state: self.state(raw.state.as_deref(), defaults.state),
            state_life: self.state_life(raw.state_life.as_deref()),
            time: match raw.time.as_deref().map(units::duration) {
                None => defaults.time,
                Some(Ok(time)) if time >= Duration::from_millis(20) => time,
                Some(Ok(_)) => {
                    self.problem("limits.time", least("20ms"), "");
                    defaults.time
                }
                Some(Err(what)) => {
                    self.problem("limits.time", what, "");
                    defaults.time
                }
            },
        }
    }

    fn size(&mut self, key: &str, text: Option<&str>, default: usize) -> usize {
        match text.map(units::size) {
            None => default,
            // The memory of a 32-bit guest ends there anyway.
            Some(Ok(size)) => usize::try_from(size.min(4 << 30)).unwrap_or(usize::MAX),
            Some(Err(what)) => {
                self.problem(key, what, "");
                default
            }
        }
    }

    fn state(&mut self, text: Option<&str>, default: usize) -> usize {
        let size = self.size("limits.state", text, default);
        if size > MAX_STATE {
            self.problem("limits.state", "64MiB is the most".to_owned(), "");
        }
        size.min(MAX_STATE)
    }

    fn state_life(&mut self, text: Option<&str>) -> Option<Duration> {
        match units::duration(text?) {
            Ok(life) if life >= Duration::from_secs(1) => return Some(life),
            Ok(_) => self.problem("limits.state_life", "1s is the least".to_owned(), ""),
            Err(what) => self.problem("limits.state_life", what, ""),
        }
        None
    }

    fn egress(&mut self, raw: &raw::Egress) -> Egress {
        let mut egress = Egress {
            ca_file: raw.ca_file.as_ref().map(|file| self.dir.join(file)),
            ..Egress::default()
        };
        for text in &raw.allow {
            match Url::parse(text) {
                Ok(url) if is_origin(&url) => egress.allow.push(url.origin()),
                _ => {
                    let what = format!("{text:?} is not an origin");
                    self.problem("egress.allow", what, "for example https://siem.example:8443");
                }
            }
        }
        for (name, source) in &raw.secrets {
            match secret::resolve(source, self.dir, false) {
                Ok(value) => drop(egress.secrets.insert(name.clone(), value)),
                Err((what, hint)) => self.problem(&format!("egress.secrets.{name}"), what, &hint),
            }
        }
        egress
    }
}

fn is_origin(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "http")
        && url.has_host()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}
