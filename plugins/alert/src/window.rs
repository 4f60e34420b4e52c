//! A sliding window over event time, in as few numbers as the question needs: are there `count`
//! matches within it?
//!
//! For that the newest `count` times suffice (for distinct values: the newest `count` values with
//! their last time), so what is kept is bounded however many events come.

use serde::{Deserialize, Serialize};

/// How many matches, how close together, make the alert. Times are microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Matches needed.
    pub count: usize,
    /// The length of the window; a match of exactly this age is still in it.
    pub window: u64,
    /// How long the window must have held fewer before it is over.
    pub clear_after: u64,
}

/// What is remembered of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Whether the alert is raised.
    #[serde(default)]
    pub up: bool,
    /// What the clock said at the newest change.
    at: u64,
    /// The newest event time.
    latest: u64,
    /// Times of matches, oldest first, with the value that must be distinct (or nothing).
    seen: Vec<(u64, String)>,
}

impl Window {
    /// Takes in a match, in whatever order matches come.
    pub fn add(&mut self, time: u64, value: Option<&str>, now: u64, threshold: Threshold) {
        self.at = now;
        self.latest = self.latest.max(time);
        if let Some(value) = value
            && let Some(known) = self.seen.iter().position(|(_, seen)| seen == value)
        {
            if self.seen[known].0 >= time {
                return;
            }
            self.seen.remove(known);
        }
        let place = self.seen.partition_point(|(seen, _)| *seen <= time);
        self.seen.insert(place, (time, value.unwrap_or_default().to_string()));
        let surplus = self.seen.len().saturating_sub(threshold.count);
        self.seen.drain(..surplus);
    }

    /// The newest event time; event time moves on from there with the clock, as long as nothing
    /// comes. So events that come late, or clocks that differ, do not end an alert early.
    pub fn moment(&self, now: u64) -> u64 {
        self.latest + now.saturating_sub(self.at)
    }

    /// The newest event time, if an event of this time comes now.
    pub fn moment_with(&self, time: u64) -> u64 {
        self.latest.max(time)
    }

    /// Whether there are enough matches in the window that ends with the newest event.
    pub fn is_full(&self, threshold: Threshold) -> bool {
        self.full_until(threshold).is_some_and(|until| self.latest <= until)
    }

    /// Whether the window has held fewer for long enough.
    pub fn is_over(&self, moment: u64, threshold: Threshold) -> bool {
        self.full_until(threshold).is_none_or(|until| moment > until + threshold.clear_after)
    }

    /// Whether nothing in it can matter any more.
    pub fn is_stale(&self, moment: u64, threshold: Threshold) -> bool {
        !self.up && moment > self.latest + threshold.window
    }

    /// Oldest and newest match of those remembered.
    pub fn span(&self) -> (u64, u64) {
        let time = |entry: Option<&(u64, String)>| entry.map_or(0, |(time, _)| *time);
        (time(self.seen.first()), time(self.seen.last()))
    }

    /// The distinct values remembered.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.seen.iter().map(|(_, value)| value.as_str())
    }

    /// How long there are enough matches, if no more come: until the oldest one needed leaves the
    /// window.
    fn full_until(&self, threshold: Threshold) -> Option<u64> {
        let oldest = self.seen.len().checked_sub(threshold.count)?;
        self.seen.get(oldest).map(|(time, _)| time + threshold.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Threshold = Threshold { count: 3, window: 60, clear_after: 0 };

    fn window(times: &[u64]) -> Window {
        let mut window = Window::default();
        for time in times {
            window.add(*time, None, 0, THREE);
        }
        window
    }

    #[test]
    fn full_when_enough_lie_close_together() {
        assert!(!window(&[0, 1]).is_full(THREE));
        assert!(window(&[0, 1, 60]).is_full(THREE));
        assert!(!window(&[0, 1, 61]).is_full(THREE));
        assert!(window(&[0, 1, 61, 2]).is_full(THREE), "a late one counts where it belongs");
        assert!(
            !window(&[0, 100, 1, 2]).is_full(THREE),
            "too late for the window that ends with the newest"
        );
    }

    #[test]
    fn keeps_no_more_than_it_needs() {
        let window = window(&[5, 1, 9, 3, 7]);
        assert_eq!(window.seen.iter().map(|(time, _)| *time).collect::<Vec<_>>(), [5, 7, 9]);
        assert_eq!(window.span(), (5, 9));
    }

    #[test]
    fn counts_each_distinct_value_once_at_its_newest_time() {
        let mut window = Window::default();
        for (time, value) in [(0, "a"), (10, "a"), (20, "b"), (5, "b"), (65, "c")] {
            window.add(time, Some(value), 0, THREE);
        }
        assert!(window.is_full(THREE), "{window:?}");
        assert_eq!(window.values().collect::<Vec<_>>(), ["a", "b", "c"]);
        window.add(71, Some("c"), 0, THREE);
        assert!(!window.is_full(THREE), "a is 61 old");
    }

    #[test]
    fn over_when_it_has_drained_and_stayed_so() {
        let patient = Threshold { clear_after: 10, ..THREE };
        let window = window(&[0, 1, 2]);
        assert!(!window.is_over(60, THREE) && window.is_over(61, THREE));
        assert!(!window.is_over(70, patient) && window.is_over(71, patient));
    }

    #[test]
    fn silence_moves_event_time_on() {
        let mut window = Window::default();
        window.add(1_000, None, 5_000, THREE);
        assert_eq!(
            (window.moment(5_000), window.moment(5_030), window.moment(4_000)),
            (1_000, 1_030, 1_000)
        );
        assert_eq!((window.moment_with(990), window.moment_with(1_010)), (1_000, 1_010));
        assert!(!window.is_stale(1_060, THREE) && window.is_stale(1_061, THREE));
    }
}
