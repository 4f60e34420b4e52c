//! A journal that is only read, also while a host writes it; what is put into one by hand; and a look
//! at every record of one. Key types: [`Archive`], [`KeptFrame`].

use std::io;
use std::ops::Range;
use std::path::Path;

use super::Journal;
use super::frames::{self, IMPORTED, Read, head};
use crate::config::JournalConfig;
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

    /// A record with none of this time or later before it. Where the clock was set back by less than a
    /// segment takes, some of that segment may be before it.
    pub fn before(&self, time: u64) -> u64 {
        before(&self.log.segments(), time).unwrap_or_else(|| self.first_seq())
    }

    /// A record with none from before a time after it, but for what [`Archive::before`] says.
    pub fn after(&self, time: u64) -> u64 {
        after(&self.log.segments(), time).unwrap_or(u64::MAX)
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
    /// Opens the journal of a host that does not run, as [`Journal::open`], to put frames in. Whether
    /// that host ended in order it says afterwards as it did before.
    ///
    /// # Errors
    /// As for [`Journal::open`].
    pub fn open_to_import(
        dir: &Path,
        config: &JournalConfig,
        certified: u64,
    ) -> Result<Self, OpenError> {
        Journal::open_as(dir, config, certified, true)
    }

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
            entries.push(Entry { time_micros, tag: IMPORTED, head, body: &read.frame.bytes });
        }
        self.log.append(&entries, give_up).map(drop)
    }
}

/// The segment before the first one that begins at this time or later, or that the clock was set back
/// in: what it holds last may be of any time.
fn before(segments: &[SegmentInfo], time: u64) -> Option<u64> {
    let is_set_back = |at: usize| {
        segments.get(at + 1).is_some_and(|next| next.first_time < segments[at].first_time)
    };
    let mut first = None;
    for (at, segment) in segments.iter().enumerate() {
        if segment.first_time >= time {
            break;
        }
        first = Some(segment.first_seq);
        if is_set_back(at) {
            break;
        }
    }
    first
}

/// The segment after the last one that begins before this time.
fn after(segments: &[SegmentInfo], time: u64) -> Option<u64> {
    let last = segments.iter().rposition(|segment| segment.first_time < time);
    segments.get(last.map_or(0, |last| last + 1)).map(|segment| segment.first_seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(times: &[u64]) -> Vec<SegmentInfo> {
        let segment = |(number, time): (u64, &u64)| SegmentInfo {
            number,
            first_seq: number * 10,
            last_seq: number * 10 + 9,
            first_time: *time,
            last_time: *time,
            bytes: 1,
        };
        (0..).zip(times).map(segment).collect()
    }

    #[test]
    fn a_time_is_found_though_the_clock_was_set_back() {
        let steady = segments(&[100, 200, 300]);
        let found =
            |segments: &[SegmentInfo], time| (before(segments, time), after(segments, time));
        assert_eq!(found(&steady, 50), (None, Some(0)));
        assert_eq!(found(&steady, 200), (Some(0), Some(10)));
        assert_eq!(found(&steady, 250), (Some(10), Some(20)));
        assert_eq!(found(&steady, 999), (Some(20), None));
        // Within the second one it was set back, so that one may hold what the first times do not tell.
        let back = segments(&[100, 200, 50, 150]);
        assert_eq!(found(&back, 120), (Some(0), Some(30)));
        assert_eq!(found(&back, 220), (Some(10), None));
        assert_eq!(found(&[], 1), (None, None));
    }
}
