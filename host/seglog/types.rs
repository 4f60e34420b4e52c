//! Plain data of the log: what goes in, what comes out, what was found, what went wrong. Key types:
//! [`Options`], [`Entry`], [`Record`], [`Block`], [`Found`].

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the log is called in texts and thread names: `journal`, `store`.
    pub name: &'static str,
    /// Size of the very first segment, bytes. It is made while the log is opened.
    pub first_segment_bytes: u64,
    /// Size of all others, bytes; a record that is larger gets one of its own size.
    pub segment_bytes: u64,
    /// The most that all segments may take, bytes; 0 for no limit. Two segments always fit.
    pub max_bytes: u64,
    /// The most that is written with one fdatasync, bytes; one record at least.
    pub max_group_bytes: usize,
    /// The least time from the beginning of one group to that of the next, unless it is full or
    /// somebody waits for it.
    pub max_wait: Duration,
    /// The most that waits to be durable, bytes; one call of append at least.
    pub max_buffered_bytes: usize,
    /// After this long without an append the log notes that all of it is durable.
    pub idle: Duration,
    /// The first wait after a failed write; doubled each time, up to `retry_most`.
    pub retry_least: Duration,
    /// The longest wait after a failed write.
    pub retry_most: Duration,
    /// Closing it does not say that it was closed in order, where opening found that it was not: for
    /// those who only add to what somebody else keeps.
    pub is_guest: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "journal",
            first_segment_bytes: 4 << 20,
            segment_bytes: 32 << 20,
            max_bytes: 0,
            max_group_bytes: 1 << 20,
            max_wait: Duration::from_millis(5),
            max_buffered_bytes: 8 << 20,
            idle: Duration::from_millis(50),
            retry_least: Duration::from_millis(50),
            retry_most: Duration::from_secs(1),
            is_guest: false,
        }
    }
}

/// Is told each time more has become durable: the sequence number through which everything is.
/// Called in order, from the thread that wrote it; must be short and must not wait for the log.
pub type OnDurable = Box<dyn Fn(u64) + Send + Sync>;

/// A record to be appended. Its payload is `head` followed by `body`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry<'a> {
    /// The caller's time, microseconds since 1970.
    pub time_micros: u64,
    /// The caller's.
    pub tag: u32,
    /// The payload's beginning.
    pub head: &'a [u8],
    /// The rest of it.
    pub body: &'a [u8],
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the log: one more than that of the record before. The first is 1.
    pub seq: u64,
    /// The caller's time, microseconds since 1970.
    pub time_micros: u64,
    /// The caller's.
    pub tag: u32,
    /// A slice of the buffer that the block was read into.
    pub payload: Bytes,
}

/// What one read gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// In order.
    pub records: Vec<Record>,
    /// Sequence numbers that should have come and are not there: damaged, missing or released.
    pub lost: Vec<Range<u64>>,
}

impl Block {
    /// Lets go of all from this record on.
    pub fn cut(&mut self, end: u64) {
        self.records.retain(|record| record.seq < end);
        self.lost.iter_mut().for_each(|lost| lost.end = lost.end.min(end));
        self.lost.retain(|lost| !lost.is_empty());
    }

    /// True when there was nothing to read: the reader is at the tail.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.lost.is_empty()
    }
}

/// A segment, for those who decide what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The number in its file's name.
    pub number: u64,
    /// Of its first record, or of the next one to come while it is empty.
    pub first_seq: u64,
    /// Of its last record that is durable; `first_seq - 1` while it is empty.
    pub last_seq: u64,
    /// Time of its first record; when it was made while it is empty. Microseconds since 1970.
    pub first_time: u64,
    /// Time of its last record; for segments from an earlier run the first time of the next one.
    pub last_time: u64,
    /// Size of its file, bytes.
    pub bytes: u64,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Name of the segment's file, also where it is missing.
    pub file: String,
    /// Where it begins, bytes; 0 where the file is missing or cannot be read at all.
    pub offset: u64,
    /// Records that are lost by it; empty where none is.
    pub seqs: Range<u64>,
    /// What is wrong, in words.
    pub what: String,
}

/// Records after the last one that is kept: written, but never promised to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// Name of the segment's file.
    pub file: String,
    /// Where it begins, bytes.
    pub offset: u64,
    /// Length, bytes.
    pub bytes: u64,
}

/// What opening a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// In the last segment, and segments that are missing or have no header. Damage in older ones
    /// shows when they are read. What is lost here a reader that comes by names, too.
    pub damage: Vec<Damage>,
    /// What was cut.
    pub torn_tail: Option<TornTail>,
    /// True when the log had been closed in order.
    pub is_clean: bool,
}

/// What looking at every record found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many there are.
    pub segments: u64,
    /// How many are good.
    pub records: u64,
    /// Payload of those, bytes.
    pub bytes: u64,
    /// First and last sequence number of good ones.
    pub seqs: Option<(u64, u64)>,
    /// In order.
    pub damage: Vec<Damage>,
    /// Not damage: the end of a log that is being written, or whose writer was killed.
    pub torn_tail: Option<TornTail>,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk said so.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was tried, as in "cannot read".
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// Written by a version of the format that is not known.
    #[error(
        "{} has format version {version}; this program knows versions up to {known}\n\
         hint: a newer release wrote this directory; run that one, or name another directory",
        path.display()
    )]
    Version {
        /// The segment.
        path: PathBuf,
        /// What it says.
        version: u32,
        /// The newest that is known.
        known: u32,
    },
}

/// Why records were not appended, or are not known to be durable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AppendError {
    /// The caller gave up while there was no room. Nothing of the call was appended.
    #[error("stopped while waiting for room in the log")]
    Stopped,
    /// The caller gave up while its records were not durable yet. They will be, if it goes on.
    #[error("stopped while waiting for the disk; records {} to {} are not durable yet", seqs.start, seqs.end)]
    NotDurable {
        /// What was appended.
        seqs: Range<u64>,
    },
    /// The log is closed. Nothing of the call was appended.
    #[error("the log is closed")]
    Closed,
    /// A payload of 4 GiB or more. Nothing of the call was appended.
    #[error("a record of {bytes} bytes is too large for the log")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
}

/// A log that could not be closed in time: these records were appended and are not durable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the log could not be written to its end: {} records are lost: {why}", seqs.end - seqs.start)]
pub struct NotClosed {
    /// Which.
    pub seqs: Range<u64>,
    /// What is wrong with the disk, as far as is known.
    pub why: String,
}
