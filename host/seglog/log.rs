//! The log as those see it who append to it. Key type: [`Log`].

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::disk::{Dir, Disk};
use super::format::{encode_record, record_len};
use super::maker::{self, Retired};
use super::open::open;
use super::reader::Reader;
use super::state::{Shared, Stage, State};
use super::turn::{self, LOOK, wait_durable};
use super::types::{
    AppendError, Entry, Found, NotClosed, OnDurable, OpenError, Options, SegmentInfo,
};

/// How long dropping a log that was not closed may take.
const DROP_LIMIT: Duration = Duration::from_secs(2);

/// A log that is open for appending, from any number of threads. Closes when dropped.
pub struct Log {
    shared: Arc<Shared>,
    found: Found,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log in `dir`, which exists and which nobody else writes to; begins one if there
    /// is none. `certified` is a sequence number through which everything is known to have been
    /// durable (0 if nothing is known): what is bad at or below it is damage, not a torn tail, and
    /// no number at or below it is given again.
    ///
    /// # Errors
    /// The disk cannot be read, or has no room for the first segment; a newer version has written
    /// the log.
    pub fn open(
        dir: &Path,
        options: Options,
        certified: u64,
        on_durable: OnDurable,
    ) -> Result<Log, OpenError> {
        Self::open_on(Arc::new(Dir::new(dir)), options, certified, on_durable)
    }

    /// The same on any disk.
    ///
    /// # Errors
    /// As for [`Log::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: Options,
        certified: u64,
        on_durable: OnDurable,
    ) -> Result<Log, OpenError> {
        let path = disk.path().to_owned();
        let (shared, found) = open(disk, options, certified, on_durable)?;
        let log = Log { shared: Arc::new(shared), found, threads: Mutex::default() };
        let cannot = |error| OpenError::Io { what: "cannot start a thread for", path, error };
        log.start().map_err(cannot)?;
        Ok(log)
    }

    fn start(&self) -> io::Result<()> {
        let name = self.shared.options.name;
        let writes = spawn(name.to_owned(), &self.shared, |shared| {
            turn::run(shared);
            shared.lock().is_written = true;
            shared.make.notify_one();
        })?;
        let makes = spawn(format!("{name}-ahead"), &self.shared, |shared| {
            crate::thread::lower_priority();
            maker::run(shared);
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).extend([writes, makes]);
        Ok(())
    }

    /// What opening found.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Appends all of these, one after the other with nothing in between, and gives their sequence
    /// numbers. Blocks while there is no room, first come, first served; looks at `give_up` every
    /// 100 ms meanwhile. What is larger than all the room there is waits until all of it is free.
    ///
    /// # Errors
    /// Nothing of it was appended: see [`AppendError`].
    pub fn append(
        &self,
        entries: &[Entry<'_>],
        give_up: &dyn Fn() -> bool,
    ) -> Result<Range<u64>, AppendError> {
        let (seqs, must_tell) = self.put(entries, Some(give_up))?;
        if must_tell {
            self.shared.work.notify_one();
        }
        Ok(seqs)
    }

    /// The same, if there is room at once.
    ///
    /// # Errors
    /// Nothing of it was appended: [`AppendError::Stopped`] where there is no room.
    pub fn try_append(&self, entries: &[Entry<'_>]) -> Result<Range<u64>, AppendError> {
        let (seqs, must_tell) = self.put(entries, None)?;
        if must_tell {
            self.shared.work.notify_one();
        }
        Ok(seqs)
    }

    /// The same, and returns when they are durable. Does not wait for `max_wait`; where nobody is
    /// writing, this thread does.
    ///
    /// # Errors
    /// As for [`Log::append`]; or they were appended, and are not durable yet.
    pub fn append_durable(
        &self,
        entries: &[Entry<'_>],
        give_up: &dyn Fn() -> bool,
    ) -> Result<Range<u64>, AppendError> {
        let (seqs, _) = self.put(entries, Some(give_up))?;
        if seqs.is_empty() || wait_durable(&self.shared, seqs.end - 1, give_up) {
            return Ok(seqs);
        }
        Err(AppendError::NotDurable { seqs })
    }

    /// Whether a record with a payload of so many bytes has room at once. Where it has not, what is in
    /// the way is written at once. One that is closed has room: appending says what it is.
    pub fn has_room(&self, bytes: usize) -> bool {
        let mut state = self.shared.lock();
        let has_room = state.has_room(record_len(bytes), &self.shared.options);
        if state.stage != Stage::Open || (has_room && state.queue.is_empty()) {
            return true;
        }
        state.is_urgent = true;
        self.shared.work.notify_one();
        false
    }

    /// Waits until all that has been appended by now is durable, and says through which record.
    ///
    /// # Errors
    /// The caller gave up, or the log was closed before.
    pub fn flush(&self, give_up: &dyn Fn() -> bool) -> Result<u64, AppendError> {
        let (durable, next_seq) = {
            let state = self.shared.lock();
            (state.durable, state.next_seq)
        };
        if wait_durable(&self.shared, next_seq - 1, give_up) {
            return Ok(next_seq - 1);
        }
        Err(AppendError::NotDurable { seqs: durable + 1..next_seq })
    }

    /// Through which record everything is durable; 0 when there never was one.
    pub fn durable(&self) -> u64 {
        self.shared.table.durable()
    }

    /// The sequence number that the next record gets.
    pub fn next_seq(&self) -> u64 {
        self.shared.lock().next_seq
    }

    /// Bytes that wait to be durable.
    pub fn buffered_bytes(&self) -> usize {
        self.shared.lock().pending()
    }

    /// Lets go of whole segments all of whose records are below this one. The segment that is
    /// written stays.
    pub fn release(&self, before_seq: u64) {
        let released = self.shared.table.release(before_seq);
        if released.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        for segment in released {
            state.live_bytes -= segment.header.size;
            let keep_size = Some(segment.header.size);
            state.retired.push_back(Retired { name: segment.name(), keep_size });
        }
        self.shared.make.notify_one();
    }

    /// The first record there is, or that will be.
    pub fn first_seq(&self) -> u64 {
        self.shared.table.list().first().map_or(1, |segment| segment.header.first_seq)
    }

    /// Oldest first. Never empty.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.table.infos()
    }

    /// Total size of the segments' files, bytes; those that are made ahead are not among them.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().live_bytes
    }

    /// What keeps the log from being written, in words, while something does.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble().map(str::to_owned)
    }

    /// Whether records wait that cannot be written for now.
    pub fn is_stuck(&self) -> bool {
        let state = self.shared.lock();
        state.pending() > 0 && state.trouble().is_some()
    }

    /// The same, where it is the disk that does: not where `max_bytes` is reached.
    pub fn disk_trouble(&self) -> Option<String> {
        self.shared.lock().disk_trouble().map(str::to_owned)
    }

    /// That a thread of it has died, in words: it does not go on then.
    pub fn died(&self) -> Option<String> {
        self.shared.lock().died.clone()
    }

    /// True while it needs another segment and may not have one, because of `max_bytes`.
    pub fn is_full(&self) -> bool {
        let state = self.shared.lock();
        state.is_full && state.wanted.is_some()
    }

    /// Reads from this record on.
    pub fn reader(&self, from_seq: u64) -> Reader {
        Reader::new(Arc::clone(&self.shared.table), None, from_seq)
    }

    /// Makes all durable, notes that the log was closed in order, and ends its threads. Nothing is
    /// appended from then on; readers stay. May be called again.
    ///
    /// # Errors
    /// What could not be made durable in this time.
    pub fn close(&self, limit: Duration) -> Result<(), NotClosed> {
        let until = Instant::now() + limit;
        let mut state = self.shared.lock();
        state.stage = state.stage.max(Stage::Closing);
        self.wake_all();
        while state.threads > 0 && Instant::now() < until {
            state = Shared::wait(&self.shared.done, state, Some(until));
        }
        let have_ended = state.threads == 0;
        state.stage = Stage::Over;
        self.wake_all();
        let seqs = state.durable + 1..state.next_seq;
        let why = state.trouble().unwrap_or("the disk takes its time").to_owned();
        drop(state);
        if have_ended {
            let threads =
                std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
            // One that has died has said so itself.
            threads.into_iter().for_each(|thread| drop(thread.join()));
        }
        if seqs.is_empty() { Ok(()) } else { Err(NotClosed { seqs, why }) }
    }

    fn wake_all(&self) {
        self.shared.work.notify_all();
        self.shared.make.notify_all();
        self.shared.done.notify_all();
    }

    /// Puts records into the buffer; waits for room only with somebody who may give up. True if the
    /// thread that writes must be told.
    fn put(
        &self,
        entries: &[Entry<'_>],
        give_up: Option<&dyn Fn() -> bool>,
    ) -> Result<(Range<u64>, bool), AppendError> {
        let mut total = 0;
        for entry in entries {
            let bytes = entry.head.len() as u64 + entry.body.len() as u64;
            if bytes > u64::from(u32::MAX) {
                return Err(AppendError::TooLarge { bytes });
            }
            total += record_len(bytes as usize);
        }
        let mut state = self.shared.lock();
        if state.stage != Stage::Open {
            return Err(AppendError::Closed);
        }
        if !state.has_room(total, &self.shared.options) || !state.queue.is_empty() {
            let Some(give_up) = give_up else {
                // What fills the buffer is written at once.
                state.is_urgent = true;
                self.shared.work.notify_one();
                return Err(AppendError::Stopped);
            };
            state = self.wait_for_room(state, total, give_up)?;
        }
        let (was, first) = (state.buffered(), state.next_seq);
        state.buffer.reserve(total);
        for (entry, seq) in entries.iter().zip(first..) {
            encode_record(entry, seq, &mut state.buffer);
        }
        state.next_seq = first + entries.len() as u64;
        let (most, now) = (self.shared.options.max_group_bytes, state.buffered());
        let must_tell = now > was && (was == 0 || (was < most && now >= most));
        Ok((first..state.next_seq, must_tell))
    }

    fn wait_for_room<'a>(
        &'a self,
        mut state: std::sync::MutexGuard<'a, State>,
        total: usize,
        give_up: &dyn Fn() -> bool,
    ) -> Result<std::sync::MutexGuard<'a, State>, AppendError> {
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push_back(ticket);
        let mut stopped = None;
        loop {
            if state.stage != Stage::Open {
                stopped = Some(AppendError::Closed);
            }
            let is_first = state.queue.front() == Some(&ticket);
            if stopped.is_some() || (is_first && state.has_room(total, &self.shared.options)) {
                state.queue.retain(|waiting| *waiting != ticket);
                // The next in the queue may have room, too.
                self.shared.done.notify_all();
                return stopped.map_or(Ok(state), Err);
            }
            // What fills the buffer is written at once.
            state.is_urgent = true;
            self.shared.work.notify_one();
            let until = Instant::now() + LOOK;
            state = Shared::wait(&self.shared.done, state, Some(until));
            if Instant::now() >= until {
                // Never asked under the lock: it is the caller's code.
                drop(state);
                stopped = give_up().then_some(AppendError::Stopped);
                state = self.shared.lock();
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(error) = self.close(DROP_LIMIT) {
            tracing::error!(log = self.shared.options.name, "{error}");
        }
    }
}

impl State {
    fn has_room(&self, bytes: usize, options: &Options) -> bool {
        let pending = self.pending();
        pending == 0 || pending + bytes <= options.max_buffered_bytes
    }
}

/// Counts a thread while it runs, and says when one dies.
struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.threads -= 1;
        if std::thread::panicking() {
            let thread = std::thread::current();
            let (name, path) = (thread.name().unwrap_or_default(), self.0.disk.path().display());
            let text = format!("the thread {name:?} of {path} has died of a fault of the host's");
            tracing::error!(log = self.0.options.name, "{text}");
            state.died = Some(text);
        }
        self.0.done.notify_all();
    }
}

fn spawn(name: String, shared: &Arc<Shared>, run: fn(&Shared)) -> io::Result<JoinHandle<()>> {
    shared.lock().threads += 1;
    let running = Running(Arc::clone(shared));
    std::thread::Builder::new().name(name).spawn(move || run(&running.0))
}
