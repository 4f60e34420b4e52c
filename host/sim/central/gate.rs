//! Who may open a stream, as far as faults decide: statuses in turn, and one socket at a time. Key
//! types: [`Gate`], [`Turns`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::faults::{EndAfter, Faults, Turn};

/// Things that happen one after the other, each so many times.
#[derive(Debug)]
pub(super) struct Turns<T>(Mutex<VecDeque<Turn<T>>>);

impl<T: Copy> Turns<T> {
    /// All of them are still to come.
    pub fn new(turns: &[Turn<T>]) -> Self {
        Turns(Mutex::new(turns.iter().copied().collect()))
    }

    /// What happens this time, if anything.
    pub fn next(&self) -> Option<T> {
        // Nothing here leaves the list half changed, so a panic elsewhere does not spoil it.
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.front_mut()?;
        let what = turn.what;
        if let Some(times) = turn.times {
            match std::num::NonZeroU64::new(times.get() - 1) {
                Some(left) => turn.times = Some(left),
                None => drop(turns.pop_front()),
            }
        }
        Some(what)
    }
}

/// The way into one stream.
#[derive(Debug)]
pub(super) struct Gate {
    statuses: Turns<u16>,
    second_socket: Option<u16>,
    endings: Vec<EndAfter>,
    open: Arc<AtomicUsize>,
    came: AtomicU64,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shut {
    /// A fault says so.
    Fault(u16),
    /// Another connection is open.
    Second(u16),
}

/// A connection that was let in, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    open: Arc<AtomicUsize>,
    /// How the connection is to end, and after how many frames.
    pub end: Option<EndAfter>,
}

impl Gate {
    /// The gate of a stream.
    pub fn new(faults: &Faults) -> Self {
        Gate {
            statuses: Turns::new(&faults.statuses),
            second_socket: faults.second_socket,
            endings: faults.endings.clone(),
            open: Arc::default(),
            came: AtomicU64::new(0),
        }
    }

    /// Lets a connection in, or says why not.
    pub fn enter(&self) -> Result<Pass, Shut> {
        if let Some(status) = self.statuses.next() {
            return Err(Shut::Fault(status));
        }
        let before = self.open.fetch_add(1, Ordering::AcqRel);
        // From here on it counts as open until the pass is dropped.
        let mut pass = Pass { open: Arc::clone(&self.open), end: None };
        if let Some(status) = self.second_socket.filter(|_| before > 0) {
            return Err(Shut::Second(status));
        }
        let number = self.came.fetch_add(1, Ordering::Relaxed);
        let kinds = self.endings.len().max(1) as u64;
        pass.end = self.endings.get((number % kinds) as usize).copied();
        Ok(pass)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::Fault;
    use super::*;

    fn gate(faults: &[&str]) -> Gate {
        Gate::new(&faults.iter().map(|text| text.parse::<Fault>().unwrap()).collect())
    }

    #[test]
    fn statuses_come_one_after_the_other() {
        let gate = gate(&["status=503:2", "status=403"]);
        let met: Vec<_> = (0..4).map(|_| gate.enter().unwrap_err()).collect();
        assert_eq!(met, [503, 503, 403, 403].map(Shut::Fault));
    }

    #[test]
    fn one_at_a_time() {
        let gate = gate(&["second-socket=409"]);
        let first = gate.enter().unwrap();
        assert_eq!(gate.enter().unwrap_err(), Shut::Second(409));
        drop(first);
        assert!(gate.enter().is_ok());
    }

    #[test]
    fn connections_take_turns_with_the_endings() {
        let gate = gate(&["reset=3", "drop=5"]);
        let frames: Vec<_> =
            (0..3).map(|_| gate.enter().unwrap().end.unwrap().frames.get()).collect();
        assert_eq!(frames, [3, 5, 3]);
    }
}
