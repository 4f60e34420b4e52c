//! How long to wait before the next try: longer each time, never the same for two hosts. Pure but
//! for the dice. Key type: [`Backoff`].

use std::time::Duration;

use rand::RngExt as _;

/// Exponential backoff with jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits that begin at about `least` and grow to about `most`.
    pub fn new(least: Duration, most: Duration) -> Self {
        Backoff { least, most: most.max(least), next: least }
    }

    /// The wait before the next try: half to all of twice the one before, within the bounds.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        wait.mul_f64(rand::rng().random_range(0.5..=1.0)).max(self.least / 2)
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.next = self.least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut backoff = Backoff::new(least, most);
        let mut bound = least;
        for _ in 0..20 {
            let wait = backoff.next_wait();
            assert!(wait <= bound && wait >= bound / 2, "{wait:?} of {bound:?}");
            bound = (bound * 2).min(most);
        }
        backoff.reset();
        assert!(backoff.next_wait() <= least);
    }
}
