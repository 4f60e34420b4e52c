//! The gap ledger: stretches of time of which nobody knows what was sent, written down when they begin
//! and again when they end. Boundary: the store. Key types: [`Ledger`], [`Tracker`].

mod ledger;
mod tracker;

pub use crate::store::Gap;
pub use ledger::{Ledger, Phase};
pub use tracker::{Mark, Recall, Tail, Tracker};

/// Why nobody knows what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The connection ended by itself.
    Disconnected,
    /// The server takes no second connection, so the first had to be closed before.
    Refused,
    /// Connections share a `Subscriber-Id`, so the first was closed before the second was opened.
    Handover,
    /// Nothing was read for more than ten seconds, for there was no room for it.
    HeldBack,
    /// The stream was closed because its configuration changed.
    Reconfigured,
    /// The host was stopped and started again.
    Restart,
    /// The host, or its machine, ended in disorder.
    Crash,
    /// Records of the journal cannot be read any more.
    Damaged,
    /// Records of a full journal were given up that not every pipeline had taken.
    Dropped,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 9] = [
        Reason::Disconnected,
        Reason::Refused,
        Reason::Handover,
        Reason::HeldBack,
        Reason::Reconfigured,
        Reason::Restart,
        Reason::Crash,
        Reason::Damaged,
        Reason::Dropped,
    ];

    /// Whether it is known of which stream.
    pub fn is_of_stream(self) -> bool {
        !matches!(self, Reason::Damaged | Reason::Dropped)
    }

    /// Its name in the store, logs, metrics and answers.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Disconnected => "disconnected",
            Reason::Refused => "refused",
            Reason::Handover => "handover",
            Reason::HeldBack => "held-back",
            Reason::Reconfigured => "reconfigured",
            Reason::Restart => "restart",
            Reason::Crash => "crash",
            Reason::Damaged => "damaged",
            Reason::Dropped => "dropped",
        }
    }
}

/// In place of a reason: when a stream was connected for the first time ever. No gap, and not shown; from
/// then on it is missed when it is away.
pub const BEGIN: &str = "begin";
