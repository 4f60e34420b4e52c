//! What the end of a journal holds, for those who remember: frames in order, once, and what is around
//! records that are lost. Key functions: [`Journal::tail`], [`Journal::around`].

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Journal, frames};
use crate::frame::{Frame, Kind, Origin};
use crate::seglog::Record;

/// Records are read in pieces of about this size.
const READ: usize = 4 << 20;
/// Most stretches of lost records that wait to be told; beyond, the last one grows.
const MAX_LOST: usize = 1_000;

/// Most kinds of heads that are remembered.
const MAX_HEADS: usize = 256;

/// A frame of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journalled {
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// The frame.
    pub frame: Frame,
    /// When it was read, in microseconds since 1970.
    pub time: u64,
}

/// Records that feeds could not read, until somebody asks.
#[derive(Debug, Default)]
pub(super) struct Lost(Mutex<Vec<Range<u64>>>);

impl Lost {
    pub fn note(&self, ranges: &[Range<u64>]) {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for range in ranges {
            let is_known =
                |known: &Range<u64>| known.start <= range.start && range.end <= known.end;
            if lost.iter().any(is_known) {
                continue;
            }
            let is_full = lost.len() >= MAX_LOST;
            match lost.last_mut() {
                Some(last) if is_full || last.end == range.start => {
                    *last = last.start.min(range.start)..last.end.max(range.end);
                }
                _ => lost.push(range.clone()),
            }
        }
    }

    pub fn take(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Heads that were seen before, and what they say.
#[derive(Default)]
struct Heads(Vec<(Bytes, Kind, Arc<Origin>)>);

impl Heads {
    /// What a head says; `None` where it says nothing.
    fn know(&mut self, head: &[u8]) -> Option<(Kind, &Arc<Origin>)> {
        let known = self.0.iter().position(|(known, ..)| known == head);
        let at = match known {
            Some(at) => at,
            None => {
                let (kind, origin) = frames::parse(head)?;
                if self.0.len() == MAX_HEADS {
                    self.0.clear();
                }
                // Its own copy: the head is a part of a large block.
                self.0.push((Bytes::copy_from_slice(head), kind, Arc::new(origin)));
                self.0.len() - 1
            }
        };
        self.0.get(at).map(|(_, kind, origin)| (*kind, origin))
    }
}

impl Journal {
    /// Calls `take` with each frame that a source brought before `before`, the oldest first, of the last
    /// `records` records, unless they are more than `bytes` on disk; of as many before those where no
    /// source brought any of them, for all were imported. Says when the last one came, in microseconds
    /// since 1970; 0 if there is none. What cannot be read is noted as lost.
    ///
    /// # Errors
    /// When the disk cannot be read; what was read until then was taken.
    pub fn tail(
        &self,
        before: u64,
        records: u64,
        bytes: u64,
        mut take: impl FnMut(&Arc<Origin>, &Frame, u64),
    ) -> io::Result<u64> {
        let mut before = before;
        loop {
            let first = self.tail_begin(before, records, bytes);
            let end = self.read_tail(first, before, &mut take)?;
            if end > 0 || first <= self.log.first_seq() {
                return Ok(end);
            }
            before = first;
        }
    }

    /// Where the last `records` records before `before` begin, or so many of them as are `bytes`.
    fn tail_begin(&self, before: u64, records: u64, bytes: u64) -> u64 {
        let mut segments = self.log.segments();
        segments.retain(|segment| segment.first_seq < before);
        // The last segment counts in any case.
        let (mut first, mut room) = (segments.last().map_or(1, |last| last.first_seq), bytes);
        for segment in segments.iter().rev().skip(1) {
            let Some(left) = room.checked_sub(segment.bytes) else { break };
            (first, room) = (segment.first_seq, left);
        }
        first.max(before.saturating_sub(records))
    }

    fn read_tail(
        &self,
        first: u64,
        before: u64,
        take: &mut impl FnMut(&Arc<Origin>, &Frame, u64),
    ) -> io::Result<u64> {
        let mut reader = self.log.reader(first);
        let mut heads = Heads::default();
        let mut end = 0;
        while reader.position() < before {
            let block = reader.read(usize::MAX, READ)?;
            if block.is_empty() {
                break;
            }
            let mut lost = block.lost;
            for record in block.records.iter().take_while(|record| record.seq < before) {
                let head = frames::head_of(record);
                let known = head.and_then(|head| Some((heads.know(head)?, head.len())));
                let is_imported = record.tag == frames::IMPORTED;
                if !is_imported {
                    end = end.max(record.time_micros);
                }
                match known {
                    Some(_) if is_imported => {}
                    Some(((kind, origin), at)) => {
                        let bytes = record.payload.slice(at..);
                        take(origin, &Frame { kind, bytes }, record.time_micros);
                    }
                    None => lost.push(record.seq..record.seq + 1),
                }
            }
            // What was let go meanwhile is not damaged.
            lost.retain(|lost| lost.start >= self.log.first_seq() && lost.end <= before);
            if !lost.is_empty() {
                self.lost.note(&lost);
            }
        }
        Ok(end)
    }

    /// The frames just before and just after these records, as far as they can be read.
    pub fn around(&self, records: &Range<u64>) -> [Option<Journalled>; 2] {
        let read = |seq: u64| {
            let block = self.log.reader(seq).read(1, READ).ok()?;
            block.records.first().filter(|record| record.seq == seq).and_then(journalled)
        };
        [records.start.checked_sub(1).filter(|seq| *seq > 0).and_then(read), read(records.end)]
    }

    /// Notes that these records are not there.
    pub fn note_lost(&self, records: Range<u64>) {
        self.lost.note(&[records]);
    }

    /// Records that no pipeline can read any more, since this was asked last.
    pub fn take_lost(&self) -> Vec<Range<u64>> {
        self.lost.take()
    }
}

fn journalled(record: &Record) -> Option<Journalled> {
    let frames::Read { origin, frame } = frames::read(record)?;
    Some(Journalled { origin, frame, time: record.time_micros })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::JournalConfig;
    use crate::frame::Chunk;

    #[test]
    fn the_tail_is_what_came_last_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path(), &JournalConfig::default(), 0).unwrap();
        let put = |stream: &str, text: &'static str| {
            let origin = Arc::new(Origin { source: "hq".into(), stream: stream.into() });
            let frames = text.bytes().map(|byte| Frame::binary(vec![byte])).collect();
            journal.try_put(&Chunk::new(origin, frames)).unwrap();
        };
        put("a", "abc");
        put("b", "def");
        put("a", "g");
        let mut watch = journal.watch();
        while *watch.borrow_and_update() < 7 {
            std::thread::yield_now();
        }
        let tail = |before, records| {
            let mut seen = String::new();
            let end = journal.tail(before, records, 1 << 20, |origin, frame, time| {
                assert!(time > 0);
                seen += &origin.stream;
                seen.push(char::from(frame.bytes[0]));
            });
            (seen, end.unwrap() > 0)
        };
        assert_eq!(tail(8, 4), ("bdbebfag".to_owned(), true));
        assert_eq!(tail(3, 100), ("aaab".to_owned(), true));
        assert_eq!(tail(1, 100), (String::new(), false));
        let [before, after] = journal.around(&(4..6));
        assert_eq!(before.unwrap().frame.bytes, &b"c"[..]);
        assert_eq!(after.unwrap().frame.bytes, &b"f"[..]);
        assert_eq!(journal.around(&(1..8)), [None, None]);
    }

    #[test]
    fn what_was_imported_is_nothing_that_a_stream_brought() {
        let dir = tempfile::tempdir().unwrap();
        let config = JournalConfig::default();
        let origin = Arc::new(Origin { source: "hq".into(), stream: "a".into() });
        let tail = |journal: &Journal| {
            let mut seen = Vec::new();
            let take = |_: &Arc<Origin>, frame: &Frame, _| seen.extend_from_slice(&frame.bytes);
            let end = journal.tail(journal.next_seq(), 2, 1 << 20, take).unwrap();
            (seen, end)
        };
        let import = |is_clean: bool| {
            let journal = Journal::open_to_import(dir.path(), &config, 0).unwrap();
            assert_eq!(journal.found().is_clean, is_clean);
            let frame =
                |n| frames::Read { origin: Arc::clone(&origin), frame: Frame::text(vec![n]) };
            let frames: Vec<_> = (b'x'..=b'z').map(|n| (u64::from(n), frame(n))).collect();
            journal.import(&frames, &|| false).unwrap();
            journal.close(Duration::from_secs(60)).unwrap();
        };
        import(false);
        let journal = Journal::open(dir.path(), &config, 0).unwrap();
        assert_eq!((journal.next_seq(), tail(&journal)), (4, (Vec::new(), 0)));
        let frames = b"abc".iter().map(|n| Frame::binary(vec![*n])).collect();
        journal.try_put(&Chunk::new(Arc::clone(&origin), frames)).unwrap();
        journal.close(Duration::from_secs(60)).unwrap();
        // More than is looked at, twice; that the one before was closed in order stays true.
        import(true);
        import(true);
        let journal = Journal::open(dir.path(), &config, 0).unwrap();
        assert!(journal.found().is_clean);
        let (seen, end) = tail(&journal);
        assert!(seen == b"bc" || seen == b"c", "{seen:?}");
        assert!(end > u64::from(b'z'), "{end}");
    }

    #[test]
    fn lost_records_are_told_once() {
        let lost = Lost::default();
        lost.note(&[3..5, 5..6, 4..6]);
        lost.note(&[9..10, 3..4]);
        assert_eq!(lost.take(), [3..6, 9..10]);
        assert!(lost.take().is_empty());
        for at in 0..5_000 {
            let range = 2 * at..2 * at + 1;
            lost.note(std::slice::from_ref(&range));
        }
        let lost = lost.take();
        assert_eq!((lost.len(), lost[MAX_LOST - 1].end), (MAX_LOST, 9_999));
    }
}
