//! What of the journal is let go, and when. Pure but for the letting go. Key type: [`Retention`].

use std::time::{Duration, Instant};

use super::Journal;
use crate::config::{JournalConfig, WhenFull};
use crate::seglog::SegmentInfo;

/// Trouble of the disk's that is over within this time lets nothing go.
const PASSES: Duration = Duration::from_secs(5);

/// Whoever decides what goes.
#[derive(Debug, Clone)]
pub struct Retention {
    config: JournalConfig,
    /// Since when it cannot be written.
    in_trouble: Option<Instant>,
}

/// What a look at the journal came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// There is room.
    Fine,
    /// It is full of what some pipeline is not done with.
    Full,
    /// It was full, and these records had to go though some pipeline was not done with them.
    Dropped(std::ops::Range<u64>),
}

impl Retention {
    /// As configured.
    pub fn new(config: &JournalConfig) -> Self {
        Retention { config: config.clone(), in_trouble: None }
    }

    /// Lets go of what is old, or more than is to be kept, but of nothing at or after `floor`, which
    /// some pipeline may go back to, unless told to.
    pub fn look(&mut self, journal: &Journal, floor: u64, now: u64) -> Kept {
        let segments = journal.segments();
        let has_trouble = journal.log.disk_trouble().is_some();
        let is_pressed = journal.log.is_full() || self.lasts(has_trouble, Instant::now());
        let first = journal.log.first_seq();
        let before = self.before(&segments, floor, now, is_pressed);
        journal.log.release(before);
        // Where room was made, it may take a moment until it is used.
        if !journal.log.is_full() || before > first {
            return Kept::Fine;
        }
        match (self.config.when_full, segments.first()) {
            (WhenFull::DropOldest, Some(oldest)) if segments.len() > 1 => {
                journal.log.release(oldest.last_seq + 1);
                Kept::Dropped(oldest.first_seq..oldest.last_seq + 1)
            }
            _ => Kept::Full,
        }
    }

    /// Whether what is at or after `floor` takes much of the room there is.
    pub fn is_scarce(&self, journal: &Journal, floor: u64) -> bool {
        let segments = journal.segments();
        let held = segments.iter().filter(|segment| segment.last_seq >= floor);
        journal.log.is_full()
            || held.map(|segment| segment.bytes).sum::<u64>() > self.config.max_size / 2
    }

    /// Whether trouble has lasted long enough that what is kept for others may have to make room.
    fn lasts(&mut self, has_trouble: bool, now: Instant) -> bool {
        if !has_trouble {
            self.in_trouble = None;
            return false;
        }
        now.duration_since(*self.in_trouble.get_or_insert(now)) >= PASSES
    }

    /// The first record that stays.
    fn before(&self, segments: &[SegmentInfo], floor: u64, now: u64, is_pressed: bool) -> u64 {
        let mut done: u64 = segments
            .iter()
            .filter(|segment| segment.last_seq < floor)
            .map(|segment| segment.bytes)
            .sum();
        let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        // Some room is made ahead of need.
        let spare = self.config.max_size / 16;
        let mut over = (total + spare).saturating_sub(self.config.max_size);
        let age = u64::try_from(self.config.keep_age.as_micros()).unwrap_or(u64::MAX);
        let oldest = now.saturating_sub(age);
        let mut before = 0;
        // The last one is being written.
        let last = segments.len().saturating_sub(1);
        for segment in &segments[..last] {
            if segment.last_seq >= floor {
                break;
            }
            let is_old = segment.last_time < oldest;
            if !(is_pressed || is_old || done > self.config.keep_size || over > 0) {
                break;
            }
            before = segment.last_seq + 1;
            done -= segment.bytes;
            over = over.saturating_sub(segment.bytes);
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(count: u64) -> Vec<SegmentInfo> {
        let segment = |number| SegmentInfo {
            number,
            first_seq: number * 10,
            last_seq: number * 10 + 9,
            first_time: number * 1_000_000,
            last_time: number * 1_000_000 + 900_000,
            bytes: 10 << 20,
        };
        (0..count).map(segment).collect()
    }

    #[test]
    fn trouble_that_passes_lets_nothing_go() {
        let mut retention = Retention::new(&JournalConfig::default());
        let begun = Instant::now();
        let mut lasts = |has_trouble, seconds| {
            retention.lasts(has_trouble, begun + Duration::from_secs(seconds))
        };
        assert!(!lasts(true, 0) && !lasts(true, 4));
        assert!(!lasts(false, 6) && !lasts(true, 7) && !lasts(true, 11));
        assert!(lasts(true, 12) && lasts(true, 100) && !lasts(false, 101));
    }

    #[test]
    fn what_goes_is_old_or_too_much_and_never_past_the_floor() {
        let config = JournalConfig {
            max_size: 1 << 30,
            keep_size: 30 << 20,
            keep_age: Duration::from_secs(5),
            ..JournalConfig::default()
        };
        let retention = Retention::new(&config);
        let before =
            |floor, now, is_pressed| retention.before(&segments(10), floor, now, is_pressed);
        assert_eq!(
            before(1_000, 0, false),
            70,
            "as many as keep_size has room for stay, and the last"
        );
        assert_eq!(before(45, 0, false), 10, "three and a part are done with");
        assert_eq!(before(45, 8_000_000, false), 30, "older than five seconds");
        assert_eq!(before(45, 0, true), 40, "when pressed, all that is done with");
        assert_eq!(before(0, u64::MAX, true), 0);
        let small = JournalConfig { max_size: 80 << 20, keep_size: 80 << 20, ..config };
        let before = Retention::new(&small).before(&segments(10), 1_000, 0, false);
        assert_eq!(before, 30, "and some ahead of need");
    }
}
