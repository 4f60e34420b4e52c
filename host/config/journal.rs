//! What the host builds its journal from. Key type: [`JournalConfig`].

use std::time::Duration;

/// The journal: where frames are made durable before pipelines see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// How long frames wait for others, to be made durable with them.
    pub group_wait: Duration,
    /// How many bytes are made durable at once.
    pub group_size: usize,
    /// How many bytes it may hold in all.
    pub max_size: u64,
    /// How many bytes are kept of what every pipeline is done with.
    pub keep_size: u64,
    /// How long that is kept.
    pub keep_age: Duration,
    /// What happens when it is full.
    pub when_full: WhenFull,
    /// How often pipelines make durable how far they came.
    pub commit_every: Duration,
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig {
            group_wait: Duration::from_millis(5),
            group_size: 1 << 20,
            max_size: 8 << 30,
            keep_size: 1 << 30,
            keep_age: Duration::from_secs(7 * 86_400),
            when_full: WhenFull::Wait,
            commit_every: Duration::from_millis(100),
        }
    }
}

/// What happens when the journal is full of what some pipeline is not done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Sources stop reading until there is room.
    #[default]
    Wait,
    /// The oldest goes; pipelines that were not done with it account for it as dead letters.
    DropOldest,
}

/// Where in the journal a pipeline begins that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    /// With what comes from now on.
    #[default]
    Now,
    /// With the oldest there is.
    Oldest,
}
