//! How durations are spread: a few counters that one thread writes and any may read. Pure. Key type:
//! [`Histogram`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Durations counted by upper bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what is above them all.
    counts: Box<[AtomicU64]>,
    /// Seconds, an `f64` as bits: weighted nanoseconds would overflow within days at full speed.
    sum: AtomicU64,
    longest: AtomicU64,
}

/// Bounds for what should take microseconds and must not take milliseconds.
pub const SHORT: &[Duration] = &[
    Duration::from_micros(10),
    Duration::from_micros(20),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
];

impl Histogram {
    /// Nothing counted yet; the bounds must ascend.
    pub fn new(bounds: &'static [Duration]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0), longest: AtomicU64::new(0) }
    }

    /// Counts a duration.
    pub fn observe(&self, took: Duration) {
        self.observe_times(took, 1);
    }

    /// Counts a duration that so many things took.
    pub fn observe_times(&self, took: Duration, times: u64) {
        let place = self.bounds.partition_point(|bound| *bound < took);
        self.counts[place].fetch_add(times, Ordering::Relaxed);
        let seconds = took.as_secs_f64() * times as f64;
        let add = |bits| Some((f64::from_bits(bits) + seconds).to_bits());
        // It cannot fail: `add` always gives a value.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Upper bounds, the last one none, each with how many are above the bound before it.
    pub fn buckets(&self) -> Vec<(Option<Duration>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// All of them together, in seconds.
    pub fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }

    /// The longest one.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }

    /// A duration that this share of them, from 0 to 1, does not exceed: a bound, or the longest one.
    /// Zero if there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bound, count) in self.buckets() {
            seen += count;
            if seen >= wanted {
                return bound.unwrap_or(Duration::MAX).min(self.longest());
            }
        }
        self.longest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_below_their_bound() {
        let histogram = Histogram::new(SHORT);
        assert_eq!((histogram.count(), histogram.quantile(0.99)), (0, Duration::ZERO));
        for micros in [10, 11, 20, 300, 5_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = histogram.buckets().iter().map(|bucket| bucket.1).collect();
        assert_eq!(counts, [1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!((histogram.sum() - 5.000_341).abs() < 1e-9, "{}", histogram.sum());
        histogram.observe_times(Duration::from_micros(10), 0);
        assert_eq!(histogram.quantile(0.2), Duration::from_micros(10));
        assert_eq!(histogram.quantile(0.6), Duration::from_micros(20));
        assert_eq!(histogram.quantile(1.0), Duration::from_secs(5), "never more than the longest");
    }
}
