//! What runs a batch, as pipelines see it: roles, wishes, failures and two small traits. Neither
//! wasm nor wasmtime is known here; tests run pipelines on plain closures. Key traits: [`Runner`],
//! [`Factory`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::columns::{Columns, Fields};
use crate::outcome::{Answer, Signal};
use crate::pattern::Pattern;
use crate::state::State;

/// What a plugin does with events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Decides which go on.
    Filter,
    /// Changes them.
    Transform,
    /// Watches them.
    Alert,
    /// Sends them elsewhere.
    Export,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Filter => "filter",
            Role::Transform => "transform",
            Role::Alert => "alert",
            Role::Export => "export",
        }
    }
}

/// What a plugin, as configured, wants to see.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    /// Types of events; none means all.
    pub types: Vec<Pattern>,
    /// Columns.
    pub fields: Fields,
}

impl Wants {
    /// Whether it wants events of a type.
    pub fn has_type(&self, ty: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|pattern| pattern.matches(ty))
    }
}

/// What is known of a plugin that serves.
#[derive(Debug, Clone)]
pub struct Info {
    /// Its name in the plugin directory, without `.wasm`.
    pub name: String,
    /// The name it gives itself.
    pub title: String,
    /// Its version in its own words.
    pub version: String,
    /// Hash of its file, in hex.
    pub sha256: String,
    /// What it does.
    pub role: Role,
    /// What it wants.
    pub wants: Wants,
    /// How much it may remember in a pipeline, and for how long.
    pub memory: Remembers,
}

/// How much a plugin may remember in a pipeline, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Remembers {
    /// All keys and values together, in bytes.
    pub most: usize,
    /// How long it remembers what it does not set again; `None` for ever.
    pub life: Option<std::time::Duration>,
}

impl Default for Remembers {
    fn default() -> Self {
        Remembers { most: crate::state::MAX_TOTAL, life: None }
    }
}

/// Why an event became a dead letter.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Reason {
    /// There is no event in the frame, or its payload is not what it should be.
    Decode,
    /// A plugin trapped on it.
    Trap,
    /// A plugin took too long over it.
    Timeout,
    /// A plugin wanted too much over it.
    Limit,
    /// A plugin's answer did not fit.
    Answer,
    /// A plugin said that it could not work on it.
    Fault,
    /// An export plugin or a sink will never take it.
    Refused,
    /// It was in the journal and cannot be read any more, or had to make room before it was delivered.
    Lost,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Reason; 8] = [
        Reason::Decode,
        Reason::Trap,
        Reason::Timeout,
        Reason::Limit,
        Reason::Answer,
        Reason::Fault,
        Reason::Refused,
        Reason::Lost,
    ];

    /// Those that a call of a plugin fails for.
    pub const OF_CALLS: [Reason; 4] =
        [Reason::Trap, Reason::Timeout, Reason::Limit, Reason::Answer];

    /// Its name in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Decode => "decode",
            Reason::Trap => "trap",
            Reason::Timeout => "timeout",
            Reason::Limit => "limit",
            Reason::Answer => "answer",
            Reason::Fault => "fault",
            Reason::Refused => "refused",
            Reason::Lost => "lost",
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The plugin failed; what it did to its state is undone.
    Failed(Reason, String),
    /// The host is stopping, and the call was given up. Nothing is known of its events.
    Stopped,
}

/// An instance of a plugin, used by one pipeline.
pub trait Runner: Send {
    /// What is known of the plugin.
    fn info(&self) -> &Arc<Info>;

    /// Runs the plugin on some events; the answer has been checked. Blocks the thread.
    ///
    /// # Errors
    /// When the plugin failed. The next call finds a new instance.
    fn run(
        &mut self,
        columns: &Columns<'_>,
        now: u64,
        state: &mut State,
    ) -> Result<Answer, Failure>;

    /// Lets time pass for an alert plugin.
    ///
    /// # Errors
    /// As for `run`.
    fn tick(&mut self, now: u64, state: &mut State) -> Result<Vec<Signal>, Failure>;
}

/// A metric of a plugin's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// Counts up.
    Counter(u64),
    /// Goes up and down.
    Gauge(f64),
}

/// The linear memory of a version's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// How many instances there are, those kept ready included.
    pub instances: u64,
    /// What all of them have, in bytes.
    pub used: u64,
    /// The most that one may have, in bytes.
    pub limit: u64,
}

/// A version of a plugin that serves: makes instances.
pub trait Factory: Send + Sync {
    /// What is known of the plugin.
    fn info(&self) -> &Arc<Info>;

    /// Distinguishes this version, with its configuration, from all others of this process.
    fn version_id(&self) -> u64;

    /// The metrics it has set so far, by name.
    fn figures(&self) -> BTreeMap<String, Figure> {
        BTreeMap::new()
    }

    /// The linear memory of its instances.
    fn memory(&self) -> Memory {
        Memory::default()
    }

    /// Makes an instance; quick, for some are kept ready.
    ///
    /// # Errors
    /// Why not.
    fn make(&self) -> Result<Box<dyn Runner>, String>;
}

/// The plugins as they are now.
#[derive(Clone, Default)]
pub struct Plugins {
    /// By name, and so in file-name order.
    pub entries: BTreeMap<String, Entry>,
}

/// One file of the plugin directory.
#[derive(Clone)]
pub struct Entry {
    /// The version that serves, if one has ever loaded.
    pub serving: Option<Arc<dyn Factory>>,
    /// Whether the file was there at start, so that pipelines without `through` wait for it.
    pub is_required: bool,
    /// What is wrong with the newest version of the file.
    pub error: Option<String>,
    /// Whether a newer version is being loaded.
    pub is_loading: bool,
    /// Hash of the newest version of the file, in hex; empty if it could not be read.
    pub sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_the_order_of_their_numbers() {
        let numbers: Vec<usize> = Reason::ALL.iter().map(|reason| *reason as usize).collect();
        assert_eq!(numbers, (0..Reason::ALL.len()).collect::<Vec<_>>());
    }
}
