//! Where the connections of one stream meet its clock: they arrive here and are taken over by the
//! clock's thread, and what they could not send comes back here. Key type: [`Hub`].

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::batch::{Batch, Delivery, EXTRA, Pending};
use super::faults::Ending;
use super::tokens::{Grant, Revocation, Tokens};

/// Which of a stream's payloads a connection wants; `None` for all.
pub(super) type Filter = Option<Arc<[bool]>>;

/// Connections with the same `Subscriber-Id` that want the same types share what there is: each
/// event goes to one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    /// The id.
    pub id: Arc<str>,
    /// What they want.
    pub filter: Filter,
}

/// A connection as its stream's clock sees it.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// Its queue.
    pub queue: mpsc::Sender<Delivery>,
    /// Which payloads it wants.
    pub filter: Filter,
    /// Whom it shares with.
    pub share: Option<Share>,
    /// Generation of the token it was opened with.
    pub generation: u64,
    /// How many frames it may still get before it ends, and how it does.
    pub left: Option<(u64, Ending)>,
}

/// What came since the clock last asked.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Connections.
    pub arrivals: Vec<Subscriber>,
    /// What connections that share could not send, each list in order.
    pub returned: Vec<(Share, Vec<Delivery>)>,
}

/// The meeting place of one stream.
#[derive(Debug, Default)]
pub(super) struct Hub {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    news: News,
    stopping: bool,
}

/// The token died, or the simulator stops, between the handshake and the arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLate;

impl Hub {
    /// Adds a connection. That its token still lives is looked at again here, under the lock under
    /// which the clock revokes: so either the clock knows of the connection, or this says no.
    pub fn arrive(
        &self,
        subscriber: Subscriber,
        grant: &Grant,
        told: &watch::Receiver<Revocation>,
    ) -> Result<(), TooLate> {
        let mut state = self.state();
        if state.stopping || grant.generation < told.borrow().living {
            return Err(TooLate);
        }
        state.news.arrivals.push(subscriber);
        self.changed.notify_all();
        Ok(())
    }

    /// Gives back what a connection could not send, for another that shares with it.
    pub fn give_back(&self, share: Share, deliveries: Vec<Delivery>) {
        let mut state = self.state();
        if !state.stopping && !deliveries.is_empty() {
            state.news.returned.push((share, deliveries));
            self.changed.notify_all();
        }
    }

    /// Takes the news; waits for some, up to a time where one is given. `None` when the simulator
    /// stops.
    pub fn gather(&self, wait: Wait) -> Option<News> {
        let mut state = self.state();
        loop {
            if state.stopping {
                return None;
            }
            let is_news = !state.news.arrivals.is_empty() || !state.news.returned.is_empty();
            if is_news {
                return Some(std::mem::take(&mut state.news));
            }
            state = match wait {
                Wait::No => return Some(News::default()),
                Wait::ForNews => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Wait::Until(time) => {
                    let left = time.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Some(News::default());
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Makes all tokens invalid and takes over who arrived before that.
    pub fn revoke(&self, tokens: &Tokens, by: usize) -> (News, Revocation) {
        let mut state = self.state();
        let revocation = tokens.revoke_all(by);
        (std::mem::take(&mut state.news), revocation)
    }

    /// Stops the clock, and lets nobody in any more.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        state.news = News::default();
        self.changed.notify_all();
    }

    /// Nothing here leaves the list half changed, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`Hub::gather`] waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    /// Nothing.
    No,
    /// Someone to arrive, or something to come back.
    ForNews,
    /// A time.
    Until(Instant),
}

/// What became of a delivery.
#[derive(Debug)]
pub(super) enum Handed {
    /// It is in the queue, and more may follow.
    Over,
    /// It is in the queue as the last one.
    Last,
    /// The connection is gone.
    Back(Delivery),
}

impl Subscriber {
    /// Hands it a batch, waiting while its queue is full.
    pub fn deliver(&mut self, batch: &Arc<Batch>, pending: Option<&Pending>) -> Handed {
        let mut then = None;
        if let Some((left, ending)) = &mut self.left {
            let frames = batch.marks.iter().filter(|mark| passes(&self.filter, mark.kind)).count();
            *left = left.saturating_sub(frames as u64);
            then = (*left == 0).then_some(*ending);
        }
        self.hand(Delivery {
            batch: Arc::clone(batch),
            frames: None,
            then,
            asks: false,
            _pending: pending.cloned(),
        })
    }

    /// Hands it something that does not count towards its end.
    pub fn hand(&self, delivery: Delivery) -> Handed {
        let is_last = delivery.then.is_some();
        match self.queue.blocking_send(delivery) {
            Ok(()) if is_last => Handed::Last,
            Ok(()) => Handed::Over,
            Err(error) => Handed::Back(error.0),
        }
    }
}

/// Whether a filter lets a kind through.
pub(super) fn passes(filter: &Filter, kind: u8) -> bool {
    let Some(filter) = filter else { return true };
    kind == EXTRA || filter.get(usize::from(kind)).copied().unwrap_or(false)
}
