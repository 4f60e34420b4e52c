//! A journal that is only read, also while a host writes it; what is put into one by hand; and a look
//! at every record of one. Key types: [`Archive`], [`KeptFrame`].

use std::io;
use std::ops::Range;
use std::path::Path;

use super::Journal;
use super::frames::{self, Read, TAG, head};
use crate::seglog::{
    AppendError, Entry, OpenError, ReadOnly, Reader, Report, SegmentInfo, verify_records,
};

/// Records are read in pieces of about this size.
const READ: usize = 4 << 20;

/// A frame in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFrame {
    /// Its record.
    pub seq: u64,
    /// When it was received, in microseconds since 1970.
    pub time: u64,
    /// The frame, and where it came from.
    pub read: Read,
}

/// What came next.
#[derive(Debug, Default)]
pub struct Piece {
    /// Frames in order.
    pub frames: Vec<KeptFrame>,
    /// Records that should have come and cannot be read.
    pub lost: Vec<Range<u64>>,
}

/// A journal that is only read. Changes nothing.
pub struct Archive {
    log: ReadOnly,
}

impl Archive {
    /// Opens the journal in a directory.
    ///
    /// # Errors
    /// When it cannot be read, or is of a version that is not known.
    pub fn open(dir: &Path) -> Result<Archive, OpenError> {
        Ok(Archive { log: ReadOnly::open(dir)? })
    }

    /// The oldest record there is; the next one to come where there is none.
    pub fn first_seq(&self) -> u64 {
        self.log.segments().first().map_or(1, |segment| segment.first_seq)
    }

    /// The last record there was when it was opened; 0 when there is none.
    pub fn last_seq(&self) -> u64 {
        self.log.last_seq()
    }

    /// A record with none of this time or later before it, where the clock never went back.
    pub fn before(&self, time: u64) -> u64 {
        let is_before = |segment: &&SegmentInfo| segment.first_time < time;
        let segments = self.log.segments();
        let last = segments.iter().take_while(is_before).last();
        last.map_or_else(|| self.first_seq(), |segment| segment.first_seq)
    }

    /// A record with none from before a time after it, where the clock never went back.
    pub fn after(&self, time: u64) -> u64 {
        let later = self.log.segments().into_iter().find(|segment| segment.first_time >= time);
        later.map_or(u64::MAX, |segment| segment.first_seq)
    }

    /// Frames from a record on.
    pub fn frames(&self, from: u64) -> Frames {
        Frames { reader: self.log.reader(from.max(self.first_seq())) }
    }
}

/// Frames of a journal in order.
pub struct Frames {
    reader: Reader,
}

impl Frames {
    /// What comes next; nothing at the end, where there may be more later.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn next_piece(&mut self) -> io::Result<Piece> {
        let block = self.reader.read(usize::MAX, READ)?;
        let mut piece = Piece { lost: block.lost, ..Piece::default() };
        for record in block.records {
            match frames::read(&record) {
                Some(read) => {
                    piece.frames.push(KeptFrame {
                        seq: record.seq,
                        time: record.time_micros,
                        read,
                    });
                }
                None => piece.lost.push(record.seq..record.seq + 1),
            }
        }
        Ok(piece)
    }
}

impl Piece {
    /// Whether there was nothing.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.lost.is_empty()
    }
}

/// Looks at every record of the journal in a directory. Changes nothing.
///
/// # Errors
/// When it cannot be read, or is of a version that is not known.
pub fn verify_journal(dir: &Path) -> Result<Report, OpenError> {
    verify_records(dir, |record| frames::read(record).is_some())
}

impl Journal {
    /// Puts frames in that were received once, at these times, waiting for room until it is time to
    /// give up. They are durable when the journal is closed.
    ///
    /// # Errors
    /// Why not; nothing of them is in then.
    pub fn import(
        &self,
        frames: &[(u64, Read)],
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), AppendError> {
        let heads: Vec<Vec<u8>> =
            frames.iter().map(|(_, read)| head(read.frame.kind, &read.origin)).collect();
        let mut entries = Vec::with_capacity(frames.len());
        for ((time_micros, read), head) in frames.iter().zip(&heads) {
            let time_micros = *time_micros;
            entries.push(Entry { time_micros, tag: TAG, head, body: &read.frame.bytes });
        }
        self.log.append(&entries, give_up).map(drop)
    }
}
