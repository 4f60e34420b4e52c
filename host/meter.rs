//! What is measured where the work is done: counts and distributions that one thread writes and the
//! metrics page reads. Plain atomics, touched per batch or call, never per event. Key types:
//! [`PipelineMeter`], [`CallMeter`], [`SinkMeter`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::runner::{Failure, Reason};

const MICRO: Duration = Duration::from_micros(1);
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Bounds from the read off the wire to the end of delivery.
const LATENCY: &[Duration] = &[
    MICRO.saturating_mul(500),
    MILLI,
    MICRO.saturating_mul(2_500),
    MILLI.saturating_mul(5),
    MILLI.saturating_mul(10),
    MILLI.saturating_mul(20),
    MILLI.saturating_mul(50),
    MILLI.saturating_mul(100),
    MILLI.saturating_mul(250),
    MILLI.saturating_mul(500),
    SECOND,
    MILLI.saturating_mul(2_500),
    SECOND.saturating_mul(5),
    SECOND.saturating_mul(10),
    SECOND.saturating_mul(30),
    SECOND.saturating_mul(60),
];
/// Bounds of a call of a plugin; an export plugin may wait for minutes.
const CALL: &[Duration] = &[
    MICRO.saturating_mul(10),
    MICRO.saturating_mul(50),
    MICRO.saturating_mul(100),
    MICRO.saturating_mul(500),
    MILLI,
    MILLI.saturating_mul(5),
    MILLI.saturating_mul(10),
    MILLI.saturating_mul(50),
    MILLI.saturating_mul(100),
    MILLI.saturating_mul(500),
    SECOND,
    SECOND.saturating_mul(5),
    SECOND.saturating_mul(30),
    SECOND.saturating_mul(120),
];
/// Bounds of a write to a sink.
const WRITE: &[Duration] = &[
    MICRO.saturating_mul(100),
    MICRO.saturating_mul(500),
    MILLI,
    MILLI.saturating_mul(5),
    MILLI.saturating_mul(10),
    MILLI.saturating_mul(50),
    MILLI.saturating_mul(100),
    MILLI.saturating_mul(500),
    SECOND,
    SECOND.saturating_mul(5),
    SECOND.saturating_mul(30),
];

/// What is measured in a pipeline.
#[derive(Debug)]
pub struct PipelineMeter {
    /// From the read of a frame to the end of its batch's delivery, once for each frame.
    pub latency: Histogram,
    batches: AtomicU64,
    redriven: AtomicU64,
    /// By plugin: those of the plugin directory.
    calls: Mutex<BTreeMap<String, Arc<CallMeter>>>,
}

impl Default for PipelineMeter {
    fn default() -> Self {
        PipelineMeter {
            latency: Histogram::new(LATENCY),
            batches: AtomicU64::new(0),
            redriven: AtomicU64::new(0),
            calls: Mutex::default(),
        }
    }
}

impl PipelineMeter {
    /// Notes the end of a batch: when its frames were read, and how many each time.
    pub fn batch(&self, read: &[(Instant, u64)]) {
        if read.is_empty() {
            // Nothing of it was for this pipeline.
            return;
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        for (when, frames) in read {
            self.latency.observe_times(now.saturating_duration_since(*when), *frames);
        }
    }

    /// Notes dead letters that were taken again.
    pub fn redriven(&self, letters: u64) {
        self.redriven.fetch_add(letters, Ordering::Relaxed);
    }

    /// How many dead letters were taken again.
    pub fn redriven_so_far(&self) -> u64 {
        self.redriven.load(Ordering::Relaxed)
    }

    /// How many batches have ended.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Where the calls of a plugin are noted.
    pub fn of(&self, plugin: &str) -> Arc<CallMeter> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(calls.entry(plugin.to_owned()).or_default())
    }

    /// Forgets plugins that are not there any more, so that their names do not pile up.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.retain(|plugin, _| is_there(plugin));
    }

    /// All plugins that were called, by name.
    pub fn calls(&self) -> Vec<(String, Arc<CallMeter>)> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().map(|(plugin, meter)| (plugin.clone(), Arc::clone(meter))).collect()
    }
}

/// The calls of one plugin in one pipeline.
#[derive(Debug)]
pub struct CallMeter {
    /// How long they took, failed ones too. An export plugin's waits are in it.
    pub seconds: Histogram,
    events: AtomicU64,
    failures: [AtomicU64; Reason::ALL.len()],
}

impl Default for CallMeter {
    fn default() -> Self {
        CallMeter {
            seconds: Histogram::new(CALL),
            events: AtomicU64::new(0),
            failures: Default::default(),
        }
    }
}

impl CallMeter {
    /// Makes a call with so many events, and notes what came of it.
    ///
    /// # Errors
    /// Those of the call.
    pub fn measure<T>(
        &self,
        events: usize,
        call: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let result = call();
        self.seconds.observe(begun.elapsed());
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        if let Err(Failure::Failed(reason, _)) = &result {
            self.failures[*reason as usize].fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// How many events it was called with; those of a failed call come again.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// How many calls failed for a reason.
    pub fn failures(&self, reason: Reason) -> u64 {
        self.failures[reason as usize].load(Ordering::Relaxed)
    }
}

/// What is measured of a sink.
#[derive(Debug)]
pub struct SinkMeter {
    /// How long writes took, failed ones too.
    pub seconds: Histogram,
    retries: AtomicU64,
}

impl Default for SinkMeter {
    fn default() -> Self {
        SinkMeter { seconds: Histogram::new(WRITE), retries: AtomicU64::new(0) }
    }
}

impl SinkMeter {
    /// Notes how long a write takes, until the timer is dropped.
    pub fn start(&self) -> Timer<'_> {
        Timer { histogram: &self.seconds, begun: Instant::now() }
    }

    /// Notes that a write failed and will be tried again.
    pub fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a write was, or will be, tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}

/// Notes a duration when it is dropped.
#[derive(Debug)]
pub struct Timer<'a> {
    histogram: &'a Histogram,
    begun: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.histogram.observe(self.begun.elapsed());
    }
}

/// What became of files of the plugin directory, and of the configuration.
#[derive(Debug, Default)]
pub struct ReloadMeter {
    /// Versions that came to serve, the first ones included.
    pub loaded: AtomicU64,
    /// Versions that did not.
    pub failed: AtomicU64,
    /// Plugins whose file went away.
    pub removed: AtomicU64,
    /// Configurations that were read again and took effect.
    pub applied: AtomicU64,
    /// Those in which nothing was new.
    pub unchanged: AtomicU64,
    /// Those that were wrong, so that all went on as before.
    pub refused: AtomicU64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_reason() {
        let meter = CallMeter::default();
        let trap = || Err::<(), _>(Failure::Failed(Reason::Trap, String::new()));
        meter.measure(5, trap).unwrap_err();
        meter.measure(5, || Err::<(), _>(Failure::Stopped)).unwrap_err();
        meter.measure(1, || Ok(())).unwrap();
        assert_eq!((meter.failures(Reason::Trap), meter.failures(Reason::Timeout)), (1, 0));
        assert_eq!((meter.seconds.count(), meter.events()), (3, 11));
    }

    #[test]
    fn names_of_plugins_do_not_pile_up() {
        let meter = PipelineMeter::default();
        meter.of("a").measure(1, || Ok(())).unwrap();
        meter.of("b");
        meter.keep(|plugin| plugin == "a");
        let left = meter.calls();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].0.as_str(), left[0].1.events()), ("a", 1));
    }
}
