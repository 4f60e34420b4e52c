//! The simulated clock: event number n of a stream happens at a fixed instant, whatever the rate it
//! is sent at. Pure. Key type: [`Moment`].

use prost_types::Timestamp as ProtoTime;

use crate::sim::content::rng::key;
use crate::timestamp::{Timestamp, push_time};

/// Simulated time from one event of a stream to the next: what a few dozen devices report.
pub(in crate::sim) const STEP_MILLIS: u64 = 500;

/// 2026-03-02T08:00:00Z, a Monday morning; the seed picks one of the 28 days from there.
const FIRST_DAY: u64 = 1_772_438_400_000;
const DAY: u64 = 86_400_000;

/// When an event happens.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Moment {
    start: u64,
    elapsed: u64,
    text: String,
    text_second: u64,
}

impl Moment {
    /// The moment at which the world of this seed begins.
    pub fn first(seed: u64) -> Self {
        let start = FIRST_DAY + key(seed, "start") % 28 * DAY;
        let mut moment = Moment { start, elapsed: 0, text: String::new(), text_second: 0 };
        moment.write_text();
        moment
    }

    /// Moves to event number `sequence`. `noise` shifts it by less than a step, so that time never
    /// runs backwards.
    pub fn advance(&mut self, sequence: u64, noise: u64) {
        self.elapsed = sequence * STEP_MILLIS + noise % (STEP_MILLIS - 1);
        self.write_text();
    }

    /// Milliseconds since the world began.
    pub fn elapsed(&self) -> u64 {
        self.elapsed
    }

    /// Milliseconds since 1970.
    pub fn millis(&self) -> u64 {
        self.start + self.elapsed
    }

    /// Whole seconds since 1970.
    pub fn seconds(&self) -> u64 {
        self.millis() / 1_000
    }

    /// The part of the second, in nanoseconds.
    pub fn nanos(&self) -> u32 {
        (self.millis() % 1_000) as u32 * 1_000_000
    }

    /// As RFC 3339 in UTC, always with three digits of the second.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// As protobuf has it.
    pub fn proto(&self) -> ProtoTime {
        ProtoTime { seconds: self.seconds() as i64, nanos: self.nanos() as i32 }
    }

    /// An earlier time, as protobuf has it.
    pub fn proto_before(&self, millis: u64) -> ProtoTime {
        let then = self.millis().saturating_sub(millis);
        ProtoTime { seconds: (then / 1_000) as i64, nanos: (then % 1_000) as i32 * 1_000_000 }
    }

    /// Writes the date only when the second changes: the calendar costs more than all the rest.
    fn write_text(&mut self) {
        let second = self.seconds();
        if self.text.is_empty() || self.text_second != second {
            self.text.clear();
            push_time(&mut self.text, Timestamp { seconds: second as i64, nanos: 0 });
            self.text_second = second;
        }
        self.text.truncate("2026-03-02T08:00:00".len());
        let millis = self.millis() % 1_000;
        self.text.push('.');
        for divisor in [100, 10, 1] {
            self.text.push(char::from(b'0' + (millis / divisor % 10) as u8));
        }
        self.text.push('Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_time() {
        let mut moment = Moment::first(3);
        for (sequence, noise) in [(0, 0), (0, 7), (1, 498), (2, 1_234), (7_200, 90)] {
            moment.advance(sequence, noise);
            let parsed = Timestamp::parse(moment.text()).unwrap();
            assert_eq!(parsed.seconds as u64, moment.seconds());
            assert_eq!(parsed.nanos, moment.nanos());
            assert_eq!(moment.text().len(), 24);
        }
    }

    #[test]
    fn time_never_runs_backwards() {
        let mut moment = Moment::first(3);
        let mut last = 0;
        for sequence in 0..1_000 {
            moment.advance(sequence, crate::sim::content::rng::mix(sequence));
            assert!(moment.millis() > last);
            last = moment.millis();
        }
    }
}
