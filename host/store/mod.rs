//! What must survive beside the journal: how far each pipeline came, what its plugins remember, dead
//! letters, alerts, gaps, and what of the files it wrote is there to stay. A log of records, each of
//! them written whole or not at all. Boundary: one directory. Key types: [`Store`], [`Record`].

mod carry;
mod handle;
mod image;
mod letters;
mod notes;
mod open;
mod ranges;
mod read_only;
mod records;
mod select;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

pub use carry::CARRY_AFTER;
pub use handle::Handle;
pub use image::{FileImage, Saved};
pub use letters::{Letters, Stored};
pub use ranges::Ranges;
pub use read_only::{ReadStore, verify_store};
pub use records::{
    Base, Carried, Commit, FileId, Gap, Letter, LetterId, News, Raised, Record, Stage, Written,
};
pub use select::Select;

use self::image::Image;
use self::notes::notes;
pub use crate::seglog::{AppendError, NotClosed, OpenError};
use crate::seglog::{Entry, Log, Options, Reader};
use crate::timestamp::now_micros;

/// Version of the records.
const TAG: u32 = 1;
/// After how much what is not a pipeline's is written whole again.
const CHECKPOINT_EVERY: u64 = 4 << 20;
/// A pipeline writes all it has again after this much, or twice what it has, whichever is more, ...
const WHOLE_EVERY: u64 = 1 << 20;
/// ... and after this long for each MiB that it has, so that it holds back little of the journal.
const WHOLE_TIME: Duration = Duration::from_secs(10);
/// The same while the journal has little room left.
const HURRIED_TIME: Duration = Duration::from_millis(200);
/// How long who finds no room waits before it looks again.
const ROOM: Duration = Duration::from_millis(10);
/// Records are read in pieces of about this size.
const READ: usize = 4 << 20;
/// So many dead letters are noted as done with at once.
const SETTLED_AT_ONCE: usize = 10_000;

/// How a store is kept. Its segments are small: what is in them is soon written whole again.
fn options() -> Options {
    Options {
        name: "store",
        first_segment_bytes: 1 << 20,
        segment_bytes: 4 << 20,
        max_buffered_bytes: 32 << 20,
        max_wait: Duration::ZERO,
        ..Options::default()
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The store of a host. Shared by reference.
pub struct Store {
    log: Log,
    inner: Arc<Mutex<Inner>>,
    /// Files that sinks of this process have open, or that have something to be committed.
    opened: Mutex<BTreeMap<PathBuf, Weak<Handle>>>,
    /// Whether pipelines are to hold back as little of the journal as they can.
    is_hurried: AtomicBool,
}

struct Inner {
    image: Image,
    since_checkpoint: u64,
    /// How much room the last one needed, or would have needed.
    checkpoint_size: usize,
    pipelines: BTreeMap<String, SinceWhole>,
    /// Whether something was redriven since the last checkpoint.
    has_redriven: bool,
    next_gap: u64,
}

/// What a pipeline has written since it wrote all it has.
#[derive(Debug, Clone, Copy)]
struct SinceWhole {
    bytes: u64,
    whole: u64,
    time: Instant,
}

impl SinceWhole {
    fn is_over(&self, time: Duration) -> bool {
        let mib = u32::try_from(self.whole >> 20).unwrap_or(u32::MAX);
        self.bytes > WHOLE_EVERY.max(2 * self.whole)
            || self.time.elapsed() > time.saturating_mul(mib.saturating_add(1))
    }
}

/// What a store held when it was opened.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Pipelines, by name.
    pub pipelines: BTreeMap<String, Saved>,
    /// What could not be read, and what was made of it, in words.
    pub notes: Vec<String>,
    /// Whether something was there and cannot be read.
    pub is_damaged: bool,
}

impl Store {
    /// Opens the store in a directory, which exists and nobody else writes to.
    ///
    /// # Errors
    /// When it is not to be had, or of a version that is not known. Damage is none: see
    /// [`Loaded::notes`].
    pub fn open(dir: &Path) -> Result<(Store, Loaded), OpenError> {
        let log = Log::open(dir, options(), 0, Box::new(|_| {}))?;
        let (mut image, lost) = replay(log.reader(log.first_seq()), dir)?;
        let mut loaded = Loaded { notes: notes(&log, &image, &lost), ..Loaded::default() };
        loaded.is_damaged = !loaded.notes.is_empty();
        loaded.pipelines.clone_from(&image.pipelines);
        image.forget_unread();
        for saved in image.pipelines.values_mut() {
            saved.states.clear();
            saved.alerts.clear();
        }
        let next_gap = image.gaps.iter().map(|gap| gap.number + 1).max().unwrap_or(1);
        let inner = Inner {
            image,
            since_checkpoint: CHECKPOINT_EVERY,
            checkpoint_size: 0,
            pipelines: BTreeMap::new(),
            has_redriven: true,
            next_gap,
        };
        let (inner, opened) = (Arc::new(Mutex::new(inner)), Mutex::default());
        Ok((Store { log, inner, opened, is_hurried: AtomicBool::new(false) }, loaded))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Writes a record, and returns when it is durable: its number.
    ///
    /// # Errors
    /// When whoever asked gave up first, or the store is closed.
    pub fn write(
        &self,
        mut record: Record,
        give_up: &dyn Fn() -> bool,
    ) -> Result<u64, AppendError> {
        // Nobody waits while the image is locked: others only want to look at it. A large record is made
        // once in vain, and then when there is room for so much.
        let mut size = 0;
        let number = loop {
            if self.log.has_room(size) {
                match self.try_write(&mut record, &mut size) {
                    Err(AppendError::Stopped) => {}
                    written => break written?,
                }
            }
            if give_up() {
                return Err(AppendError::Stopped);
            }
            std::thread::sleep(ROOM);
        };
        let floor = self.lock().image.floor();
        // All that the floor was worked out from is durable then.
        self.log.flush(give_up)?;
        self.log.release(floor);
        Ok(number)
    }

    /// Writes a record, and takes it, if there is room. Says how much room it needs.
    fn try_write(&self, record: &mut Record, size: &mut usize) -> Result<u64, AppendError> {
        let mut inner = self.lock();
        // What is applied must stand in the log in the same order.
        let number = self.append(&mut inner, record, size)?;
        if inner.since_checkpoint >= CHECKPOINT_EVERY && self.log.has_room(inner.checkpoint_size) {
            // Without room there will be one later.
            let _ = self.checkpoint(&mut inner);
        }
        Ok(number)
    }

    fn checkpoint(&self, inner: &mut Inner) -> Result<(), AppendError> {
        let mut checkpoint = Record::Checkpoint(inner.image.to_checkpoint());
        let mut size = 0;
        let written = self.append(inner, &mut checkpoint, &mut size);
        inner.checkpoint_size = size;
        written?;
        (inner.since_checkpoint, inner.has_redriven) = (0, false);
        Ok(())
    }

    fn append(
        &self,
        inner: &mut Inner,
        record: &mut Record,
        size: &mut usize,
    ) -> Result<u64, AppendError> {
        let bytes = encode(&inner.image, record);
        *size = bytes.len();
        let entry = Entry { time_micros: now_micros(), tag: TAG, head: &bytes, body: &[] };
        let number = self.log.try_append(&[entry])?.start;
        let record = std::mem::replace(record, Record::Settled(Vec::new()));
        let size = bytes.len() as u64;
        inner.since_checkpoint += size;
        let record = inner.note(record, size);
        inner.image.apply(number, record);
        Ok(number)
    }

    /// Whether a pipeline is to write all it has, and not only what changed.
    pub fn wants_whole(&self, pipeline: &str) -> bool {
        let is_hurried = self.is_hurried.load(Ordering::Relaxed);
        let time = if is_hurried { HURRIED_TIME } else { WHOLE_TIME };
        self.lock().pipelines.get(pipeline).is_none_or(|since| since.is_over(time))
    }

    /// Whether the journal has little room left: then pipelines write all they have often, for the
    /// journal is held from their last but one such commit on.
    pub fn set_hurried(&self, is_hurried: bool) {
        self.is_hurried.store(is_hurried, Ordering::Relaxed);
    }

    /// A file that this process has written to and may still have to commit.
    pub fn opened(&self, path: &Path) -> Option<Arc<Handle>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(path)?.upgrade()
    }

    /// Notes a file that is open now.
    pub fn open_file(&self, handle: &Arc<Handle>) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|_, handle| handle.strong_count() > 0);
        opened.insert(handle.id.path.clone(), Arc::downgrade(handle));
    }

    /// A generation above all that a path has had.
    pub fn next_generation(&self, path: &Path) -> u64 {
        let last = self.lock().image.files.get(path).map_or(0, |image| image.id.2);
        now_micros().max(last + 1)
    }

    /// What of a file is there to stay, and its generation, if it is the one that is known under its
    /// path.
    pub fn kept(&self, path: &Path, (dev, ino): (u64, u64)) -> Option<(u64, Ranges)> {
        let inner = self.lock();
        let image = inner.image.files.get(path)?;
        ((image.id.0, image.id.1) == (dev, ino)).then(|| (image.id.2, image.kept.clone()))
    }

    /// The number of the last commit of a pipeline.
    pub fn number(&self, pipeline: &str) -> u64 {
        self.lock().image.pipelines.get(pipeline).map_or(0, |saved| saved.number)
    }

    /// The number of the last alert of a pipeline that was told.
    pub fn told(&self, pipeline: &str) -> u64 {
        self.lock().image.told.get(pipeline).copied().unwrap_or(0)
    }

    /// The first record of the journal that a pipeline may go back to; `None` when there is no
    /// pipeline.
    pub fn journal_floor(&self) -> Option<u64> {
        self.lock().image.journal_floor()
    }

    /// The pipelines it knows, and how far they came.
    pub fn cursors(&self) -> BTreeMap<String, u64> {
        let inner = self.lock();
        inner.image.pipelines.iter().map(|(name, saved)| (name.clone(), saved.cursor)).collect()
    }

    /// The number for another gap.
    pub fn next_gap(&self) -> u64 {
        let mut inner = self.lock();
        inner.next_gap += 1;
        inner.next_gap - 1
    }

    /// Gaps, the oldest first.
    pub fn gaps(&self) -> Vec<Gap> {
        self.lock().image.gaps.clone()
    }

    /// Dead letters that nobody is done with, the oldest first.
    pub fn letters(&self) -> Letters {
        let inner = self.lock();
        let todo = inner.image.letters.records().map(|(record, lying)| (record, lying.at));
        self.letters_of(todo, inner.image.settled.clone())
    }

    /// These, and where they lie.
    fn letters_of(
        &self,
        todo: impl Iterator<Item = (u64, u64)>,
        settled: BTreeSet<LetterId>,
    ) -> Letters {
        let inner = Arc::clone(&self.inner);
        let now = move || {
            let inner = lock(&inner);
            Ok((inner.image.letters.clone(), inner.image.settled.clone()))
        };
        Letters::new(self.log.reader(1), todo, settled, Box::new(now))
    }

    /// Whether nobody is done with a dead letter yet.
    pub fn is_open(&self, id: LetterId) -> bool {
        let inner = self.lock();
        inner.image.letters.get(id.record).is_some() && !inner.image.settled.contains(&id)
    }

    /// Notes that these dead letters are done with, and returns when that is durable.
    ///
    /// # Errors
    /// As for [`Store::write`]; those of earlier pieces are noted all the same.
    pub fn settle(&self, ids: &[LetterId], give_up: &dyn Fn() -> bool) -> Result<(), AppendError> {
        for piece in ids.chunks(SETTLED_AT_ONCE) {
            self.write(Record::Settled(piece.to_vec()), give_up)?;
        }
        Ok(())
    }

    /// How many dead letters nobody is done with.
    pub fn letter_count(&self) -> u64 {
        self.lock().image.letters.count()
    }

    /// What keeps it from being written, in words, while something does.
    pub fn trouble(&self) -> Option<String> {
        self.log.trouble()
    }

    /// Which thread of it has died, in words: it does not go on then.
    pub fn died(&self) -> Option<String> {
        self.log.died()
    }

    /// Its size on disk, bytes.
    pub fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Makes all durable and ends its threads.
    ///
    /// # Errors
    /// When the disk does not let it within the time.
    pub fn close(&self, limit: Duration) -> Result<(), NotClosed> {
        self.log.close(limit)
    }
}

/// What the records of a store come to, and which of them could not be read.
fn replay(mut reader: Reader, dir: &Path) -> Result<(Image, Vec<Range<u64>>), OpenError> {
    let mut image = Image::default();
    let mut lost = Vec::new();
    loop {
        let block = reader.read(usize::MAX, READ);
        let block = block.map_err(|error| OpenError::Io {
            what: "cannot read",
            path: dir.to_owned(),
            error,
        })?;
        if block.is_empty() {
            return Ok((image, lost));
        }
        lost.extend(block.lost);
        for record in block.records {
            match postcard::from_bytes(&record.payload) {
                Ok(read) if record.tag == TAG => image.apply(record.seq, read),
                // Good on disk and yet not to be read: it is of another version.
                _ => lost.push(record.seq..record.seq + 1),
            }
        }
    }
}

impl Inner {
    /// Notes how much a pipeline wrote; gives back what is applied.
    fn note(&mut self, mut record: Record, size: u64) -> Record {
        if let Record::Released { pipeline } = &record {
            self.pipelines.remove(pipeline);
        }
        let Record::Commit(commit) = &mut record else { return record };
        self.has_redriven |= !commit.settled.is_empty();
        if commit.is_whole {
            let since = SinceWhole { bytes: 0, whole: size, time: Instant::now() };
            self.pipelines.insert(commit.pipeline.clone(), since);
        } else if let Some(since) = self.pipelines.get_mut(&commit.pipeline) {
            since.bytes += size;
        }
        // The pipeline itself has these.
        commit.states.clear();
        commit.alerts.clear();
        record
    }
}

/// A record as bytes; a whole commit with all that is known of files, and with the alerts that are not
/// told yet, before what it says itself.
fn encode(image: &Image, record: &mut Record) -> Vec<u8> {
    let own = match record {
        Record::Commit(commit) if commit.is_whole => {
            let own = (commit.files.clone(), commit.news.clone());
            commit.files.splice(..0, image.all_files());
            let untold = image.pipelines.get(&commit.pipeline).map(|saved| saved.news.clone());
            commit.news.splice(..0, untold.unwrap_or_default());
            Some(own)
        }
        _ => None,
    };
    // Nothing in it can fail: all lengths are known. Were it not so, it would be seen when it is read.
    let bytes = postcard::to_allocvec(record).unwrap_or_else(|error| {
        tracing::error!(%error, "a record of the store cannot be written");
        Vec::new()
    });
    if let (Some(own), Record::Commit(commit)) = (own, record) {
        (commit.files, commit.news) = own;
    }
    bytes
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
