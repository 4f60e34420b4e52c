//! What is remembered of a stream, whoever connects it: what it brought last, so that duplicates are
//! found, and its gaps. It outlives connections, a change of the stream's configuration and, by way of
//! the journal, the process. Key type: [`Memory`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::window::Window;
use crate::decode::identity;
use crate::frame::{Frame, Kind};
use crate::gap::{Ledger, Recall, Tracker};

/// Each outlet numbers its connections from a multiple of this on; those below are of earlier processes.
const NUMBERS: u64 = 1 << 32;

/// What is remembered of a stream.
pub struct Memory {
    window: Mutex<Window>,
    /// The first number for the connections of the next outlet.
    next_number: AtomicU64,
    /// Its gaps.
    pub gaps: Tracker,
    ready: CancellationToken,
}

impl Memory {
    /// Nothing is remembered, and duplicates are looked for among so many events.
    pub fn new(
        ledger: Option<Arc<Ledger>>,
        source: &str,
        stream: &str,
        events: usize,
    ) -> Arc<Self> {
        Arc::new(Memory {
            window: Mutex::new(Window::new(events)),
            next_number: AtomicU64::new(NUMBERS),
            gaps: Tracker::new(ledger, source, stream),
            ready: CancellationToken::new(),
        })
    }

    /// Looks for duplicates among so many events.
    pub fn resize(&self, events: usize) {
        self.window().resize(events);
    }

    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(NUMBERS, Ordering::Relaxed)
    }

    /// Remembers a frame that a connection of an earlier process brought, and when.
    pub fn recall(&self, recall: &mut Recall, frame: &Frame, time: u64) {
        if frame.kind == Kind::Binary {
            self.window().note(0, &frame.bytes);
        }
        if frame.kind != Kind::Text {
            recall.note(time, &frame.bytes, id_of);
        }
    }

    /// All is remembered: the stream may be connected.
    pub fn set_ready(&self) {
        self.ready.cancel();
    }

    /// Waits until all is remembered.
    pub async fn is_ready(&self) {
        self.ready.cancelled().await;
    }
}

/// The CloudEvents id in a frame, as text; empty if it has none.
pub fn id_of(frame: &[u8]) -> String {
    identity(frame).map_or_else(String::new, |found| String::from_utf8_lossy(found.id).into_owned())
}
