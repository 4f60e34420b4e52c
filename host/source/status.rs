//! How the streams of a source are doing, as others are shown it. Key types: [`Status`],
//! [`SharedStatus`].

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::timestamp::now_micros;

/// What a stream is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No connection yet; one is being made.
    #[default]
    Connecting,
    /// Connected.
    Streaming,
    /// Connected, and a second connection is about to take over.
    Renewing,
    /// Not connected; the next try comes by itself.
    Waiting,
    /// Not connected, for a reason that somebody must see to; it is tried again, slowly.
    Failing,
    /// Told to stop, or given up after `max_retries`.
    Stopped,
}

impl State {
    /// All of them, in the order of their declaration.
    pub const ALL: [State; 6] = [
        State::Connecting,
        State::Streaming,
        State::Renewing,
        State::Waiting,
        State::Failing,
        State::Stopped,
    ];

    /// Its name in logs, metrics and answers.
    pub fn name(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Streaming => "streaming",
            State::Renewing => "renewing",
            State::Waiting => "waiting",
            State::Failing => "failing",
            State::Stopped => "stopped",
        }
    }

    /// Whether events can come in.
    pub fn is_up(self) -> bool {
        matches!(self, State::Streaming | State::Renewing)
    }
}

/// How a stream is doing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Status {
    /// Name of the source.
    pub source: String,
    /// Name of the stream.
    pub stream: String,
    /// What it is doing.
    pub state: State,
    /// Why it is not streaming; empty if it is.
    pub detail: String,
    /// What to do about that; empty where nothing can be said.
    pub hint: String,
    /// Since when it has been doing that, in microseconds since 1970.
    pub since: u64,
    /// Connections that came about.
    pub connections: u64,
    /// Tries to connect that failed.
    pub failures: u64,
    /// Times when a connection was ended before another could take its place.
    pub gaps: u64,
    /// Frames read, those dropped as duplicates included.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Frames dropped because another connection of the stream had brought the same.
    pub duplicates: u64,
    /// Frames whose id another connection had brought with other bytes; they were kept.
    pub conflicts: u64,
    /// When the last frame was read, in microseconds since 1970; 0 for never.
    pub last_frame: u64,
}

/// A status that is shown while it changes.
#[derive(Debug, Clone, Default)]
pub struct SharedStatus(Arc<Mutex<Status>>);

impl SharedStatus {
    /// The status of a stream that is about to connect.
    pub fn new(source: &str, stream: &str) -> Self {
        let status = Status {
            source: source.to_owned(),
            stream: stream.to_owned(),
            since: now_micros(),
            ..Status::default()
        };
        SharedStatus(Arc::new(Mutex::new(status)))
    }

    /// The status now.
    pub fn get(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it.
    pub fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes what the stream is doing now, and why.
    pub fn enter(&self, state: State, detail: &str, hint: &str) {
        self.change(|status| {
            if status.state != state {
                status.since = now_micros();
            }
            status.state = state;
            detail.clone_into(&mut status.detail);
            hint.clone_into(&mut status.hint);
        });
    }
}
