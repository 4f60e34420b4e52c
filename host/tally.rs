//! What became of every event: received = delivered + filtered + dead-lettered + in flight. Key
//! type: [`Tally`].

use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::Ends;

/// The counts of one pipeline. Frames are counted, each once, whatever became of its parts.
#[derive(Debug, Default)]
pub struct Tally {
    received: AtomicU64,
    delivered: AtomicU64,
    filtered: AtomicU64,
    dead_lettered: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Came in.
    pub received: u64,
    /// Every export plugin and every sink took it.
    pub delivered: u64,
    /// A plugin ended its way.
    pub filtered: u64,
    /// It, or a part of it, is a dead letter.
    pub dead_lettered: u64,
}

impl Tally {
    /// Counts frames that came in.
    pub fn receive(&self, frames: u64) {
        self.received.fetch_add(frames, Ordering::Relaxed);
    }

    /// Counts how the frames of a batch ended.
    pub fn end(&self, ends: Ends) {
        self.delivered.fetch_add(ends.delivered, Ordering::Relaxed);
        self.filtered.fetch_add(ends.filtered, Ordering::Relaxed);
        self.dead_lettered.fetch_add(ends.dead_lettered, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        // Ends first: whatever ended by now was received before.
        let delivered = self.delivered.load(Ordering::Relaxed);
        let filtered = self.filtered.load(Ordering::Relaxed);
        let dead_lettered = self.dead_lettered.load(Ordering::Relaxed);
        let received = self.received.load(Ordering::Relaxed);
        Counts { received, delivered, filtered, dead_lettered }
    }
}

impl Counts {
    /// What is still on its way.
    pub fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.delivered + self.filtered + self.dead_lettered)
    }
}

impl std::ops::Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            received: self.received + other.received,
            delivered: self.delivered + other.delivered,
            filtered: self.filtered + other.filtered,
            dead_lettered: self.dead_lettered + other.dead_lettered,
        }
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(counts: I) -> Counts {
        counts.fold(Counts::default(), |all, one| all + one)
    }
}

/// The tally line: scripts rely on its form.
impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { received, delivered, filtered, dead_lettered } = self;
        let in_flight = self.in_flight();
        write!(
            f,
            "tally received={received} delivered={delivered} filtered={filtered} \
             dead_lettered={dead_lettered} in_flight={in_flight}"
        )
    }
}
