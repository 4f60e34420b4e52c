//! Where the connections of one stream meet its clock: they arrive here and are taken over by the
//! clock's thread. Key type: [`Hub`].

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::batch::{Batch, Delivery, EXTRA, Pending};
use super::tokens::{Grant, Revocation, Tokens};
use std::sync::Arc;

/// A connection as its stream's clock sees it.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// Its queue.
    pub queue: mpsc::Sender<Delivery>,
    /// Which payloads it wants; `None` for all.
    pub filter: Option<Arc<[bool]>>,
    /// Generation of the token it was opened with.
    pub generation: u64,
    /// How many frames it may still get before it is closed.
    pub left: Option<u64>,
}

/// The meeting place of one stream.
#[derive(Debug, Default)]
pub(super) struct Hub {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    arrivals: Vec<Subscriber>,
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
        told: &tokio::sync::watch::Receiver<Revocation>,
    ) -> Result<(), TooLate> {
        let mut state = self.state();
        if state.stopping || grant.generation < told.borrow().living {
            return Err(TooLate);
        }
        state.arrivals.push(subscriber);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes over who arrived; waits for someone, up to a time where one is given. False when the
    /// simulator stops.
    pub fn gather(&self, all: &mut Vec<Subscriber>, wait: Wait) -> bool {
        let mut state = self.state();
        loop {
            if state.stopping {
                return false;
            }
            let arrived = !state.arrivals.is_empty();
            all.append(&mut state.arrivals);
            state = match wait {
                Wait::No => return true,
                Wait::ForArrival if arrived => return true,
                Wait::ForArrival => {
                    self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
                Wait::Until(time) => {
                    let left = time.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return true;
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Makes all tokens invalid and takes over who arrived before that.
    pub fn revoke(&self, all: &mut Vec<Subscriber>, tokens: &Tokens, by: usize) -> Revocation {
        let mut state = self.state();
        all.append(&mut state.arrivals);
        tokens.revoke_all(by)
    }

    /// Stops the clock, and lets nobody in any more.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        state.arrivals.clear();
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
    /// Someone to arrive.
    ForArrival,
    /// A time.
    Until(Instant),
}

impl Subscriber {
    /// Hands it a batch, waiting while its queue is full; false when it is gone, or has had its
    /// frames.
    pub fn deliver(&mut self, batch: &Arc<Batch>, pending: Option<&Pending>) -> bool {
        let mut then_close = None;
        if let Some(left) = &mut self.left {
            let frames = batch.marks.iter().filter(|mark| passes(&self.filter, mark.kind)).count();
            *left = left.saturating_sub(frames as u64);
            then_close = (*left == 0).then_some("the simulator drops connections");
        }
        let last = then_close.is_some();
        let delivery =
            Delivery { batch: Arc::clone(batch), then_close, _pending: pending.cloned() };
        self.queue.blocking_send(delivery).is_ok() && !last
    }

    /// Has it closed after what it has been handed so far.
    pub fn close(&self, nothing: &Arc<Batch>, reason: &'static str) {
        let batch = Arc::clone(nothing);
        let delivery = Delivery { batch, then_close: Some(reason), _pending: None };
        // A queue that nobody reads belongs to a connection that is closed already.
        let _ = self.queue.blocking_send(delivery);
    }
}

/// Whether a filter lets a kind through.
pub(super) fn passes(filter: &Option<Arc<[bool]>>, kind: u8) -> bool {
    let Some(filter) = filter else { return true };
    kind == EXTRA || filter.get(usize::from(kind)).copied().unwrap_or(false)
}
