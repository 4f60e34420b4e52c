//! Reads the records of a log in order. Key type: [`Reader`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::{BLOCK, MARK, Piece, RECORD_HEADER};
use super::read_only::Follow;
use super::segment::{Segment, Table};
use super::types::{Block, Record};
use super::walk::{Step, Walker};

/// Reads the records of a log in order, durable ones only. It may be sent to another thread, and
/// there may be any number of them.
pub struct Reader {
    table: Arc<Table>,
    /// Looks for what another process has written; not needed where this one writes.
    follow: Option<Arc<Follow>>,
    position: u64,
    /// Others see the position here, after each block.
    shown: Arc<AtomicU64>,
    place: Option<Place>,
    /// How many records the last block had: the next one is likely to have as many.
    usual: usize,
}

/// Where it reads.
struct Place {
    segment: Arc<Segment>,
    walker: Walker,
    /// The first record of the segment that follows, once there is one.
    next: Option<u64>,
}

/// Why reading in a segment ended.
enum Ended {
    /// The block is full, or there is no more.
    Enough,
    /// It goes on elsewhere.
    Elsewhere,
}

impl Reader {
    pub(super) fn new(table: Arc<Table>, follow: Option<Arc<Follow>>, from_seq: u64) -> Self {
        let position = from_seq.max(1);
        let shown = table.begin_reading(position);
        Reader { table, follow, position, shown, place: None, usual: 0 }
    }

    /// Another one, from this record on.
    pub fn another(&self, from_seq: u64) -> Self {
        Reader::new(Arc::clone(&self.table), self.follow.clone(), from_seq)
    }

    /// Sequence number of the record that comes next.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes on from this record. To go back, or far, costs reading one segment up to it.
    pub fn seek(&mut self, seq: u64) {
        // Ahead is found by going on; what is passed over is not lost.
        if seq < self.position || seq > self.position + 10_000 {
            self.place = None;
        }
        self.position = seq.max(1);
    }

    /// What comes next: at most so many records and payload bytes, one record at least. Never
    /// waits; empty at the tail. Records that are damaged, missing or released are named in `lost`.
    ///
    /// # Errors
    /// The disk cannot be read. It may be tried again: nothing is passed over.
    pub fn read(&mut self, max_records: usize, max_bytes: usize) -> io::Result<Block> {
        let mut block = Block::default();
        block.records.reserve(self.usual.min(max_records));
        let mut room = Room { records: max_records.max(1), bytes: max_bytes };
        let read = self.fill(&mut block, &mut room);
        self.usual = block.records.len();
        self.shown.store(self.position, Ordering::Relaxed);
        match read {
            // What has been read already is handed out; the error comes again.
            Err(error) if block.is_empty() => Err(error),
            _ => Ok(block),
        }
    }

    fn fill(&mut self, block: &mut Block, room: &mut Room) -> io::Result<()> {
        loop {
            // This first: what is durable by now is in the list, and in front of the end.
            let mut durable = self.table.durable();
            if self.position > durable
                && let Some(follow) = &self.follow
            {
                follow.refresh(&self.table)?;
                durable = self.table.durable();
            }
            if self.position > durable || room.records == 0 {
                return Ok(());
            }
            match self.read_here(durable, room, block)? {
                Ended::Enough => return Ok(()),
                Ended::Elsewhere => self.place = None,
            }
        }
    }

    fn read_here(&mut self, durable: u64, room: &mut Room, block: &mut Block) -> io::Result<Ended> {
        let Some(mut place) =
            self.place.take().map_or_else(|| self.find(block), |p| Ok(Some(p)))?
        else {
            return Ok(Ended::Enough);
        };
        if place.next.is_none() {
            place.next = self.table.find(place.segment.header.first_seq).and_then(|found| found.1);
        }
        let ended = self.read_in(&mut place, durable, room, block);
        self.place = Some(place);
        ended
    }

    /// The place of the next record. What was released before it is lost.
    fn find(&mut self, block: &mut Block) -> io::Result<Option<Place>> {
        loop {
            let Some((segment, next)) = self.table.find(self.position) else { return Ok(None) };
            let walker = match Walker::new(&segment, BLOCK) {
                // Released since.
                Err(_) if segment.is_released() => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.look_again(&segment, error)?;
                    continue;
                }
                walker => walker?,
            };
            let first_seq = segment.header.first_seq;
            if first_seq > self.position {
                block.lose(self.position..first_seq);
                self.position = first_seq;
            }
            return Ok(Some(Place { segment, walker, next }));
        }
    }

    /// A file is gone: looks whether its writer has released it.
    fn look_again(&self, segment: &Segment, error: io::Error) -> io::Result<()> {
        if let Some(follow) = &self.follow {
            follow.refresh(&self.table)?;
        }
        if segment.is_released() { Ok(()) } else { Err(error) }
    }

    fn read_in(
        &mut self,
        place: &mut Place,
        durable: u64,
        room: &mut Room,
        block: &mut Block,
    ) -> io::Result<Ended> {
        let limit = place.next.unwrap_or(durable + 1);
        let end = place.segment.end();
        let walker = &mut place.walker;
        // In the last segment there may be more by now than was durable a moment ago.
        while place.next.is_none() || self.position < limit {
            // The buffer can be used again only when nobody holds a part of it, this block neither.
            if !block.records.is_empty() && !walker.has_more() {
                return Ok(Ended::Enough);
            }
            match walker.step(end)? {
                Step::Good(Piece::Record(header)) if header.seq < self.position => {
                    walker.pass(header.len);
                }
                Step::Good(Piece::Record(header)) if place.next.is_none_or(|n| header.seq < n) => {
                    if !room.take(header.len as usize, block) {
                        return Ok(Ended::Enough);
                    }
                    if header.seq > self.position {
                        block.lose(self.position..header.seq);
                    }
                    let (seq, time_micros, tag) = (header.seq, header.time_micros, header.tag);
                    let payload = walker.payload(&header);
                    block.records.push(Record { seq, time_micros, tag, payload });
                    walker.pass(header.len);
                    self.position = seq + 1;
                }
                Step::Good(Piece::Mark(_)) => walker.pass((MARK - RECORD_HEADER) as u32),
                Step::Good(_) | Step::End => break,
                Step::Bad if place.segment.is_released() => return Ok(Ended::Elsewhere),
                Step::Bad => {
                    let position = self.position;
                    let wanted = |piece: &Piece| match piece {
                        Piece::Record(header) => header.seq >= position,
                        Piece::Mark(mark) => mark.seq >= position,
                        Piece::Short(_) | Piece::Bad => false,
                    };
                    if !walker.skip(end, wanted)? {
                        break;
                    }
                }
            }
        }
        if place.segment.is_released() && self.position < limit {
            return Ok(Ended::Elsewhere);
        }
        if self.position < limit {
            block.lose(self.position..limit);
            self.position = limit;
        }
        Ok(if place.next.is_some() { Ended::Elsewhere } else { Ended::Enough })
    }
}

/// What a block may still take.
struct Room {
    records: usize,
    bytes: usize,
}

impl Room {
    /// True when there is room for one more, or it is the first.
    #[inline]
    fn take(&mut self, bytes: usize, block: &Block) -> bool {
        if self.records == 0 || (bytes > self.bytes && !block.records.is_empty()) {
            return false;
        }
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

impl Block {
    /// Notes what is lost, as one range where it goes on.
    pub(super) fn lose(&mut self, seqs: std::ops::Range<u64>) {
        match self.lost.last_mut() {
            Some(last) if last.end == seqs.start => last.end = seqs.end,
            _ => self.lost.push(seqs),
        }
    }
}
