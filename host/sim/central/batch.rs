//! Many frames in one piece, made once for all connections, and the record of who got which. Key
//! type: [`Batch`].

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::faults::Ending;

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
    /// Which frame was completely written to which connection; `None` where nobody counts.
    sent: Option<Mutex<Vec<Sent>>>,
}

/// A frame that was completely written to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sent {
    /// Its place in the batch.
    pub frame: u32,
    /// The connection's number.
    pub connection: u32,
}

impl Batch {
    /// A batch; `counted` where somebody asks who got what.
    pub fn new(bytes: Vec<u8>, marks: Vec<Mark>, counted: bool) -> Self {
        Batch { bytes: bytes.into(), marks, sent: counted.then(Mutex::default) }
    }

    /// Where a frame begins.
    pub fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.marks[before].end as usize)
    }

    /// A frame, header included.
    pub fn frame(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.marks[index].end as usize]
    }

    /// Whether somebody counts.
    pub fn is_counted(&self) -> bool {
        self.sent.is_some()
    }

    /// Notes frames as written to a connection.
    pub fn note(&self, connection: u32, frames: impl Iterator<Item = u32>) {
        if let Some(sent) = &self.sent {
            let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.extend(frames.map(|frame| Sent { frame, connection }));
        }
    }

    /// What was noted so far, by frame, then by connection.
    pub fn sent(&self) -> Vec<Sent> {
        let Some(sent) = &self.sent else { return Vec::new() };
        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sent.sort_unstable();
        sent.dedup();
        sent
    }
}

/// A batch on its way to one connection.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    /// The batch.
    pub batch: Arc<Batch>,
    /// Which of its frames; `None` for all.
    pub frames: Option<Arc<[u32]>>,
    /// How the connection ends once it has written them.
    pub then: Option<Ending>,
    /// Whether the peer is asked, once they are written, if they have arrived.
    pub asks: bool,
    /// Held until the connection can no longer send any of it.
    pub _pending: Option<Pending>,
}

impl Delivery {
    /// Whether a frame of the batch is in it.
    pub fn has(&self, frame: u32) -> bool {
        self.frames.as_ref().is_none_or(|frames| frames.contains(&frame))
    }
}

/// As long as one of these exists, the batch it belongs to may still be sent to somebody.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    sender: Arc<SyncSender<Infallible>>,
}

/// Waits until nobody holds a [`Pending`] any more.
#[derive(Debug)]
pub(super) struct Settled(Receiver<Infallible>);

impl Pending {
    /// A new one, and what waits for all its clones to go.
    pub fn new() -> (Self, Settled) {
        let (sender, receiver) = sync_channel(1);
        (Pending { sender: Arc::new(sender) }, Settled(receiver))
    }

    /// Whether nobody else holds one of the same batch.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.sender) == 1
    }
}

impl Settled {
    /// Blocks until it is so.
    pub fn wait(&self) {
        // Nothing can be sent, so the only answer is that all senders are gone.
        let _ = self.0.recv();
    }
}
