//! The way into a pipeline: through the journal, or a queue where there is none. Key types: [`Input`],
//! [`Intake`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::queue::{self, Back, Front, Room};
use crate::frame::{Chunk, Origin};
use crate::journal::{End, Feed, Interests, Journal, Taken};
use crate::swap::Swap;
use crate::tally::Tally;

/// Where sources put chunks.
#[derive(Debug, Clone)]
pub enum Input {
    /// Into the queue of one pipeline.
    Queue(Front),
    /// Into the journal, which all pipelines read.
    Journal(Arc<Journal>),
}

/// The ways on that a source hands its frames to. They come and go while it runs: a chunk goes to
/// those that there are at that moment.
pub type Outputs = Swap<Input>;

/// Where the pipeline takes them.
pub enum Intake {
    /// From its queue.
    Queue(Back),
    /// From the journal.
    Feed(Box<Feed>),
}

/// What ends a pipeline once it has taken all that is there.
pub enum Close {
    /// Its queue: closed when nobody can put anything into it any more.
    Queue(Input),
    /// Its feed.
    Feed {
        /// Told where it ends.
        end: End,
        /// What it takes.
        interests: Arc<Interests>,
        /// The journal.
        journal: Arc<Journal>,
    },
}

impl Close {
    /// Where sources put what the pipeline takes.
    pub fn input(&self) -> Input {
        match self {
            Close::Queue(input) => input.clone(),
            Close::Feed { journal, .. } => Input::Journal(Arc::clone(journal)),
        }
    }

    /// From a record of the journal on it takes from these sources.
    pub fn take_from(&self, at: u64, sources: &[String]) {
        if let Close::Feed { interests, .. } = self {
            interests.change(at, sources);
        }
    }

    /// It takes nothing from a record of the journal on, and ends there.
    pub fn end_at(&self, at: u64) {
        if let Close::Feed { end, interests, .. } = self {
            interests.change(at, &[]);
            end.send_if_modified(|end| end.is_none().then(|| *end = Some(at)).is_some());
        }
    }
}

/// It takes what is there by now, and ends.
impl Drop for Close {
    fn drop(&mut self) {
        if let Close::Feed { journal, .. } = self {
            let journal = Arc::clone(journal);
            journal.cut(|at| self.end_at(at));
        }
    }
}

/// How full the way into a pipeline is. Looking keeps nothing open.
#[derive(Debug, Clone)]
pub enum Queue {
    /// Its queue.
    Room(Room),
    /// What is in the journal for it, and what it has taken.
    Feed(Arc<Tally>, Arc<AtomicU64>),
}

/// The pipeline is gone, or the journal closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline has stopped")]
pub struct Gone;

/// A queue as way into a pipeline that counts in `tally`.
pub fn channel(tally: Arc<Tally>) -> (Input, Intake) {
    let (front, back) = queue::channel(tally);
    (Input::Queue(front), Intake::Queue(back))
}

impl Queue {
    /// Events that wait.
    pub fn events(&self) -> u64 {
        match self {
            Queue::Room(room) => room.events(),
            Queue::Feed(tally, taken) => {
                let taken = taken.load(Ordering::Relaxed);
                tally.counts().received.saturating_sub(taken)
            }
        }
    }

    /// Bytes that wait in memory, rounded up to 1 KiB per chunk.
    pub fn bytes(&self) -> u64 {
        match self {
            Queue::Room(room) => room.bytes(),
            Queue::Feed(..) => 0,
        }
    }

    /// Most events that wait; `None` for as many as the journal has room for.
    pub fn max_events(&self) -> Option<u64> {
        matches!(self, Queue::Room(_)).then_some(Room::MAX_EVENTS)
    }

    /// Most bytes that wait in memory.
    pub fn max_bytes(&self) -> Option<u64> {
        matches!(self, Queue::Room(_)).then_some(Room::MAX_BYTES)
    }
}

impl Input {
    /// Puts a chunk in, waiting for room. It counts as received once it is in a queue, or durable.
    ///
    /// # Errors
    /// When the pipeline has stopped, or the journal is closed.
    pub async fn send(&self, chunk: Chunk) -> Result<(), Gone> {
        match self {
            Input::Queue(front) => front.send(chunk).await,
            Input::Journal(journal) => journal.put(&chunk).await.map_err(|_| Gone),
        }
    }

    /// Puts a chunk in if there is room at once, and gives it back if not.
    ///
    /// # Errors
    /// The chunk.
    pub fn try_send(&self, chunk: Chunk) -> Result<(), Chunk> {
        match self {
            Input::Queue(front) => front.try_send(chunk),
            Input::Journal(journal) => journal.try_put(&chunk).map_err(|_| chunk),
        }
    }

    /// Waits until what was put in survives a crash, as far as it ever will.
    pub async fn settled(&self) {
        if let Input::Journal(journal) = self {
            journal.settled().await;
        }
    }

    /// What it means that there is no room, in words.
    pub fn why_full(&self) -> &'static str {
        match self {
            Input::Queue(_) => "reading was held back: the queue of a pipeline is full",
            Input::Journal(_) => "reading was held back: the journal is full or cannot be written",
        }
    }

    /// Gives up frames that there is no time left to put in. Those of a queue stay in flight; those
    /// that are not in the journal were never received.
    pub fn abandon(&self, origin: &Origin, frames: u64) {
        match self {
            Input::Queue(front) => front.abandon(frames),
            Input::Journal(_) => {
                let Origin { source, stream } = origin;
                tracing::error!(
                    %source, %stream, frames,
                    "read, but not in the journal when the host had to end"
                );
            }
        }
    }
}

impl Intake {
    /// Waits until there is something; false when there will never be again.
    pub async fn wait(&mut self) -> bool {
        match self {
            Intake::Queue(back) => back.wait().await,
            Intake::Feed(feed) => feed.wait().await,
        }
    }

    /// Whether something is there already.
    pub fn has_more(&self) -> bool {
        match self {
            Intake::Queue(back) => back.has_more(),
            Intake::Feed(feed) => feed.has_more(),
        }
    }

    /// Takes what is there, up to so many events and bytes in all, but one event at least.
    pub fn take(&mut self, max_events: usize, max_bytes: usize) -> Taken {
        match self {
            Intake::Queue(back) => {
                Taken { chunks: back.take(max_events, max_bytes), ..Taken::default() }
            }
            Intake::Feed(feed) => feed.take(max_events, max_bytes),
        }
    }
}
