//! What the misbehaving guests share: their configuration, the troubles that every role can make,
//! and the search for a secret. Each role's own ways lie in `roles/`.

pub mod search;
pub mod trouble;

use serde::Deserialize;
use trommel_plugin::{Event, state};

pub use trouble::Trouble;

/// The configuration of every misbehaving guest; `R` are the modes of its role.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config<R> {
    /// What to do wrong; without it nothing.
    #[serde(default = "Option::default")]
    pub mode: Option<Mode<R>>,
    /// Only for events whose id ends so; without it for all.
    pub on_id_suffix: Option<String>,
    /// How much: bytes, lines, copies or times, whatever the mode deals in.
    pub amount: Option<usize>,
    /// What `stamp` writes.
    #[serde(default)]
    pub n: i64,
    /// The secret to search for, last character first, so that it is not in memory because of this.
    #[serde(default)]
    pub reversed: String,
    /// Where `http-to` sends.
    #[serde(default)]
    pub url: String,
    /// Adds 1 to the key `count` in `state` for each event, before anything else is done with it.
    #[serde(default)]
    pub count: bool,
}

/// A trouble that every role can make, or a way of this role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Mode<R> {
    /// Every role's.
    Common(Trouble),
    /// This role's.
    Own(R),
}

impl<R: Copy + PartialEq> Config<R> {
    /// Makes the troubles of `configure`.
    ///
    /// # Errors
    /// If that is the trouble.
    pub fn checked(self) -> Result<Self, String> {
        match self.mode {
            Some(Mode::Common(Trouble::ConfigureTrap)) => panic!("told to trap in configure"),
            Some(Mode::Common(Trouble::ConfigureError)) => {
                Err("told to refuse its configuration".into())
            }
            _ => Ok(self),
        }
    }

    /// Whether it is to go wrong at this event.
    pub fn hits(&self, event: &Event<'_>) -> bool {
        self.on_id_suffix.as_ref().is_none_or(|suffix| event.id().ends_with(suffix.as_str()))
    }

    /// The role's own mode, if it is set and this event is meant.
    pub fn own(&self, event: &Event<'_>) -> Option<R> {
        match self.mode {
            Some(Mode::Own(mode)) if self.hits(event) => Some(mode),
            _ => None,
        }
    }

    /// What comes first with each event: it is counted, and a trouble that every role can make is
    /// made.
    pub fn begin(&self, event: &Event<'_>) {
        if self.count {
            state::add("count", 1);
        }
        if let Some(Mode::Common(trouble)) = self.mode
            && self.hits(event)
        {
            trouble.make(event.id(), self.amount);
        }
    }
}
