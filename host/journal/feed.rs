//! A pipeline's way out of the journal: the frames of its sources in order, whoever else reads. Key
//! type: [`Feed`].

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use tokio::sync::watch;

use super::count::{Backlog, Counting, Interests};
use super::frames;
use super::tail::Lost;
use crate::frame::{Chunk, Frame, Kind, Origin};
use crate::seglog::{Block, Reader};
use crate::timestamp::now_micros;

/// How long after a failure it is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Most kinds of heads that are remembered.
const MAX_HEADS: usize = 256;

/// Where a feed ends: told once, the record after the last one.
pub type End = watch::Sender<Option<u64>>;

/// Frames for one pipeline.
pub struct Feed {
    reader: Reader,
    durable: watch::Receiver<u64>,
    end: watch::Receiver<Option<u64>>,
    interests: Arc<Interests>,
    counting: Arc<Counting>,
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
        if counted.is_none() {
            self.backlog = None;
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
        self.reader.position()
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
        let block = match self.reader.read(max_events, max_bytes) {
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
        if !taken.lost.is_empty() {
            self.lost.note(&taken.lost);
        }
        let frames: usize = taken.chunks.iter().map(|chunk| chunk.frames.len()).sum();
        let lost: u64 = taken.lost.iter().map(|lost| lost.end - lost.start).sum();
        self.taken.fetch_add(frames as u64 + lost, Ordering::Relaxed);
        taken
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
