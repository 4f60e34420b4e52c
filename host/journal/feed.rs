//! A pipeline's way out of the journal: the frames of its sources in order, whoever else reads. Key
//! type: [`Feed`].

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use tokio::sync::watch;

use super::count::{self, Backlog, Counting, Interests};
use super::frames;
use super::tail::Lost;
use crate::frame::{Chunk, Frame, Kind, Origin};
use crate::seglog::{Block, Reader};
use crate::tally::Tally;
use crate::timestamp::now_micros;

/// How long after a failure it is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Most kinds of heads that are remembered.
const MAX_HEADS: usize = 256;
/// After how many records it is told how far it has come.
const TELL_AFTER: u64 = 1 << 16;

/// Where a feed ends: told once, the record after the last one.
pub type End = watch::Sender<Option<u64>>;

/// Frames for one pipeline.
pub struct Feed {
    reader: Reader,
    durable: watch::Receiver<u64>,
    end: watch::Receiver<Option<u64>>,
    interests: Arc<Interests>,
    counting: Arc<Counting>,
    tally: Arc<Tally>,
    /// How many records that it has passed had counted as received when they became durable.
    counted: u64,
    /// Where it tells next how far it has come.
    tell_at: u64,
    /// What was there already and is not counted.
    backlog: Option<Backlog>,
    sources: Arc<[String]>,
    /// From this record on others may be wanted.
    until: u64,
    /// Of what is known of the interests.
    version: u64,
    heads: Vec<Known>,
    taken: Arc<AtomicU64>,
    failed: Option<Instant>,
    /// Where it is noted what cannot be read.
    lost: Arc<Lost>,
}

/// A head that was seen before.
struct Known {
    head: Bytes,
    kind: Kind,
    origin: Arc<Origin>,
    is_wanted: bool,
}

/// What a feed gave.
#[derive(Debug, Default)]
pub struct Taken {
    /// Frames; none where all that was read was for others.
    pub chunks: Vec<Chunk>,
    /// The record that comes next.
    pub cursor: u64,
    /// Records that cannot be read any more.
    pub lost: Vec<Range<u64>>,
}

impl Feed {
    pub(super) fn new(
        reader: Reader,
        counting: Arc<Counting>,
        backlog: Backlog,
        lost: Arc<Lost>,
    ) -> Self {
        let interests = Arc::clone(&backlog.interests);
        let (sources, until) = interests.at(reader.position());
        Feed {
            reader,
            durable: counting.watch(),
            counting,
            tally: Arc::clone(&backlog.tally),
            counted: 0,
            tell_at: 0,
            backlog: Some(backlog),
            end: watch::Sender::new(None).subscribe(),
            interests,
            sources,
            until,
            version: 0,
            heads: Vec::new(),
            taken: Arc::default(),
            failed: None,
            lost,
        }
    }

    /// Whether something was there already, and is not counted yet.
    pub fn has_backlog(&self) -> bool {
        self.backlog.as_ref().is_some_and(|left| left.reader.position() <= left.upto)
    }

    /// Counts some of what was there already as received: how many frames; `None` when all is counted. It is
    /// read for that, so all of it takes a while where it is much.
    ///
    /// # Errors
    /// The journal cannot be read. It may be tried again.
    pub fn count(&mut self) -> io::Result<Option<u64>> {
        let Some(backlog) = &mut self.backlog else { return Ok(None) };
        let counted = backlog.step()?;
        if counted.is_none()
            && let Some(backlog) = self.backlog.take()
        {
            self.counting.had_counted(&self.interests, backlog.counted);
        }
        Ok(counted)
    }

    /// The way to end it.
    pub fn end(&mut self) -> End {
        let end = watch::Sender::new(None);
        self.end = end.subscribe();
        end
    }

    /// Which sources it takes from.
    pub fn interests(&self) -> &Arc<Interests> {
        &self.interests
    }

    /// How many frames it gave, or told to be lost.
    pub fn taken(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// The record that comes next.
    pub fn cursor(&self) -> u64 {
        // What is lost may reach further than it may take.
        let position = self.reader.position();
        self.end.borrow().map_or(position, |end| position.min(end))
    }

    /// Whether there is something to be read.
    pub fn has_more(&self) -> bool {
        self.reader.position() <= *self.durable.borrow() && !self.is_over()
    }

    /// Whether what comes next is not its own any more.
    fn is_over(&self) -> bool {
        self.end.borrow().is_some_and(|end| self.reader.position() >= end)
    }

    /// Waits until there is something to be read; false when there will never be again.
    pub async fn wait(&mut self) -> bool {
        if let Some(failed) = self.failed {
            tokio::time::sleep_until((failed + READ_AGAIN).into()).await;
        }
        loop {
            if self.has_more() {
                return true;
            }
            self.end.mark_unchanged();
            if self.is_over() {
                return false;
            }
            tokio::select! {
                changed = self.durable.changed() => if changed.is_err() { return false },
                // Nobody is left who could end it: it goes on.
                Ok(()) = self.end.changed() => {}
            }
        }
    }

    /// Reads up to so many frames and bytes, but one at least, if there are any.
    pub fn take(&mut self, max_events: usize, max_bytes: usize) -> Taken {
        let end = *self.end.borrow();
        let left = end.map_or(u64::MAX, |end| end.saturating_sub(self.reader.position()));
        let max_events = max_events.min(usize::try_from(left).unwrap_or(usize::MAX));
        if max_events == 0 {
            return Taken { cursor: self.cursor(), ..Taken::default() };
        }
        let mut block = match self.reader.read(max_events, max_bytes) {
            Ok(block) => {
                self.failed = None;
                block
            }
            Err(error) => {
                tracing::error!(%error, "the journal cannot be read; it is tried again");
                self.failed = Some(Instant::now());
                Block::default()
            }
        };
        if let Some(end) = end.filter(|end| self.reader.position() > *end) {
            block.cut(end);
        }
        let mut taken = Taken { chunks: Vec::new(), cursor: self.cursor(), lost: block.lost };
        let (now, now_micros) = (Instant::now(), now_micros());
        let version = self.interests.version();
        let is_changed = std::mem::replace(&mut self.version, version) != version;
        if let Some(first) = block.records.first().filter(|_| is_changed) {
            self.look_at_interests(first.seq);
        }
        for mut record in block.records {
            if record.seq >= self.until {
                self.look_at_interests(record.seq);
            }
            let Some(head) = frames::head_of(&record) else {
                taken.lost.push(record.seq..record.seq + 1);
                continue;
            };
            let at = head.len();
            let Some(known) = self.known(head) else {
                taken.lost.push(record.seq..record.seq + 1);
                continue;
            };
            if !known.is_wanted {
                continue;
            }
            // In place: counting who holds a block costs as much as the rest of this.
            record.payload.advance(at);
            let frame = Frame { kind: known.kind, bytes: record.payload };
            match taken.chunks.last_mut() {
                Some(chunk) if Arc::ptr_eq(&chunk.origin, &known.origin) => {
                    chunk.frames.push(frame)
                }
                _ => {
                    let age = Duration::from_micros(now_micros.saturating_sub(record.time_micros));
                    let received = now.checked_sub(age).unwrap_or(now);
                    let origin = Arc::clone(&known.origin);
                    taken.chunks.push(Chunk { origin, frames: vec![frame], received });
                }
            }
        }
        let frames: u64 = taken.chunks.iter().map(|chunk| chunk.frames.len() as u64).sum();
        let lost: u64 = taken.lost.iter().map(|lost| lost.end - lost.start).sum();
        self.counted += frames;
        if lost > 0 {
            self.lost.note(&taken.lost);
            self.receive_lost(lost);
        }
        self.taken.fetch_add(frames + lost, Ordering::Relaxed);
        if self.reader.position() >= self.tell_at {
            self.tell_at = self.reader.position() + TELL_AFTER;
            self.counting.passed(&self.interests, self.reader.position());
        }
        taken
    }

    /// Records that are lost end here, whatever source they were of: those count as received now that did not
    /// when they became durable. How many did shows once what can be read up to a place is taken off what
    /// had counted there.
    fn receive_lost(&mut self, lost: u64) {
        let position = self.reader.position();
        let (end, counted) = self.counting.counted(&self.interests, position);
        let ahead = count::ahead(self.reader.another(position), end, &self.interests);
        let ahead = ahead.unwrap_or_else(|error| {
            tracing::error!(%error, "the journal cannot be read: what is lost may count twice");
            0
        });
        let had_counted = counted.saturating_sub(self.counted + ahead).min(lost);
        self.tally.receive(lost - had_counted);
        self.counted += had_counted;
    }

    fn look_at_interests(&mut self, seq: u64) {
        (self.sources, self.until) = self.interests.at(seq);
        self.heads.clear();
    }

    /// What a head says; `None` where it says nothing.
    fn known(&mut self, head: &[u8]) -> Option<&Known> {
        if let Some(place) = self.heads.iter().position(|known| *known.head == *head) {
            return self.heads.get(place);
        }
        let (kind, origin) = frames::parse(head)?;
        let is_wanted = self.sources.iter().any(|name| **name == *origin.source);
        let same = self.heads.iter().find(|known| *known.origin == origin);
        let origin = same.map_or_else(|| Arc::new(origin), |known| Arc::clone(&known.origin));
        if self.heads.len() == MAX_HEADS {
            self.heads.clear();
        }
        // Its own copy: the head is a part of a large block.
        let head = Bytes::copy_from_slice(head);
        self.heads.push(Known { head, kind, origin, is_wanted });
        self.heads.last()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.counting.unsubscribe(&self.interests);
    }
}
