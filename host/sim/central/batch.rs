//! Many frames in one piece, made once for all connections, and the count of who got which. Key
//! type: [`Batch`].

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;

/// The kind of a frame that is no event: it passes every filter and is not in the ledger.
pub(super) const EXTRA: u8 = u8::MAX;

/// One frame of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// Where it ends; it begins where the one before ends.
    pub end: u32,
    /// Which of the stream's payloads it holds, or [`EXTRA`].
    pub kind: u8,
}

/// Frames of one stream, in the order of its clock.
#[derive(Debug)]
pub(super) struct Batch {
    /// The frames, headers included.
    pub bytes: Bytes,
    /// Where they end.
    pub marks: Vec<Mark>,
    /// For each frame, how many connections it was completely written to; empty where no ledger
    /// asks.
    sent: Box<[AtomicU32]>,
}

impl Batch {
    /// A batch; `counted` where a ledger asks who got what.
    pub fn new(bytes: Vec<u8>, marks: Vec<Mark>, counted: bool) -> Self {
        let counters = if counted { marks.len() } else { 0 };
        let sent = (0..counters).map(|_| AtomicU32::new(0)).collect();
        Batch { bytes: bytes.into(), marks, sent }
    }

    /// Where a frame begins.
    pub fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.marks[before].end as usize)
    }

    /// Whether somebody counts.
    pub fn is_counted(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Counts a frame as written to one more connection.
    pub fn count(&self, index: usize) {
        if let Some(counter) = self.sent.get(index) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many connections a frame was written to.
    pub fn sent(&self, index: usize) -> u32 {
        self.sent.get(index).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// A batch on its way to one connection.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The batch.
    pub batch: Arc<Batch>,
    /// Why the connection is to be closed once it has written the batch.
    pub then_close: Option<&'static str>,
    /// Held until the connection can no longer send any of it.
    pub _pending: Option<Pending>,
}

/// As long as one of these exists, the batch it belongs to may still be sent to somebody.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    _sender: SyncSender<Infallible>,
}

/// Waits until nobody holds a [`Pending`] any more.
#[derive(Debug)]
pub(super) struct Settled(Receiver<Infallible>);

impl Pending {
    /// A new one, and what waits for all its clones to go.
    pub fn new() -> (Self, Settled) {
        let (sender, receiver) = sync_channel(1);
        (Pending { _sender: sender }, Settled(receiver))
    }
}

impl Settled {
    /// Blocks until it is so.
    pub fn wait(&self) {
        // Nothing can be sent, so the only answer is that all senders are gone.
        let _ = self.0.recv();
    }
}
