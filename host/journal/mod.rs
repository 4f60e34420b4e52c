//! Where frames are made durable before any pipeline sees them: an event counts as received once it is
//! on disk. Each pipeline reads it at its own pace, so none holds up another. Boundary: a
//! [`seglog`](crate::seglog). Key types: [`Journal`], [`Feed`].

mod archive;
mod count;
mod feed;
mod frames;
mod retention;
mod tail;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use archive::{Archive, Frames, KeptFrame, Piece, verify_journal};
pub use count::Interests;
pub use feed::{End, Feed, Taken};
pub use frames::{Read, read};
pub use retention::{Kept, Retention};
pub use tail::Journalled;

use self::count::{Backlog, Counting};
use crate::config::JournalConfig;
use crate::frame::Chunk;
pub use crate::seglog::{AppendError, Damage, Found, NotClosed, OpenError, Report, SegmentInfo};
use crate::seglog::{Entry, Log, Options};
use crate::tally::Tally;

/// How long a source that finds no room waits before it looks again though nothing became durable: it may be
/// closed.
const ROOM: Duration = Duration::from_millis(50);

/// The journal of a host. Shared by reference.
pub struct Journal {
    log: Log,
    counting: Arc<Counting>,
    lost: Arc<tail::Lost>,
}

/// Why a chunk did not get into the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no room at the moment.
    #[error("there is no room in the journal")]
    NoRoom,
    /// It is closed.
    #[error("the journal is closed")]
    Closed,
}

impl Journal {
    /// Opens the journal in a directory, which exists and nobody else writes to. All through the record
    /// `certified` is known to have been durable.
    ///
    /// # Errors
    /// When it is not to be had, or of a version that is not known. Damage is none: see
    /// [`Journal::found`].
    pub fn open(dir: &Path, config: &JournalConfig, certified: u64) -> Result<Self, OpenError> {
        Journal::open_as(dir, config, certified, false)
    }

    fn open_as(
        dir: &Path,
        config: &JournalConfig,
        certified: u64,
        is_guest: bool,
    ) -> Result<Self, OpenError> {
        let options = Options {
            name: "journal",
            max_bytes: config.max_size,
            max_group_bytes: config.group_size,
            max_wait: config.group_wait,
            is_guest,
            ..Options::default()
        };
        let counting = Arc::new(Counting::default());
        let told = Arc::clone(&counting);
        let log = Log::open(dir, options, certified, Box::new(move |upto| told.durable(upto)))?;
        counting.durable(log.durable());
        Ok(Journal { log, counting, lost: Arc::default() })
    }

    /// What opening found.
    pub fn found(&self) -> &Found {
        self.log.found()
    }

    /// Puts a chunk in, if there is room at once. It counts as received once it is durable.
    ///
    /// # Errors
    /// Why not; nothing of it is in then.
    pub fn try_put(&self, chunk: &Chunk) -> Result<(), Refused> {
        let heads = frames::heads(chunk);
        self.try_append(chunk, &frames::entries(chunk, &heads))
    }

    fn try_append(&self, chunk: &Chunk, entries: &[Entry<'_>]) -> Result<(), Refused> {
        // What is read now would wait in memory, where a crash takes it.
        if self.log.is_stuck() {
            return Err(Refused::NoRoom);
        }
        self.counting.append(&chunk.origin.source, || {
            self.log.try_append(entries).map_err(|error| match error {
                AppendError::Stopped | AppendError::NotDurable { .. } => Refused::NoRoom,
                AppendError::Closed | AppendError::TooLarge { .. } => Refused::Closed,
            })
        })
    }

    /// Puts a chunk in, waiting for room.
    ///
    /// # Errors
    /// When the journal is closed.
    pub async fn put(&self, chunk: &Chunk) -> Result<(), Refused> {
        let heads = frames::heads(chunk);
        let entries = frames::entries(chunk, &heads);
        let mut durable = self.watch();
        loop {
            durable.mark_unchanged();
            match self.try_append(chunk, &entries) {
                // What becomes durable makes room.
                Err(Refused::NoRoom) => drop(tokio::time::timeout(ROOM, durable.changed()).await),
                done => return done,
            }
        }
    }

    /// A pipeline's way out of it, from a record on, for frames of these sources. What comes is counted
    /// as received when it is durable; what is there already by [`Feed::count`], before any is taken.
    pub fn feed(&self, from: u64, sources: &[String], tally: &Arc<Tally>) -> Feed {
        // What is missing before the first record there is, is lost to it.
        let from = from.min(self.log.next_seq());
        let interests = Arc::new(Interests::new(sources));
        let upto = self.counting.subscribe(&interests, tally);
        let reader = || self.log.reader(from);
        let (interests, tally) = (Arc::clone(&interests), Arc::clone(tally));
        let counted = count::Counted::default();
        let backlog = Backlog { reader: reader(), upto, interests, tally, counted };
        Feed::new(reader(), Arc::clone(&self.counting), backlog, Arc::clone(&self.lost))
    }

    /// Calls this with the number that the next record gets, while none is appended: what is said of
    /// records from there on is said before there is one.
    pub fn cut(&self, say: impl FnOnce(u64)) {
        self.counting.hold(|| say(self.log.next_seq()));
    }

    /// Waits until all that is in it by now is durable.
    pub async fn settled(&self) {
        let last = self.next_seq() - 1;
        let mut durable = self.watch();
        // Its other end is here.
        let _ = durable.wait_for(|durable| *durable >= last).await;
    }

    /// The number that the next record gets.
    pub fn next_seq(&self) -> u64 {
        self.log.next_seq()
    }

    /// The oldest record there is.
    pub fn first_seq(&self) -> u64 {
        self.log.first_seq()
    }

    /// Told each time more is durable: through which record everything is.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.counting.watch()
    }

    /// What keeps it from being written, in words, while something does.
    pub fn trouble(&self) -> Option<String> {
        self.log.trouble()
    }

    /// The same, where it is the disk that does: that it has all the room it may have is told by
    /// [`Journal::is_full`].
    pub fn disk_trouble(&self) -> Option<String> {
        self.log.disk_trouble()
    }

    /// Which thread of it has died, in words: it does not go on then.
    pub fn died(&self) -> Option<String> {
        self.log.died()
    }

    /// Whether it may not grow any more, and has to.
    pub fn is_full(&self) -> bool {
        self.log.is_full()
    }

    /// Its segments, the oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.log.segments()
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

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("next_seq", &self.next_seq()).finish_non_exhaustive()
    }
}
