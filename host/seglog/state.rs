//! What the threads of a log share: records that wait, who writes, what keeps them from it. Key
//! types: [`Shared`], [`State`].

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::disk::Disk;
use super::format::MARK;
use super::maker::{Retired, Spare};
use super::segment::Table;
use super::types::{OnDurable, Options};
use super::writer::Writer;

/// What the threads of a log share. Locks are taken in this order: state, table.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) table: Arc<Table>,
    pub(super) on_durable: OnDurable,
    state: Mutex<State>,
    /// There is work for the thread that writes.
    pub(super) work: Condvar,
    /// There is work for the thread that makes segments.
    pub(super) make: Condvar,
    /// More is durable, there is room, or somebody may write.
    pub(super) done: Condvar,
}

/// Under the lock.
pub(super) struct State {
    /// Records that nobody has taken to write, behind room for a mark.
    pub(super) buffer: Vec<u8>,
    /// Bytes that somebody has taken and that are not durable yet.
    pub(super) taken: usize,
    /// The sequence number of the next record.
    pub(super) next_seq: u64,
    pub(super) durable: u64,
    /// None while a thread writes: whoever takes it does.
    pub(super) writer: Option<Box<Writer>>,
    /// Somebody waits for what is in the buffer.
    pub(super) is_urgent: bool,
    /// Threads that wait for more to be durable.
    pub(super) waiting: usize,
    /// Appends that wait for room, first come, first served.
    pub(super) queue: VecDeque<u64>,
    pub(super) next_ticket: u64,
    /// The thread that writes sleeps until it is told.
    pub(super) is_asleep: bool,
    /// Segments to be used next.
    pub(super) spares: Vec<Spare>,
    /// The number that the next one gets in its name.
    pub(super) next_spare: u64,
    /// The writer waits for a segment of at least this size.
    pub(super) wanted: Option<u64>,
    /// Files to be used again or removed.
    pub(super) retired: VecDeque<Retired>,
    /// Segments that are read from memory no longer, but by who is far behind.
    pub(super) cold: VecDeque<String>,
    /// Size of the segments in the list, and of the one that is to be, bytes.
    pub(super) live_bytes: u64,
    /// Why the last write failed.
    pub(super) write_trouble: Option<String>,
    /// Why there is no spare segment.
    pub(super) make_trouble: Option<String>,
    /// Which thread has died, in words. Stays.
    pub(super) died: Option<String>,
    /// No segment may be made: `max_bytes`.
    pub(super) is_full: bool,
    pub(super) stage: Stage,
    /// The thread that writes has ended.
    pub(super) is_written: bool,
    pub(super) threads: usize,
}

/// How far the log is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Open,
    /// Nothing more is taken; what is there is written.
    Closing,
    /// The time to close is over.
    Over,
}

impl Shared {
    pub(super) fn new(
        options: Options,
        disk: Arc<dyn Disk>,
        table: Arc<Table>,
        on_durable: OnDurable,
        writer: Writer,
        (spares, next_spare): (Vec<Spare>, u64),
    ) -> Self {
        let durable = table.durable();
        let live_bytes = table.list().iter().map(|segment| segment.header.size).sum();
        let state = State {
            buffer: vec![0; MARK],
            taken: 0,
            next_seq: durable + 1,
            durable,
            writer: Some(Box::new(writer)),
            is_urgent: false,
            waiting: 0,
            queue: VecDeque::new(),
            next_ticket: 0,
            is_asleep: false,
            spares,
            next_spare,
            wanted: None,
            retired: VecDeque::new(),
            cold: VecDeque::new(),
            live_bytes,
            write_trouble: None,
            make_trouble: None,
            died: None,
            is_full: false,
            stage: Stage::Open,
            is_written: false,
            threads: 0,
        };
        Shared {
            options,
            disk,
            table,
            on_durable,
            state: Mutex::new(state),
            work: Condvar::new(),
            make: Condvar::new(),
            done: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits to be told by `on`, or until then.
    pub(super) fn wait<'a>(
        on: &Condvar,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match until {
            None => on.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let rest = until.saturating_duration_since(Instant::now());
                on.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// A file's path, for texts.
    pub(super) fn path(&self, name: &str) -> String {
        self.disk.path().join(name).display().to_string()
    }
}

impl State {
    /// Bytes of records in the buffer.
    pub(super) fn buffered(&self) -> usize {
        self.buffer.len() - MARK
    }

    /// Bytes that are not durable yet.
    pub(super) fn pending(&self) -> usize {
        self.buffered() + self.taken
    }

    /// What keeps the log from being written.
    pub(super) fn trouble(&self) -> Option<&str> {
        let missing = self.make_trouble.as_deref().filter(|_| self.wanted.is_some());
        self.died.as_deref().or(self.write_trouble.as_deref()).or(missing)
    }

    /// The same, where it is the disk that does: not where `max_bytes` is reached.
    pub(super) fn disk_trouble(&self) -> Option<&str> {
        let missing = self.make_trouble.as_deref();
        let missing = missing.filter(|_| self.wanted.is_some() && !self.is_full);
        self.write_trouble.as_deref().or(missing)
    }

    /// A write went wrong.
    pub(super) fn fail(&mut self, shared: &Shared, text: String) {
        if self.write_trouble.as_deref() != Some(&text) {
            tracing::warn!(log = shared.options.name, "{text}; it is tried again");
        }
        self.write_trouble = Some(text);
    }

    /// A write went well.
    pub(super) fn recover(&mut self, shared: &Shared) {
        if self.write_trouble.take().is_some() {
            tracing::info!(log = shared.options.name, "writing works again");
        }
    }

    /// A segment of at least this size to go on in; if there is none, one is asked for.
    pub(super) fn take_spare(&mut self, shared: &Shared, least: u64) -> Option<Spare> {
        let index = self.spares.iter().position(|spare| spare.size >= least);
        self.wanted = index.is_none().then_some(least);
        shared.make.notify_one();
        let spare = index.map(|index| self.spares.swap_remove(index))?;
        self.live_bytes += spare.size;
        Some(spare)
    }

    /// Files under these names are of no more use.
    pub(super) fn discard<const N: usize>(&mut self, shared: &Shared, names: [String; N]) {
        let retired = names.map(|name| Retired { name, keep_size: None });
        self.retired.extend(retired);
        shared.make.notify_one();
    }
}
