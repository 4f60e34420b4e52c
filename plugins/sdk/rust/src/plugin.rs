//! What every plugin has, whatever its role: a description, a configuration, wants; and [`Fault`],
//! the error of one event.

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use crate::raw::lifecycle::{Description, Wants};
pub use crate::raw::types::Fields;

/// A plugin as it is configured. Each role's trait builds on this one.
///
/// An instance may be thrown away between two calls: what matters belongs in
/// [`state`](crate::state).
pub trait Plugin: Sized + 'static {
    /// The configuration: an object, read with serde. Let it refuse unknown keys
    /// (`#[serde(deny_unknown_fields)]`), so that a typing error is told and not ignored. A plugin
    /// without one takes [`NoConfig`].
    type Config: DeserializeOwned;

    /// Says what the plugin is.
    fn describe() -> Description;

    /// Makes the plugin, or says what is wrong with its configuration: the operator reads it word
    /// for word.
    ///
    /// # Errors
    /// Whatever the configuration cannot mean.
    fn configure(config: Self::Config) -> Result<Self, String>;

    /// What the plugin, so configured, wants to see. Ask for little: a column nobody wants is
    /// neither converted nor copied, and an event of a type not wanted passes by at no cost.
    fn wants(&self) -> Wants;
}

/// For plugins that take no configuration: any key is refused.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Why one event could not be worked on. The SDK adds which event; the event becomes a dead letter
/// with this reason, all others go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    reason: String,
}

impl Fault {
    /// A fault with a reason for the person who reads the dead letter.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }

    /// The reason.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The fault as the contract has it.
    pub(crate) fn at(self, index: usize) -> crate::raw::types::Fault {
        crate::raw::types::Fault { index: index as u32, reason: self.reason }
    }
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self { reason }
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        Self::new(reason)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self { reason: error.to_string() }
    }
}

impl From<crate::json::Malformed> for Fault {
    fn from(error: crate::json::Malformed) -> Self {
        Self { reason: error.to_string() }
    }
}

impl Description {
    /// A plugin without a configuration schema. The version is best `env!("CARGO_PKG_VERSION")`.
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.into(), version: version.into(), config_schema: String::new() }
    }

    /// With the JSON Schema of its configuration; the host checks the configuration against it
    /// before `configure`.
    #[must_use]
    pub fn with_schema(mut self, schema: &str) -> Self {
        self.config_schema = schema.into();
        self
    }
}

impl Wants {
    /// These columns of events of every type.
    pub fn all(fields: Fields) -> Self {
        Self { types: Vec::new(), fields }
    }

    /// These columns of events of these types, exact or with `*` for any run of characters. No type
    /// at all means every type.
    pub fn of_types<T: Into<String>>(types: impl IntoIterator<Item = T>, fields: Fields) -> Self {
        Self { types: types.into_iter().map(Into::into).collect(), fields }
    }
}
