//! signatures
#![allow(clippy::todo, unused_variables, missing_docs, reason = "bodies follow")]
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;

/// Files of one directory. Tests have one that fails.
pub trait Disk: Send + Sync {}

/// A log that is open for appending. Shared by reference; closes when dropped.
pub struct Log {}

impl Log {
    /// Opens the log in `dir`, which exists and which nobody else writes to; makes it if there is
    /// none. `certified` is a sequence number through which everything is known to have been
    /// durable (0 if nothing is known): what is bad at or below it is damage, not a torn tail.
    pub fn open(
        dir: &Path,
        options: Options,
        certified: u64,
        on_durable: OnDurable,
    ) -> Result<Log, OpenError> {
        todo!()
    }
    /// The same on any disk.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: Options,
        certified: u64,
        on_durable: OnDurable,
    ) -> Result<Log, OpenError> {
        todo!()
    }
    /// What opening found.
    pub fn found(&self) -> &Found {
        todo!()
    }
    /// Appends all of these, one after the other with nothing in between, and gives their sequence
    /// numbers. Blocks while there is no room; looks at `give_up` every 100 ms meanwhile.
    pub fn append(
        &self,
        entries: &[Entry<'_>],
        give_up: &dyn Fn() -> bool,
    ) -> Result<Range<u64>, AppendError> {
        todo!()
    }
    /// The same, and returns when they are durable. Does not wait for `max_wait`; where nobody is
    /// writing, this thread does.
    pub fn append_durable(
        &self,
        entries: &[Entry<'_>],
        give_up: &dyn Fn() -> bool,
    ) -> Result<Range<u64>, AppendError> {
        todo!()
    }
    /// Waits until all that has been appended by now is durable, and says through which.
    pub fn flush(&self, give_up: &dyn Fn() -> bool) -> Result<u64, AppendError> {
        todo!()
    }
    /// Through which sequence number everything is durable; 0 when there never was a record.
    pub fn durable(&self) -> u64 {
        todo!()
    }
    /// The sequence number that the next record gets.
    pub fn next_seq(&self) -> u64 {
        todo!()
    }
    /// Bytes that wait to be durable.
    pub fn buffered_bytes(&self) -> usize {
        todo!()
    }
    /// Lets go of whole segments all of whose records are below this one.
    pub fn release(&self, before_seq: u64) {
        todo!()
    }
    /// The first there is.
    pub fn first_seq(&self) -> u64 {
        todo!()
    }
    /// Oldest first. Never empty.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        todo!()
    }
    /// Total size of the segments' files, bytes.
    pub fn bytes(&self) -> u64 {
        todo!()
    }
    /// What keeps the log from being written, in words, while something does.
    pub fn trouble(&self) -> Option<String> {
        todo!()
    }
    /// True while it may not grow (`max_bytes`) and the segment in use is full.
    pub fn is_full(&self) -> bool {
        todo!()
    }
    /// Reads from this record on.
    pub fn reader(&self, from_seq: u64) -> Reader {
        todo!()
    }
    /// Makes all durable, marks the log as closed in order, ends its threads. What append is given
    /// from then on is refused; readers stay.
    pub fn close(&self, limit: Duration) -> Result<(), NotClosed> {
        todo!()
    }
}

/// Reads the records of a log in order, durable ones only.
pub struct Reader {}
impl Reader {
    /// What comes next: at most so many records, and payload bytes (one record at least). Never
    /// waits; empty at the tail.
    pub fn read(&mut self, max_records: usize, max_bytes: usize) -> io::Result<Block> {
        todo!()
    }
    /// Sequence number of the record that comes next.
    pub fn position(&self) -> u64 {
        todo!()
    }
    /// Goes on from this record.
    pub fn seek(&mut self, seq: u64) {
        todo!()
    }
}

/// A log that is only read, also while another process writes it.
pub struct ReadOnly {}
impl ReadOnly {
    pub fn open(dir: &Path) -> Result<ReadOnly, OpenError> {
        todo!()
    }
    pub fn open_on(disk: Arc<dyn Disk>) -> Result<ReadOnly, OpenError> {
        todo!()
    }
    pub fn segments(&self) -> Vec<SegmentInfo> {
        todo!()
    }
    pub fn reader(&self, from_seq: u64) -> Reader {
        todo!()
    }
}

/// Looks at every record in the directory; changes nothing.
pub fn verify(dir: &Path) -> Result<Report, OpenError> {
    todo!()
}
