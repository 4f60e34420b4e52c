//! The journal as the user wrote it. Key type: [`Journal`].

use serde::Deserialize;

/// `journal = false`, or `[journal]`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "true, false or a table [journal]")]
pub enum Journal {
    /// Whether there is one.
    Switch(bool),
    /// There is, and these are its settings: read once that is known.
    Table(serde_json::Map<String, serde_json::Value>),
}

/// `[journal]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalTable {
    /// How long frames wait for others, to be made durable with them.
    pub group_wait: Option<String>,
    /// How much is made durable at once.
    pub group_size: Option<String>,
    /// How much the journal may hold in all.
    pub max_size: Option<String>,
    /// How much is kept of what every pipeline is done with.
    pub keep_size: Option<String>,
    /// How long that is kept.
    pub keep_age: Option<String>,
    /// What happens when it is full: `wait` or `drop-oldest`.
    pub when_full: Option<String>,
    /// How often pipelines make durable how far they came.
    pub commit_every: Option<String>,
}
