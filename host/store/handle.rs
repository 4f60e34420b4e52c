//! An open file, as those see it who make durable what was written to it. Key type: [`Handle`].

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::records::FileId;

/// An open file, and how much of what was written to it is not committed yet.
#[derive(Debug)]
pub struct Handle {
    /// Which it is.
    pub id: FileId,
    /// Itself.
    pub file: File,
    /// Where the last whole batch ends.
    end: AtomicU64,
    /// Bytes that were written and are not committed.
    uncommitted: AtomicU64,
}

impl Handle {
    /// A file that holds so much, none of which is still to be committed.
    pub fn new(id: FileId, file: File, end: u64) -> Self {
        Handle { id, file, end: AtomicU64::new(end), uncommitted: AtomicU64::new(0) }
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// Why not. What was written since the last time may be lost then, on disk and in memory.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// A batch was written, and ends there.
    pub fn wrote(&self, from: u64, to: u64) {
        self.end.store(to, Ordering::Release);
        self.uncommitted.fetch_add(to - from, Ordering::AcqRel);
    }

    /// So many bytes more are committed.
    pub fn committed(&self, bytes: u64) {
        self.uncommitted.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Whether all that was written is committed.
    pub fn is_committed(&self) -> bool {
        self.uncommitted.load(Ordering::Acquire) == 0
    }

    /// Where the last whole batch ends.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }
}
