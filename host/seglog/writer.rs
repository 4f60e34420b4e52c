//! Writes groups of records, each with one fdatasync. Whoever holds the [`Writer`] writes: the
//! log's own thread, or one that waits for its records. Key types: [`Writer`], [`Outcome`].

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::disk::{DiskFile, write_all};
use super::format::{
    BLOCK, Header, MARK, Mark, MarkKind, RECORD_HEADER, RESERVE, RecordHeader, record_len,
};
use super::segment::{Segment, file_name, now_micros};
use super::state::{Shared, State};

/// Most segments that wait for the system to be told that they are not read soon.
const MOST_COLD: usize = 16;

/// The end of the log.
pub(super) struct Writer {
    /// None when the one before was given up, and a new one must be taken first.
    current: Option<Current>,
    next_number: u64,
    /// Records that were taken from the buffer, behind room for a mark and before a block of zeros.
    records: Vec<u8>,
    /// Where the last of them ends.
    len: usize,
    /// Where those begin in it that are not durable yet; a multiple of 8, room for a mark before.
    at: usize,
    /// Everything through this was durable when the last mark was written.
    certified: u64,
    /// The last thing in the log is a mark that says it was closed.
    is_closed: bool,
    /// So it was when the log was opened.
    was_closed: bool,
    /// When the last group was begun.
    pub(super) begun: Instant,
}

/// The segment that is written.
pub(super) struct Current {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the next group goes, bytes.
    pub(super) at: u64,
}

/// What became of a try to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// There was nothing to write.
    Nothing,
    /// A segment must be made first. It has been asked for.
    NoSegment,
    /// Try again later. What is wrong has been noted.
    Failed,
}

/// A part of the records that are written together.
struct Group {
    end: usize,
    last_seq: u64,
    first_time: u64,
    last_time: u64,
}

impl Current {
    /// How much is written behind what ends here, for nothing but to end with a block: a file used
    /// again may not be in memory, and a part of a block is written only after it has been read.
    /// What stands there is overwritten by what comes next, and is good for nothing before.
    fn to_block_end(&self, end: u64) -> usize {
        (end.next_multiple_of(BLOCK).min(self.segment.data_end) - end) as usize
    }
}

impl Writer {
    pub(super) fn new(current: Current, next_number: u64, is_closed: bool) -> Self {
        Writer {
            current: Some(current),
            next_number,
            records: Vec::new(),
            len: 0,
            at: 0,
            // What was durable is known to be when the first mark says so.
            certified: 0,
            is_closed,
            was_closed: is_closed,
            begun: Instant::now(),
        }
    }

    /// True while there are records that were taken and are not durable.
    pub(super) fn has_records(&self) -> bool {
        self.at < self.len
    }

    /// True when a mark would say more than the last one does.
    pub(super) fn wants_mark(&self, durable: u64) -> bool {
        self.certified < durable && !self.is_closed
    }

    /// Writes one group.
    pub(super) fn commit(&mut self, shared: &Shared) -> Outcome {
        if !self.has_records() && !self.take(&mut shared.lock()) {
            return Outcome::Nothing;
        }
        let Some(mut group) = self.next_group(&shared.options) else {
            return self.roll_then(shared, |writer| writer.commit(shared));
        };
        self.begun = Instant::now();
        match self.write_group(&mut group) {
            Ok(()) => {
                self.settle(shared, &group);
                Outcome::Done
            }
            Err(error) => self.give_up(shared, &error),
        }
    }

    /// Notes that everything is durable.
    pub(super) fn mark(&mut self, shared: &Shared, kind: MarkKind) -> Outcome {
        if self.is_closed {
            return Outcome::Nothing;
        }
        if self.current.is_none() {
            return self.roll_then(shared, |writer| writer.mark(shared, kind));
        }
        let durable = shared.table.durable();
        let is_guest = shared.options.is_guest && !self.was_closed;
        let said = if is_guest { MarkKind::Idle } else { kind };
        match self.write_mark(said, durable) {
            Ok(()) => {
                self.certified = durable;
                self.is_closed = kind == MarkKind::Close;
                shared.lock().recover(shared);
                Outcome::Done
            }
            Err(error) => self.give_up(shared, &error),
        }
    }

    /// Takes what is in the buffer. False if nothing is.
    fn take(&mut self, state: &mut State) -> bool {
        if state.buffered() == 0 {
            return false;
        }
        self.records.clear();
        self.records.resize(MARK, 0);
        std::mem::swap(&mut self.records, &mut state.buffer);
        state.is_urgent = false;
        self.len = self.records.len();
        state.taken = self.len - MARK;
        self.records.resize(self.len + BLOCK as usize, 0);
        self.at = MARK;
        true
    }

    /// As many of the records as may be written together and have room, sealed for this segment. None if
    /// not even one has. Each is sealed when it is looked at: it comes from another core, and is fetched
    /// in order so.
    fn next_group(&mut self, options: &super::Options) -> Option<Group> {
        let segment = &self.current.as_ref()?.segment;
        let at = self.current.as_ref()?.at;
        let room = segment.data_end.checked_sub(at + MARK as u64 + RESERVE)?;
        let first = self.header_at(self.at);
        let mut group =
            Group { end: self.at, last_seq: 0, first_time: first.time_micros, last_time: 0 };
        while group.end < self.len {
            let header = self.header_at(group.end);
            let len = group.end - self.at + record_len(header.len as usize);
            if len as u64 > room || (group.end > self.at && len > options.max_group_bytes) {
                break;
            }
            let record = &mut self.records[group.end..][..RECORD_HEADER + header.len as usize];
            segment.salt.seal(record);
            group.end = self.at + len;
            (group.last_seq, group.last_time) = (header.seq, header.time_micros);
        }
        (group.end > self.at).then_some(group)
    }

    fn header_at(&self, at: usize) -> RecordHeader {
        RecordHeader::decode(&self.records[at..at + RECORD_HEADER])
    }

    fn write_group(&mut self, group: &mut Group) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        let from = self.at - MARK;
        let seq = RecordHeader::decode(&self.records[self.at..]).seq;
        let mark = mark_of(&current.segment, MarkKind::Group, seq);
        // What stands before these is durable, or is the room that was left.
        mark.encode(&mut self.records[from..self.at]);
        let end = current.at + (group.end - from) as u64;
        let bytes = &self.records[from..group.end + current.to_block_end(end)];
        write_all(&*current.file, bytes, current.at)?;
        current.file.sync()?;
        current.at = end;
        self.certified = seq - 1;
        self.is_closed = false;
        Ok(())
    }

    fn write_mark(&mut self, kind: MarkKind, durable: u64) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        // Without room there is none: the next segment says as much.
        if current.at + MARK as u64 > current.segment.data_end {
            return Ok(());
        }
        let end = current.at + MARK as u64;
        let mut bytes = vec![0; MARK + current.to_block_end(end)];
        mark_of(&current.segment, kind, durable + 1).encode(&mut bytes);
        write_all(&*current.file, &bytes, current.at)?;
        current.file.sync()?;
        current.at = end;
        current.segment.set_end(current.at);
        Ok(())
    }

    /// A group is durable: those who wait may know.
    fn settle(&mut self, shared: &Shared, group: &Group) {
        if let Some(current) = &self.current {
            current.segment.note(group.last_seq, group.first_time, group.last_time);
            current.segment.set_end(current.at);
        }
        shared.table.set_durable(group.last_seq);
        {
            let mut state = shared.lock();
            state.durable = group.last_seq;
            state.taken -= group.end - self.at;
            state.recover(shared);
            if state.waiting > 0 || !state.queue.is_empty() {
                shared.done.notify_all();
            }
        }
        self.at = group.end;
        if !self.has_records() {
            shrink(&mut self.records, shared.options.max_buffered_bytes);
            (self.at, self.len) = (0, 0);
        }
        (shared.on_durable)(group.last_seq);
    }

    /// Something could not be written. The pages of this file are not to be trusted again: what is
    /// not durable goes into another.
    fn give_up(&mut self, shared: &Shared, error: &io::Error) -> Outcome {
        let file = self.current.take().map_or_else(String::new, |c| c.segment.name());
        let text = format!("cannot write {}: {error}", shared.path(&file));
        shared.lock().fail(shared, text);
        Outcome::Failed
    }

    /// Goes on in a new segment, then does something there.
    fn roll_then(&mut self, shared: &Shared, then: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        // Of a size that has room for the next record, whichever it is.
        let next = if self.has_records() { self.header_at(self.at).len as usize } else { 0 };
        let least =
            (2 * BLOCK + MARK as u64 + RESERVE + record_len(next) as u64).next_multiple_of(BLOCK);
        let Some(spare) = shared.lock().take_spare(shared, least) else {
            return Outcome::NoSegment;
        };
        let number = self.next_number;
        self.next_number += 1;
        let (name, size) = (spare.name.clone(), spare.size);
        match self.start(shared, spare, number) {
            Ok(()) => then(self),
            Err(error) => {
                let mut state = shared.lock();
                state.live_bytes -= size;
                // Which name it has now is not known.
                state.discard(shared, [name, file_name(number)]);
                let path = shared.path(&file_name(number));
                state.fail(shared, format!("cannot begin {path}: {error}"));
                Outcome::Failed
            }
        }
    }

    /// Makes a spare the segment that is written.
    fn start(
        &mut self,
        shared: &Shared,
        spare: super::maker::Spare,
        number: u64,
    ) -> io::Result<()> {
        let first_seq = shared.table.durable() + 1;
        let header = Header {
            number,
            salt: rand::random(),
            first_seq,
            size: spare.size,
            created_micros: now_micros(),
        };
        let current = spare.begin(&shared.disk, header)?;
        let dead = shared.table.supersede(first_seq);
        shared.table.list_mut().push(Arc::clone(&current.segment));
        let cold = shared.table.cold();
        let mut state = shared.lock();
        state.cold.truncate(MOST_COLD);
        state.cold.extend(cold);
        for segment in dead {
            state.live_bytes -= segment.header.size;
            state.discard(shared, [segment.name()]);
        }
        shared.make.notify_one();
        drop(state);
        self.current = Some(current);
        // Its header says that everything before it was durable.
        self.certified = first_seq - 1;
        Ok(())
    }
}

/// Lets go of what one large record took, once it is durable. A buffer that only grew to what may wait has
/// less than twice that.
fn shrink(records: &mut Vec<u8>, usual: usize) {
    records.clear();
    if records.capacity() > 2 * usual + MARK + BLOCK as usize {
        records.shrink_to(usual);
    }
}

/// A mark for what comes next in this segment.
fn mark_of(segment: &Segment, kind: MarkKind, seq: u64) -> Mark {
    Mark {
        kind,
        seq,
        time_micros: now_micros(),
        through: seq - 1,
        number: segment.header.number,
        salt: segment.header.salt,
        first_seq: segment.header.first_seq,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_record_does_not_keep_its_memory() {
        let mut records = vec![0; 64 << 20];
        shrink(&mut records, 1 << 20);
        assert!(records.capacity() < 2 << 20 && records.is_empty());
        // What is usual is not taken anew each time.
        let mut records = vec![0; 2 << 20];
        shrink(&mut records, 1 << 20);
        assert!(records.capacity() >= 2 << 20 && records.is_empty());
    }
}
