//! How a pipeline is asked to take dead letters again, and how far it came. Key types: [`Redriver`],
//! [`Progress`], [`Redriven`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::batch::Ends;
use crate::store::{LetterId, Letters, Store, Stored};

/// Most requests that wait in one pipeline.
const MAX_ORDERS: usize = 8;

/// What became of the dead letters that a pipeline was to take again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redriven {
    /// The pipeline.
    pub pipeline: String,
    /// How many it was asked to take.
    pub asked: u64,
    /// Everybody took what became of them.
    pub delivered: u64,
    /// A plugin ended their way.
    pub filtered: u64,
    /// They are dead letters once more, under another id.
    pub dead_lettered: u64,
    /// They are done with by somebody else.
    pub gone: u64,
    /// They are dead letters as before, and why.
    pub stay: Vec<Stay>,
    /// Whether it is done with all.
    pub is_over: bool,
}

/// Dead letters that stay what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// Why.
    pub why: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: LetterId,
}

impl Redriven {
    /// Notes a dead letter that stays.
    pub fn stays(&mut self, id: LetterId, why: &str) {
        match self.stay.iter_mut().find(|stay| stay.why == why) {
            Some(stay) => stay.count += 1,
            None => self.stay.push(Stay { why: why.to_owned(), count: 1, first: id }),
        }
    }

    /// How many stay.
    pub fn staying(&self) -> u64 {
        self.stay.iter().map(|stay| stay.count).sum()
    }

    /// How many there is an answer for.
    pub fn done(&self) -> u64 {
        self.delivered + self.filtered + self.dead_lettered + self.gone + self.staying()
    }

    pub(super) fn ended(&mut self, ends: Ends) {
        self.delivered += ends.delivered;
        self.filtered += ends.filtered;
        self.dead_lettered += ends.dead_lettered;
    }
}

/// How far a pipeline came with a request; shared with whoever asked.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<Redriven>>);

impl Progress {
    /// At its beginning.
    pub fn new(pipeline: &str, asked: u64) -> Self {
        let pipeline = pipeline.to_owned();
        Progress(Arc::new(Mutex::new(Redriven { pipeline, asked, ..Redriven::default() })))
    }

    /// What it came to by now.
    pub fn now(&self) -> Redriven {
        self.lock().clone()
    }

    /// Notes that these stay, all for one reason, and that it is over with that.
    pub fn refuse(&self, ids: impl IntoIterator<Item = LetterId>, why: &str) {
        let mut redriven = self.lock();
        ids.into_iter().for_each(|id| redriven.stays(id, why));
        redriven.is_over = true;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Redriven> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request to take dead letters again.
pub(super) struct Order {
    pub ids: BTreeSet<LetterId>,
    pub progress: Progress,
}

/// Whoever gives up on a request says so: its pipeline ends.
impl Drop for Order {
    fn drop(&mut self) {
        let mut redriven = self.progress.lock();
        if !redriven.is_over {
            for id in &self.ids {
                redriven.stays(*id, "the pipeline has ended");
            }
            redriven.is_over = true;
        }
    }
}

/// The way to ask a pipeline.
#[derive(Clone)]
pub struct Redriver {
    /// The pipeline.
    pub pipeline: String,
    orders: mpsc::Sender<Order>,
}

impl Redriver {
    /// A way to ask, and the other end of it.
    pub(super) fn new(pipeline: &str) -> (Redriver, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(MAX_ORDERS);
        (Redriver { pipeline: pipeline.to_owned(), orders }, receiver)
    }

    /// Asks the pipeline to take these of its dead letters again, the oldest first. It does so between
    /// batches.
    pub fn ask(&self, ids: BTreeSet<LetterId>) -> Progress {
        let progress = Progress::new(&self.pipeline, ids.len() as u64);
        let order = Order { ids, progress: progress.clone() };
        if let Err(mpsc::error::TrySendError::Full(order)) = self.orders.try_send(order) {
            let why = "the pipeline has too many requests already; ask again later";
            progress.refuse(order.ids.iter().copied(), why);
        }
        progress
    }
}

/// The request that a pipeline is at.
pub(super) struct Current {
    order: Order,
    letters: Letters,
    /// One that was read, and had no room any more.
    next: Option<Stored>,
    store: Arc<Store>,
}

impl Current {
    pub fn new(order: Order, store: &Arc<Store>) -> Self {
        let letters = store.letters().among(&order.ids);
        Current { order, letters, next: None, store: Arc::clone(store) }
    }

    pub fn progress(&self) -> &Progress {
        &self.order.progress
    }

    /// The next dead letters, up to so many and so many bytes, but one at least; none at the end.
    pub fn take(&mut self, most: usize, most_bytes: usize) -> std::io::Result<VecDeque<Stored>> {
        let (mut taken, mut bytes) = (VecDeque::new(), 0);
        while taken.len() < most {
            let next = match self.next.take() {
                Some(next) => Some(next),
                None => self.letters.next().transpose()?,
            };
            let Some(stored) = next else { break };
            if !self.order.ids.contains(&stored.id) || !self.store.is_open(stored.id) {
                continue;
            }
            let event = stored.letter.event.as_ref().map_or(0, String::len);
            bytes += event + stored.letter.raw.as_ref().map_or(0, Vec::len);
            if bytes > most_bytes && !taken.is_empty() {
                self.next = Some(stored);
                break;
            }
            self.order.ids.remove(&stored.id);
            taken.push_back(stored);
        }
        Ok(taken)
    }

    /// All of it stays, or what is left of it.
    pub fn refuse(mut self, why: &str) {
        let ids = std::mem::take(&mut self.order.ids);
        self.order.progress.refuse(ids, why);
    }

    /// It is done with: what was not there is done with by somebody else.
    pub fn end(mut self) -> Redriven {
        let gone = std::mem::take(&mut self.order.ids).len() as u64;
        let mut redriven = self.order.progress.lock();
        redriven.gone += gone;
        redriven.is_over = true;
        redriven.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(places: std::ops::Range<u32>) -> BTreeSet<LetterId> {
        places.map(|place| LetterId { record: 1, place }).collect()
    }

    #[test]
    fn a_request_that_nobody_can_take_says_so() {
        let (redriver, receiver) = Redriver::new("main");
        let asked: Vec<_> = (0..=MAX_ORDERS).map(|_| redriver.ask(ids(0..3))).collect();
        let full = asked[MAX_ORDERS].now();
        assert!(full.is_over && full.stay[0].why.contains("too many requests"), "{full:?}");
        assert!(asked[..MAX_ORDERS].iter().all(|progress| !progress.now().is_over));
        drop(receiver);
        for progress in &asked[..MAX_ORDERS] {
            let ended = progress.now();
            assert_eq!((ended.is_over, ended.staying(), ended.done()), (true, 3, 3));
            assert_eq!(ended.stay[0].why, "the pipeline has ended");
        }
        assert_eq!(redriver.ask(ids(0..1)).now().stay[0].why, "the pipeline has ended");
    }
}
