//! What counts as received: frames that are durable, in every pipeline that takes them, and those that are
//! lost, in every one that finds that. Key types: [`Counting`], [`Interests`].

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::frames;
use crate::seglog::{Block, Reader};
use crate::tally::Tally;

/// Records are read in pieces of about this size.
const READ: usize = 4 << 20;
/// How many records apart it is noted how many have counted.
const STEP: u64 = 1_024;
/// Most such notes of a pipeline; beyond, each second one goes.
const MAX_NOTES: usize = 1 << 16;

/// Which sources a pipeline takes from. That may change while it runs, from a record on.
#[derive(Debug)]
pub struct Interests {
    changes: Mutex<Vec<(u64, Arc<[String]>)>>,
    version: AtomicU64,
}

impl Interests {
    /// From the beginning on, these.
    pub fn new(sources: &[String]) -> Self {
        Interests { changes: Mutex::new(vec![(0, sources.into())]), version: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Arc<[String]>)>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From a record on, these.
    pub fn change(&self, from: u64, sources: &[String]) {
        let mut changes = self.lock();
        if changes.last().is_none_or(|(_, last)| **last != *sources) {
            changes.push((from, sources.into()));
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Changes with each change. To be asked after records were read: those that a change is about are
    /// there only after it.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The sources at a record, and the first record that it may be otherwise at.
    pub(super) fn at(&self, seq: u64) -> (Arc<[String]>, u64) {
        let changes = self.lock();
        let now = changes.partition_point(|(from, _)| *from <= seq).saturating_sub(1);
        let until = changes.get(now + 1).map_or(u64::MAX, |(from, _)| *from);
        (Arc::clone(&changes[now].1), until)
    }

    /// Whether a record of a source is wanted.
    pub fn wants(&self, seq: u64, source: &str) -> bool {
        self.at(seq).0.iter().any(|name| name == source)
    }
}

/// Counts what becomes durable.
#[derive(Debug)]
pub(super) struct Counting {
    inner: Mutex<Inner>,
    durable: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Appended and not durable yet, in order.
    waiting: VecDeque<(Range<u64>, Arc<str>)>,
    subscribers: Vec<Subscriber>,
    durable: u64,
}

#[derive(Debug)]
struct Subscriber {
    interests: Arc<Interests>,
    tally: Arc<Tally>,
    counted: Counted,
}

/// How many records counted for a pipeline when they became durable. Where some of them are lost, nobody
/// can say any more which those were; but how many, if it is known on both sides.
#[derive(Debug, Default)]
pub(super) struct Counted {
    total: u64,
    /// A record, and how many before it counted; in order.
    notes: VecDeque<(u64, u64)>,
}

impl Counted {
    /// All before a record is counted.
    fn note(&mut self, end: u64) {
        if self.notes.back().is_some_and(|(last, _)| end < last + STEP) {
            return;
        }
        if self.notes.len() >= MAX_NOTES {
            let mut place = 0;
            self.notes.retain(|_| {
                place += 1;
                place % 2 == 0
            });
        }
        self.notes.push_back((end, self.total));
    }

    /// The same, going on with what came after.
    fn and_then(mut self, later: Counted) -> Counted {
        let before = self.total;
        self.notes.extend(later.notes.into_iter().map(|(end, counted)| (end, before + counted)));
        self.total += later.total;
        self
    }
}

impl Default for Counting {
    fn default() -> Self {
        Counting { inner: Mutex::default(), durable: watch::Sender::new(0) }
    }
}

impl Counting {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends records of a source, so that they are known here before they are durable.
    pub fn append<E>(
        &self,
        source: &Arc<str>,
        append: impl FnOnce() -> Result<Range<u64>, E>,
    ) -> Result<(), E> {
        let mut inner = self.lock();
        let seqs = append()?;
        inner.waiting.push_back((seqs, Arc::clone(source)));
        Ok(())
    }

    /// Does something while nothing is appended.
    pub fn hold(&self, act: impl FnOnce()) {
        let held = self.lock();
        act();
        drop(held);
    }

    /// All through this record is durable.
    pub fn durable(&self, upto: u64) {
        {
            let mut inner = self.lock();
            let Inner { waiting, subscribers, durable } = &mut *inner;
            *durable = upto;
            while let Some((seqs, source)) = waiting.front_mut() {
                let end = seqs.end.min(upto + 1);
                if end <= seqs.start {
                    break;
                }
                for subscriber in &mut *subscribers {
                    if subscriber.interests.wants(seqs.start, source) {
                        subscriber.tally.receive(end - seqs.start);
                        subscriber.counted.total += end - seqs.start;
                    }
                }
                seqs.start = end;
                if !seqs.is_empty() {
                    break;
                }
                waiting.pop_front();
            }
            subscribers.iter_mut().for_each(|subscriber| subscriber.counted.note(upto + 1));
        }
        self.durable.send_replace(upto);
    }

    /// Begins to count for a pipeline; says through which record others are durable already.
    pub fn subscribe(&self, interests: &Arc<Interests>, tally: &Arc<Tally>) -> u64 {
        let mut inner = self.lock();
        inner.subscribers.push(Subscriber {
            interests: Arc::clone(interests),
            tally: Arc::clone(tally),
            counted: Counted::default(),
        });
        inner.durable
    }

    pub fn unsubscribe(&self, interests: &Arc<Interests>) {
        self.lock().subscribers.retain(|other| !Arc::ptr_eq(&other.interests, interests));
    }

    fn with<T>(
        &self,
        of: &Arc<Interests>,
        act: impl FnOnce(&mut Subscriber, u64) -> T,
    ) -> Option<T> {
        let mut inner = self.lock();
        let durable = inner.durable;
        let found = inner.subscribers.iter_mut().find(|other| Arc::ptr_eq(&other.interests, of));
        found.map(|subscriber| act(subscriber, durable))
    }

    /// What counted for a pipeline before it was subscribed.
    pub fn had_counted(&self, of: &Arc<Interests>, earlier: Counted) {
        self.with(of, |subscriber, _| {
            let later = std::mem::take(&mut subscriber.counted);
            subscriber.counted = earlier.and_then(later);
        });
    }

    /// A record at or after `seq`, and how many before it counted for a pipeline.
    pub fn counted(&self, of: &Arc<Interests>, seq: u64) -> (u64, u64) {
        let counted = self.with(of, |Subscriber { counted, .. }, durable| {
            let next = counted.notes.partition_point(|(end, _)| *end < seq);
            let note = counted.notes.get(next).copied();
            note.unwrap_or((durable + 1, counted.total))
        });
        counted.unwrap_or((seq, 0))
    }

    /// A pipeline has come to this record.
    pub fn passed(&self, of: &Arc<Interests>, seq: u64) {
        self.with(of, |Subscriber { counted, .. }, _| {
            let gone = counted.notes.partition_point(|(end, _)| *end < seq);
            counted.notes.drain(..gone);
        });
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }
}

/// What a pipeline finds in the journal when it begins, as far as it is not counted yet. To know what of it is
/// wanted, it is read.
pub(super) struct Backlog {
    pub reader: Reader,
    /// The last record of it.
    pub upto: u64,
    pub interests: Arc<Interests>,
    pub tally: Arc<Tally>,
    /// What of it is.
    pub counted: Counted,
}

impl Backlog {
    /// Counts some more of it: how many; `None` when all is counted. Records that cannot be read count too:
    /// they were received.
    ///
    /// # Errors
    /// The journal cannot be read. It may be tried again: nothing is counted twice, or passed over.
    pub fn step(&mut self) -> io::Result<Option<u64>> {
        let (upto, position) = (self.upto, self.reader.position());
        if position > upto {
            return Ok(None);
        }
        let block = self.reader.read(usize::MAX, READ)?;
        if block.is_empty() {
            return Ok(None);
        }
        let lost = block.lost.iter().map(|lost| lost.end.min(upto + 1).saturating_sub(lost.start));
        let of_block = count(&block, position, upto + 1, &self.interests);
        let count = lost.sum::<u64>() + of_block.wanted + of_block.unknown;
        self.tally.receive(count);
        self.counted.total += count;
        self.counted.note(self.reader.position().min(upto + 1));
        Ok(Some(count))
    }
}

/// How many records from the reader's on and before `end` can be read, and are wanted.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn ahead(mut reader: Reader, end: u64, interests: &Interests) -> io::Result<u64> {
    let mut wanted = 0;
    while reader.position() < end {
        let position = reader.position();
        let most = usize::try_from(end - position).unwrap_or(usize::MAX);
        let block = reader.read(most, READ)?;
        if block.is_empty() {
            break;
        }
        wanted += count(&block, position, end, interests).wanted;
    }
    Ok(wanted)
}

/// What records are to a pipeline.
#[derive(Default)]
struct OfBlock {
    wanted: u64,
    /// They say nothing: lost to everybody, as they are to who takes them.
    unknown: u64,
}

/// Counts the records of a block, which was read from `position` on, before `end`.
fn count(block: &Block, position: u64, end: u64, interests: &Interests) -> OfBlock {
    let mut counts = OfBlock::default();
    let (mut sources, mut until) = interests.at(position);
    let mut last: Option<(&[u8], Option<bool>)> = None;
    for record in block.records.iter().filter(|record| record.seq < end) {
        if record.seq >= until {
            (sources, until) = interests.at(record.seq);
            last = None;
        }
        let Some(head) = frames::head_of(record) else {
            counts.unknown += 1;
            continue;
        };
        let is_wanted = match last {
            Some((known, is_wanted)) if known == head => is_wanted,
            _ => {
                let origin = frames::parse(head).map(|(_, origin)| origin);
                origin.map(|origin| sources.iter().any(|name| **name == *origin.source))
            }
        };
        last = Some((head, is_wanted));
        match is_wanted {
            Some(is_wanted) => counts.wanted += u64::from(is_wanted),
            None => counts.unknown += 1,
        }
    }
    counts
}
