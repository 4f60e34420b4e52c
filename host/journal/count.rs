//! What counts as received: frames that are durable, in every pipeline that takes them. Key types:
//! [`Counting`], [`Interests`].

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::frames;
use crate::seglog::Reader;
use crate::tally::Tally;

/// Records are read in pieces of about this size.
const READ: usize = 4 << 20;

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
    subscribers: Vec<(Arc<Interests>, Arc<Tally>)>,
    durable: u64,
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
                for (interests, tally) in &*subscribers {
                    if interests.wants(seqs.start, source) {
                        tally.receive(end - seqs.start);
                    }
                }
                seqs.start = end;
                if !seqs.is_empty() {
                    break;
                }
                waiting.pop_front();
            }
        }
        self.durable.send_replace(upto);
    }

    /// Begins to count for a pipeline; says through which record others are durable already.
    pub fn subscribe(&self, interests: &Arc<Interests>, tally: &Arc<Tally>) -> u64 {
        let mut inner = self.lock();
        inner.subscribers.push((Arc::clone(interests), Arc::clone(tally)));
        inner.durable
    }

    pub fn unsubscribe(&self, interests: &Arc<Interests>) {
        self.lock().subscribers.retain(|(other, _)| !Arc::ptr_eq(other, interests));
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
        let mut count = lost.sum::<u64>();
        let (mut sources, mut until) = self.interests.at(position);
        let mut last: Option<(&[u8], bool)> = None;
        for record in block.records.iter().filter(|record| record.seq <= upto) {
            if record.seq >= until {
                (sources, until) = self.interests.at(record.seq);
                last = None;
            }
            let Some(head) = frames::head_of(record) else {
                // Lost to everybody, as it is to who takes it.
                count += 1;
                continue;
            };
            let is_wanted = match &last {
                Some((known, is_wanted)) if *known == head => *is_wanted,
                _ => {
                    let origin = frames::parse(head).map(|(_, origin)| origin);
                    let is_wanted = origin
                        .is_none_or(|origin| sources.iter().any(|name| **name == *origin.source));
                    last = Some((head, is_wanted));
                    is_wanted
                }
            };
            count += u64::from(is_wanted);
        }
        self.tally.receive(count);
        Ok(Some(count))
    }
}
