//! The way into a pipeline where there is no journal: a queue, bounded by events and by bytes, so that
//! a slow pipeline holds its source back instead of filling memory. Key types: [`Front`], [`Back`].

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::input::Gone;
use crate::frame::Chunk;
use crate::tally::Tally;

/// Most events that wait.
const MAX_EVENTS: u32 = 16 << 10;
/// Most bytes that wait, in units of 1 KiB.
const MAX_KIB: u32 = 32 << 10;
/// Most chunks that wait.
const MAX_CHUNKS: usize = 4 << 10;

/// Where sources put chunks.
#[derive(Debug, Clone)]
pub struct Front {
    chunks: mpsc::Sender<Waiting>,
    events: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    tally: Arc<Tally>,
}

/// Where the pipeline takes them.
#[derive(Debug)]
pub struct Back {
    chunks: mpsc::Receiver<Waiting>,
    /// What did not fit into the batch before.
    left: VecDeque<Chunk>,
}

#[derive(Debug)]
struct Waiting {
    chunk: Chunk,
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// How full the way into a pipeline is. Looking keeps nothing open.
#[derive(Debug, Clone)]
pub struct Room {
    events: Arc<Semaphore>,
    kib: Arc<Semaphore>,
}

impl Room {
    /// Most events that wait.
    pub const MAX_EVENTS: u64 = MAX_EVENTS as u64;
    /// Most bytes that wait.
    pub const MAX_BYTES: u64 = (MAX_KIB as u64) << 10;

    /// Events that wait.
    pub fn events(&self) -> u64 {
        Self::MAX_EVENTS.saturating_sub(self.events.available_permits() as u64)
    }

    /// Bytes that wait, rounded up to 1 KiB per chunk.
    pub fn bytes(&self) -> u64 {
        Self::MAX_BYTES.saturating_sub((self.kib.available_permits() as u64) << 10)
    }
}

/// A way into a pipeline that counts in `tally`.
pub fn channel(tally: Arc<Tally>) -> (Front, Back) {
    let (sender, receiver) = mpsc::channel(MAX_CHUNKS);
    let front = Front {
        chunks: sender,
        events: Arc::new(Semaphore::new(MAX_EVENTS as usize)),
        kib: Arc::new(Semaphore::new(MAX_KIB as usize)),
        tally,
    };
    (front, Back { chunks: receiver, left: VecDeque::new() })
}

impl Front {
    /// Shows how full it is.
    pub fn room(&self) -> Room {
        Room { events: Arc::clone(&self.events), kib: Arc::clone(&self.kib) }
    }

    /// Puts a chunk in, waiting for room. It counts as received once it is in.
    ///
    /// # Errors
    /// When the pipeline has stopped.
    pub async fn send(&self, chunk: Chunk) -> Result<(), Gone> {
        // What is larger than all the room there is goes in alone.
        let events = u32::try_from(chunk.frames.len()).unwrap_or(u32::MAX).clamp(1, MAX_EVENTS);
        let kib = u32::try_from(chunk.bytes() >> 10).unwrap_or(u32::MAX).clamp(1, MAX_KIB);
        let events = Arc::clone(&self.events).acquire_many_owned(events).await.map_err(|_| Gone)?;
        let kib = Arc::clone(&self.kib).acquire_many_owned(kib).await.map_err(|_| Gone)?;
        let place = self.chunks.reserve().await.map_err(|_| Gone)?;
        self.tally.receive(chunk.frames.len() as u64);
        place.send(Waiting { chunk, _room: (events, kib) });
        Ok(())
    }

    /// Puts a chunk in if there is room at once, and gives it back if not.
    ///
    /// # Errors
    /// The chunk.
    pub fn try_send(&self, chunk: Chunk) -> Result<(), Chunk> {
        let events = u32::try_from(chunk.frames.len()).unwrap_or(u32::MAX).clamp(1, MAX_EVENTS);
        let kib = u32::try_from(chunk.bytes() >> 10).unwrap_or(u32::MAX).clamp(1, MAX_KIB);
        let room = (
            Arc::clone(&self.events).try_acquire_many_owned(events),
            Arc::clone(&self.kib).try_acquire_many_owned(kib),
        );
        let ((Ok(events), Ok(kib)), Ok(place)) = (room, self.chunks.try_reserve()) else {
            return Err(chunk);
        };
        self.tally.receive(chunk.frames.len() as u64);
        place.send(Waiting { chunk, _room: (events, kib) });
        Ok(())
    }

    /// Counts so many frames as received that there is no time left to put in: they stay in flight.
    pub fn abandon(&self, frames: u64) {
        self.tally.receive(frames);
    }
}

impl Back {
    /// Waits until there is a chunk; false when there will never be one again.
    pub async fn wait(&mut self) -> bool {
        if !self.left.is_empty() {
            return true;
        }
        match self.chunks.recv().await {
            Some(waiting) => {
                self.left.push_back(waiting.chunk);
                true
            }
            None => false,
        }
    }

    /// Whether a chunk is there already.
    pub fn has_more(&self) -> bool {
        !self.left.is_empty() || !self.chunks.is_empty()
    }

    /// Takes chunks that are there, up to so many events and bytes in all, but one event at least.
    pub fn take(&mut self, max_events: usize, max_bytes: usize) -> Vec<Chunk> {
        let (mut events, mut bytes) = (0, 0);
        let mut taken = Vec::new();
        while events < max_events && bytes < max_bytes {
            let next =
                self.left.pop_front().or_else(|| self.chunks.try_recv().ok().map(|w| w.chunk));
            let Some(mut chunk) = next else { break };
            let mut fits = 0;
            for frame in &chunk.frames {
                let is_first = events == 0;
                if !is_first && (events >= max_events || bytes + frame.bytes.len() > max_bytes) {
                    break;
                }
                events += 1;
                bytes += frame.bytes.len();
                fits += 1;
            }
            let rest = chunk.frames.split_off(fits);
            let is_cut = !rest.is_empty();
            if is_cut {
                self.left.push_front(Chunk {
                    frames: rest,
                    origin: Arc::clone(&chunk.origin),
                    ..chunk
                });
            }
            if !chunk.frames.is_empty() {
                taken.push(chunk);
            }
            if is_cut {
                break;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Origin};

    fn chunk(sizes: &[usize]) -> Chunk {
        let origin = Arc::new(Origin { source: "s".into(), stream: "t".into() });
        Chunk::new(origin, sizes.iter().map(|n| Frame::binary(vec![0; *n])).collect())
    }

    #[tokio::test]
    async fn batches_are_capped_and_nothing_is_lost() {
        let tally = Arc::new(Tally::default());
        let (input, mut intake) = channel(Arc::clone(&tally));
        input.send(chunk(&[10; 5])).await.unwrap();
        input.send(chunk(&[10; 5])).await.unwrap();
        input.send(chunk(&[500])).await.unwrap();
        let sizes = |chunks: Vec<Chunk>| -> Vec<usize> {
            chunks.iter().map(|chunk| chunk.frames.len()).collect()
        };
        assert_eq!(sizes(intake.take(7, 1_000)), [5, 2]);
        assert_eq!(sizes(intake.take(100, 20)), [2]);
        assert_eq!(sizes(intake.take(100, 15)), [1]);
        assert_eq!(sizes(intake.take(100, 100)), [1], "one event is always taken");
        assert_eq!(sizes(intake.take(100, 100)), Vec::<usize>::new());
        assert_eq!(tally.counts().received, 11);
    }

    #[tokio::test]
    async fn a_full_input_waits_for_room() {
        let (input, mut intake) = channel(Arc::default());
        input.send(chunk(&vec![1; MAX_EVENTS as usize])).await.unwrap();
        assert!(input.try_send(chunk(&[1])).is_err());
        let queue = input.room();
        assert_eq!((queue.events(), queue.bytes()), (Room::MAX_EVENTS, 16 << 10));
        let waiting = tokio::spawn({
            let input = input.clone();
            async move { input.send(chunk(&[1])).await }
        });
        assert!(intake.wait().await);
        assert!(queue.events() <= 1);
        waiting.await.unwrap().unwrap();
        drop(intake);
        assert_eq!(input.send(chunk(&[1])).await, Err(Gone));
    }
}
