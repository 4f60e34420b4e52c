//! Has segments ready before they are needed: files of zeros, or files that were released. Runs on
//! a thread of low priority. Key types: [`Spare`], [`Retired`].

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::disk::{Disk, DiskFile, write_all};
use super::format::{BLOCK, Header};
use super::segment::Segment;
use super::state::{Shared, Stage, State};
use super::writer::Current;

/// What is written at a time while a file is filled, bytes; and after how much of it that is made
/// durable, so that those who write meanwhile never wait for long.
const PIECE: usize = 1 << 20;
const SYNC_EVERY: u64 = 8 << 20;
/// What to do about a disk on which no segment can be made.
const HINT: &str =
    "make room on the disk, or see whether it is well; what is there already is safe";
/// How many released files are kept to be used again. Where as much is released as is written, one
/// is at hand whenever one is taken, and none need be filled.
pub(super) const MOST_SPARES: usize = 2;

/// A file to be used as a segment.
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) size: u64,
    file: Arc<dyn DiskFile>,
}

/// A file that was a segment.
pub(super) struct Retired {
    pub(super) name: String,
    /// Its size, if it may be used again.
    pub(super) keep_size: Option<u64>,
}

/// What the thread is to do next.
enum Task {
    Retire(Retired),
    Make(u64),
    Cool(String),
}

impl Spare {
    /// Makes a file of zeros.
    ///
    /// # Errors
    /// The disk is full, or what else it says. What was made is removed again.
    pub(super) fn make(
        disk: &dyn Disk,
        name: String,
        size: u64,
        go_on: impl Fn() -> bool,
    ) -> io::Result<Spare> {
        // Past the page cache: zeros that nobody reads would drive out of it what is read, and cost most
        // of what they cost.
        let filled = disk.create_direct(&name).and_then(|file| fill(&*file, size, &go_on));
        let filled = match filled {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                disk.create(&name).and_then(|file| fill(&*file, size, &go_on))
            }
            filled => filled,
        };
        match filled.and_then(|()| disk.sync_dir()).and_then(|()| disk.open(&name, true)) {
            Ok(file) => Ok(Spare { name, size, file }),
            Err(error) => {
                // Already in trouble; what stays is found at the next start.
                let _ = disk.remove(&name);
                Err(error)
            }
        }
    }

    /// Takes a file that an earlier run left.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn reuse(disk: &dyn Disk, name: String) -> io::Result<Spare> {
        let file = disk.open(&name, true)?;
        let size = file.size()?;
        Ok(Spare { name, size, file })
    }

    /// Makes it the segment with this header. It has its name only when the header is durable.
    ///
    /// # Errors
    /// The disk failed; which name the file has is not known.
    pub(super) fn begin(self, disk: &Arc<dyn Disk>, header: Header) -> io::Result<Current> {
        let block = header.encode();
        write_all(&*self.file, &block, 0)?;
        write_all(&*self.file, &block, header.size - BLOCK)?;
        self.file.sync()?;
        let segment = Segment::new(disk, header, &self.file, header.size);
        segment.set_end(BLOCK);
        disk.rename(&self.name, &segment.name())?;
        disk.sync_dir()?;
        Ok(Current { segment: Arc::new(segment), file: self.file, at: BLOCK })
    }
}

fn fill(file: &dyn DiskFile, size: u64, go_on: &impl Fn() -> bool) -> io::Result<()> {
    let buffer = vec![0u8; PIECE + BLOCK as usize];
    // Aligned as a file that is written past the page cache wants it.
    let begin = buffer.as_ptr().align_offset(BLOCK as usize).min(BLOCK as usize);
    let zeros = &buffer[begin..begin + PIECE.min(size as usize)];
    let mut at = 0;
    while at < size {
        if !go_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let piece = (size - at).min(zeros.len() as u64);
        write_all(file, &zeros[..piece as usize], at)?;
        at += piece;
        if at % SYNC_EVERY == 0 {
            file.sync()?;
        }
    }
    file.sync()
}

/// The number in the name of a spare.
pub(super) fn spare_number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".spare")?.parse().ok()
}

/// Name of the file of the spare with this number.
pub(super) fn spare_name(number: u64) -> String {
    format!("{number:020}.spare")
}

/// Makes spares until the log is closed.
pub(super) fn run(shared: &Shared) {
    let mut wait = shared.options.retry_least;
    while let Some(task) = next_task(shared) {
        let result = match task {
            Task::Retire(retired) => {
                retire(shared, retired);
                continue;
            }
            Task::Cool(name) => {
                cool(shared, &name);
                continue;
            }
            Task::Make(size) => make(shared, size),
        };
        match result {
            Ok(()) => {
                if wait > shared.options.retry_least {
                    tracing::info!(log = shared.options.name, "segments can be made again");
                }
                wait = shared.options.retry_least;
            }
            Err(_) => {
                rest(shared, Instant::now() + wait);
                wait = (wait * 2).min(shared.options.retry_most);
            }
        }
    }
}

/// Waits after a failure; less long if something has been released.
fn rest(shared: &Shared, until: Instant) {
    let mut state = shared.lock();
    while state.stage != Stage::Over && state.retired.is_empty() && Instant::now() < until {
        state = Shared::wait(&shared.make, state, Some(until));
    }
}

fn next_task(shared: &Shared) -> Option<Task> {
    let mut state = shared.lock();
    loop {
        // Until all is written: that may take another segment.
        if state.stage == Stage::Over || state.is_written {
            return None;
        }
        if let Some(retired) = state.retired.pop_front() {
            return Some(Task::Retire(retired));
        }
        if state.wanted.is_none()
            && let Some(name) = state.cold.pop_front()
        {
            return Some(Task::Cool(name));
        }
        let was_full = state.is_full;
        state.is_full = false;
        if let Some(size) = wanted_size(shared, &state) {
            if is_allowed(shared, &state, size) {
                if was_full {
                    // That it may not have one is what kept it.
                    state.make_trouble = None;
                }
                return Some(Task::Make(size));
            }
            // A spare that is too small is in the way of one that is large enough.
            if state.wanted.is_some()
                && let Some(spare) = state.spares.pop()
            {
                return Some(Task::Retire(Retired { name: spare.name, keep_size: None }));
            }
            state.is_full = true;
            let limit = shared.options.max_bytes;
            state.make_trouble = Some(format!(
                "{} has reached its limit of {limit} bytes; it goes on when the oldest records are \
                 no longer needed",
                shared.disk.path().display()
            ));
            if !was_full && state.wanted.is_some() {
                tracing::warn!(log = shared.options.name, limit, "the log is full");
            }
        }
        state = Shared::wait(&shared.make, state, None);
    }
}

/// The size of the segment that should be made now, if one should.
fn wanted_size(shared: &Shared, state: &State) -> Option<u64> {
    match state.wanted {
        Some(least) if state.spares.iter().any(|spare| spare.size >= least) => None,
        Some(least) => Some(least.max(shared.options.segment_bytes)),
        None => {
            let has_time = state.stage == Stage::Open && state.spares.is_empty();
            has_time.then_some(shared.options.segment_bytes)
        }
    }
}

/// Whether there may be one more. Where nothing can be released there always may.
fn is_allowed(shared: &Shared, state: &State, size: u64) -> bool {
    let max = shared.options.max_bytes;
    let spares: u64 = state.spares.iter().map(|spare| spare.size).sum();
    // A spare that is taken lives before it is in the list.
    let is_one = |list: &[Arc<Segment>]| {
        let listed: u64 = list.iter().map(|segment| segment.header.size).sum();
        list.len() < 2 && listed == state.live_bytes
    };
    max == 0
        || state.live_bytes + spares + size <= max
        || (state.spares.is_empty() && is_one(&shared.table.list()))
}

fn make(shared: &Shared, size: u64) -> io::Result<()> {
    let name = shared.lock().spare_name();
    let go_on = || {
        let state = shared.lock();
        state.stage == Stage::Open || (state.stage == Stage::Closing && state.wanted.is_some())
    };
    let result = Spare::make(&*shared.disk, name.clone(), size, go_on);
    let mut state = shared.lock();
    match result {
        Ok(spare) => {
            state.add_spare(shared, spare);
            Ok(())
        }
        // The log is being closed.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
        Err(error) => {
            // Without its name, which is another one each time: what is the same is told once.
            let dir = shared.disk.path().display();
            let text = format!("cannot make a segment of {size} bytes in {dir}: {error}");
            if state.make_trouble.as_deref() != Some(&text) {
                tracing::warn!(
                    log = shared.options.name,
                    "{text}; it is tried again\nhint: {HINT}"
                );
            }
            state.make_trouble = Some(text);
            Err(error)
        }
    }
}

/// Memory that the system fills with what is not read soon is memory that it has to find for what is
/// written next.
fn cool(shared: &Shared, name: &str) {
    match shared.disk.cool(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(name, %error, "stays in memory");
        }
        _ => {}
    }
}

/// Makes a file that was a segment a spare, or removes it.
fn retire(shared: &Shared, retired: Retired) {
    let Retired { name, keep_size } = retired;
    let is_wanted =
        keep_size == Some(shared.options.segment_bytes) && shared.lock().spares.len() < MOST_SPARES;
    let result = if is_wanted {
        let spare = shared.lock().spare_name();
        // The new name is durable before anything is written to the file.
        let renamed = shared.disk.rename(&name, &spare).and_then(|()| shared.disk.sync_dir());
        renamed.and_then(|()| Spare::reuse(&*shared.disk, spare)).map(|spare| {
            shared.lock().add_spare(shared, spare);
        })
    } else {
        shared.disk.remove(&name).and_then(|()| shared.disk.sync_dir())
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            // It is found again at the next start, as old as it is.
            let path = shared.path(&name);
            tracing::warn!(log = shared.options.name, "cannot remove {path}: {error}");
        }
        _ => {}
    }
}

impl State {
    /// A name that no spare has or had.
    fn spare_name(&mut self) -> String {
        self.next_spare += 1;
        spare_name(self.next_spare - 1)
    }

    fn add_spare(&mut self, shared: &Shared, spare: Spare) {
        if self.wanted.is_some_and(|least| spare.size >= least) {
            self.wanted = None;
        }
        self.spares.push(spare);
        self.make_trouble = None;
        shared.work.notify_all();
        shared.done.notify_all();
    }
}
