//! When to try again, and how a stream is said to be doing meanwhile. Pure but for the dice. Key type:
//! [`Retry`].

use std::time::Duration;

use super::failure::Failure;
use crate::backoff::{Backoff, Class};
use crate::source::State;

const LEAST_WAIT: Duration = Duration::from_millis(100);
const MOST_WAIT: Duration = Duration::from_secs(30);
/// The same where somebody must see to it.
const LEAST_SLOW: Duration = Duration::from_secs(1);
const MOST_SLOW: Duration = Duration::from_secs(300);

/// The tries since a connection was last a good one.
#[derive(Debug)]
pub(super) struct Retry {
    quick: Backoff,
    slow: Backoff,
    tries: u32,
    most: Option<u32>,
}

impl Retry {
    /// At most so many tries in a row; `None` for no end.
    pub fn new(most: Option<u32>) -> Self {
        Retry {
            quick: Backoff::new(LEAST_WAIT, MOST_WAIT),
            slow: Backoff::new(LEAST_SLOW, MOST_SLOW),
            tries: 0,
            most,
        }
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        *self = Retry::new(self.most);
    }

    /// How many tries have failed in a row.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// How long to wait after a failure; `None` when there have been enough.
    pub fn after(&mut self, failure: &Failure) -> Option<Duration> {
        self.tries += 1;
        if self.most.is_some_and(|most| self.tries > most) {
            return None;
        }
        Some(match failure.class {
            Class::Transient { after } => self.quick.next_wait().max(after.unwrap_or_default()),
            Class::NeedsAttention => self.slow.next_wait(),
        })
    }

    /// What a stream is doing after a failure.
    pub fn state(failure: &Failure) -> State {
        match failure.class {
            Class::Transient { .. } => State::Waiting,
            Class::NeedsAttention => State::Failing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_attention_is_tried_slowly() {
        let mut retry = Retry::new(None);
        let failure = Failure::refused(403, "", None);
        assert!(retry.after(&failure).unwrap() >= LEAST_SLOW / 2);
        assert_eq!(Retry::state(&failure), State::Failing);
        let failure = Failure::passing("x");
        assert!(retry.after(&failure).unwrap() <= LEAST_WAIT);
        assert_eq!(Retry::state(&failure), State::Waiting);
    }

    #[test]
    fn the_server_may_ask_for_more_time() {
        let failure = Failure::refused(429, "", Some("60"));
        assert_eq!(Retry::new(None).after(&failure), Some(Duration::from_secs(60)));
    }

    #[test]
    fn there_may_be_an_end() {
        let mut retry = Retry::new(Some(2));
        let failure = Failure::passing("x");
        assert!(retry.after(&failure).is_some() && retry.after(&failure).is_some());
        assert_eq!(retry.after(&failure), None);
        retry.reset();
        assert!(retry.after(&failure).is_some());
    }
}
