//! Gaps on their way into the store, by a thread of its own: whoever notices one never waits, and what
//! cannot be written for the moment is tried again. Key type: [`Ledger`].

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{BEGIN, Gap, Reason};
use crate::store::{Ranges, Record, Store};
use crate::timestamp::now_micros;

/// So many gaps that are over wait to be written; then one is told together with the one before it.
const MAX_WAITING: usize = 1_000;
/// How long after a failure it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// From when on a gap is told of though it is not over.
const LONG: Duration = Duration::from_secs(60);

/// What is told of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has lasted a minute, and the stream is still away.
    Long,
    /// It is over.
    Over,
}

/// Told of gaps, on the ledger's thread, which writes none meanwhile. Must not wait for long.
type Tell = Box<dyn Fn(&Gap, Phase) + Send + Sync>;

/// The gaps of a host. Shared by reference.
pub struct Ledger {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    /// `None` where nothing is stored: then they are told and counted alone.
    store: Option<Arc<Store>>,
    tell: Tell,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    drafts: Vec<Draft>,
    next_id: u64,
    /// Streams that were connected at some time.
    known: Vec<(String, String)>,
    /// Records of the journal that are known to be lost.
    lost: Ranges,
    counts: BTreeMap<(String, String, &'static str), u64>,
    /// When writing ends, done or not.
    closing: Option<Instant>,
}

/// A gap that lasts, or that is not written as it is.
struct Draft {
    id: u64,
    gap: Gap,
    is_dirty: bool,
    /// When this process knew of it.
    noticed: Instant,
    /// Whether the stream is connected by now; it has brought nothing yet.
    is_up: bool,
    is_long_told: bool,
}

impl Draft {
    fn is_of(&self, source: &str, stream: &str) -> bool {
        self.gap.source == source && self.gap.stream == stream
    }

    fn long_at(&self) -> Option<Instant> {
        let may_be = self.gap.to.is_none() && !self.is_up && !self.is_long_told;
        may_be.then(|| self.noticed + LONG)
    }
}

impl Ledger {
    /// Begins with what the store holds.
    ///
    /// # Errors
    /// When no thread is to be had.
    pub fn start(store: Option<Arc<Store>>, tell: Tell) -> io::Result<Arc<Ledger>> {
        let mut inner = Inner::default();
        for gap in store.iter().flat_map(|store| store.gaps()) {
            inner.remember(gap);
        }
        let shared =
            Arc::new(Shared { store, tell, inner: Mutex::new(inner), changed: Condvar::new() });
        let writes = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("gaps".to_owned());
        let thread = thread.spawn(move || writes.run())?;
        Ok(Arc::new(Ledger { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// Notes a gap, and counts it; gives back its handle.
    pub(super) fn begin(&self, reason: Reason, gap: Gap) -> u64 {
        let mut inner = self.shared.lock();
        let key = (gap.source.clone(), gap.stream.clone(), reason.name());
        *inner.counts.entry(key).or_default() += 1;
        let id = inner.add(Gap { reason: reason.name().to_owned(), ..gap });
        self.shared.changed.notify_all();
        id
    }

    /// Changes a gap that lasts.
    pub(super) fn change(&self, id: u64, change: impl FnOnce(&mut Gap)) {
        let mut inner = self.shared.lock();
        if let Some(draft) = inner.drafts.iter_mut().find(|draft| draft.id == id) {
            let before = draft.gap.clone();
            change(&mut draft.gap);
            draft.is_dirty |= draft.gap != before;
        }
        self.shared.changed.notify_all();
    }

    /// Notes whether a stream with a gap is connected by now.
    pub(super) fn set_up(&self, id: u64, is_up: bool) {
        let mut inner = self.shared.lock();
        if let Some(draft) = inner.drafts.iter_mut().find(|draft| draft.id == id) {
            draft.is_up = is_up;
        }
        self.shared.changed.notify_all();
    }

    /// The gap of a stream that lasts, from an earlier process or time; it goes on from now.
    pub(super) fn adopt(&self, source: &str, stream: &str) -> Option<(u64, Gap)> {
        let mut inner = self.shared.lock();
        let lasts = |draft: &&mut Draft| draft.gap.to.is_none() && draft.is_of(source, stream);
        let draft = inner.drafts.iter_mut().find(lasts)?;
        (draft.noticed, draft.is_long_told) = (Instant::now(), false);
        self.shared.changed.notify_all();
        Some((draft.id, draft.gap.clone()))
    }

    /// Whether a stream was ever connected.
    pub(super) fn knows(&self, source: &str, stream: &str) -> bool {
        self.shared.lock().knows(source, stream)
    }

    /// Notes that a stream is connected for the first time ever, if it is.
    pub(super) fn know(&self, source: &str, stream: &str) {
        let mut inner = self.shared.lock();
        if inner.knows(source, stream) {
            return;
        }
        inner.known.push((source.to_owned(), stream.to_owned()));
        let now = now_micros();
        inner.add(Gap {
            source: source.to_owned(),
            stream: stream.to_owned(),
            from: now,
            to: Some(now),
            reason: BEGIN.to_owned(),
            ..Gap::default()
        });
        self.shared.changed.notify_all();
    }

    /// Notes that records of the journal are lost: those of which that is not known, a gap for each
    /// stretch of them. `gap` is asked what there is to say of a stretch; it is a part of a longer one,
    /// given second, of which nothing can be read.
    pub fn lost(
        &self,
        reason: Reason,
        records: Range<u64>,
        gap: impl Fn(&Range<u64>, &Range<u64>) -> Gap,
    ) {
        // Known from here on, though what is around them is yet to be read.
        let (stretches, whole) = self.shared.lock().know_lost(&records);
        for (start, end) in stretches {
            let gap = gap(&(start..end), &whole);
            self.begin(reason, Gap { records: Some((start, end - 1)), ..gap });
        }
    }

    /// How many gaps there were since the start, by source, stream and reason.
    pub fn counts(&self) -> BTreeMap<(String, String, &'static str), u64> {
        self.shared.lock().counts.clone()
    }

    /// Whether a gap of a stream lasts.
    pub fn is_open(&self, source: &str, stream: &str) -> bool {
        let inner = self.shared.lock();
        inner.drafts.iter().any(|draft| draft.gap.to.is_none() && draft.is_of(source, stream))
    }

    /// Whether the thread that writes has ended by itself.
    pub fn has_died(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Writes what is to be written, for so long at the most, and ends the thread.
    pub fn close(&self, limit: Duration) {
        self.shared.lock().closing.get_or_insert(Instant::now() + limit);
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes gaps had died of a fault of the host's");
        }
        let left = self.shared.lock().drafts.iter().filter(|draft| draft.is_dirty).count();
        if left > 0 && self.shared.store.is_some() {
            tracing::error!(left, "gaps could not be written");
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

impl Inner {
    fn knows(&self, source: &str, stream: &str) -> bool {
        self.known.iter().any(|known| known.0 == source && known.1 == stream)
    }

    /// Takes in that records are lost. Gives back what of them was not known to be so, and all around
    /// them that is.
    fn know_lost(&mut self, records: &Range<u64>) -> (Vec<(u64, u64)>, Range<u64>) {
        let new = self.lost.missing(records.start, records.end);
        self.lost.insert(records.start, records.end);
        let has_all = |(from, to): &&(u64, u64)| *from <= records.start && records.end <= *to;
        let whole = self.lost.parts().iter().find(has_all);
        (new, whole.map_or_else(|| records.clone(), |(from, to)| *from..*to))
    }

    /// Takes in a gap of the store.
    fn remember(&mut self, gap: Gap) {
        if !self.knows(&gap.source, &gap.stream) {
            self.known.push((gap.source.clone(), gap.stream.clone()));
        }
        if let Some((first, last)) = gap.records {
            self.lost.insert(first, last + 1);
        }
        if gap.to.is_none() {
            let id = self.add(gap);
            if let Some(draft) = self.drafts.iter_mut().find(|draft| draft.id == id) {
                // Until somebody adopts it nobody wants to hear of it.
                (draft.is_dirty, draft.is_long_told) = (false, true);
            }
        }
    }

    fn add(&mut self, gap: Gap) -> u64 {
        if self.drafts.len() >= MAX_WAITING {
            // Nothing can be written: it becomes one with the one before it.
            let is_alike = |draft: &&mut Draft| {
                draft.is_dirty && draft.gap.to.is_some() && draft.is_of(&gap.source, &gap.stream)
            };
            if let Some(draft) = self.drafts.iter_mut().rev().find(is_alike) {
                draft.gap.extend(gap);
                return draft.id;
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        self.drafts.push(Draft {
            id,
            gap,
            is_dirty: true,
            noticed: Instant::now(),
            is_up: false,
            is_long_told: false,
        });
        id
    }
}

impl Gap {
    /// Goes on as another one after it.
    fn extend(&mut self, next: Gap) {
        (self.to, self.first_id, self.replayed) = (next.to, next.first_id, next.replayed);
        self.records = match (self.records, next.records) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
        if !self.detail.ends_with(SEVERAL) {
            self.detail.push_str(SEVERAL);
        }
    }
}

const SEVERAL: &str = "; several, told as one";

/// What the thread is to do.
enum Task {
    Write(u64, Gap),
    TellLong(Gap),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing here leaves the list half changed, so a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut is_failing = false;
        while let Some(task) = self.next() {
            let (id, gap) = match task {
                Task::TellLong(gap) => {
                    (self.tell)(&gap, Phase::Long);
                    continue;
                }
                Task::Write(id, gap) => (id, gap),
            };
            match self.write(id, gap) {
                Ok(gap) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("gaps are written again");
                    }
                    if gap.to.is_some() && gap.reason != BEGIN {
                        (self.tell)(&gap, Phase::Over);
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "a gap cannot be written; it is tried again");
                    }
                    if !self.rest() {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for something to do; `None` when there is nothing left and it is to end.
    fn next(&self) -> Option<Task> {
        let mut inner = self.lock();
        loop {
            if let Some(draft) = inner.drafts.iter().find(|draft| draft.is_dirty) {
                return Some(Task::Write(draft.id, draft.gap.clone()));
            }
            if inner.closing.is_some() {
                return None;
            }
            let now = Instant::now();
            let due = |draft: &&mut Draft| draft.long_at().is_some_and(|at| at <= now);
            if let Some(draft) = inner.drafts.iter_mut().find(due) {
                draft.is_long_told = true;
                return Some(Task::TellLong(draft.gap.clone()));
            }
            let next = inner.drafts.iter().filter_map(Draft::long_at).min();
            inner = match next {
                Some(at) => {
                    let waited =
                        self.changed.wait_timeout(inner, at.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Writes a gap under its number; gives it back as it is written.
    fn write(&self, id: u64, mut gap: Gap) -> Result<Gap, crate::store::AppendError> {
        if let Some(store) = &self.store {
            if gap.number == 0 {
                // Once: if it has to be written again, it replaces what may have been written.
                gap.number = store.next_gap();
                if let Some(draft) = self.lock().drafts.iter_mut().find(|draft| draft.id == id) {
                    draft.gap.number = gap.number;
                }
            }
            store.write(Record::Gap(gap.clone()), &|| {
                self.lock().closing.is_some_and(|limit| Instant::now() >= limit)
            })?;
        }
        let mut inner = self.lock();
        if let Some(at) = inner.drafts.iter().position(|draft| draft.id == id) {
            let draft = &mut inner.drafts[at];
            if draft.gap == gap {
                draft.is_dirty = false;
                if gap.to.is_some() {
                    inner.drafts.remove(at);
                }
            }
        }
        Ok(gap)
    }

    /// Waits until it is tried again; false when there is no time left.
    fn rest(&self) -> bool {
        let until = Instant::now() + TRY_AGAIN;
        let mut inner = self.lock();
        loop {
            let now = Instant::now();
            if inner.closing.is_some_and(|limit| now >= limit) {
                return false;
            }
            let until = inner.closing.map_or(until, |limit| until.min(limit));
            if now >= until {
                return true;
            }
            let waited = self.changed.wait_timeout(inner, until - now);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests;
