//! Times: what the clock says, and RFC 3339, read by a library and written by hand, straight into the batch's
//! one text. Knows nothing of events. Key type: [`Timestamp`].

use crate::text::{Append, pair};

/// Seconds and nanoseconds since 1970 UTC, as a protobuf `Timestamp` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999, always forward from `seconds`.
    pub nanos: u32,
}

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what RFC 3339 and `Timestamp` can say.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

impl Timestamp {
    /// A time within the years 1 to 9999, or `None`.
    pub fn new(seconds: i64, nanos: i32) -> Option<Self> {
        let nanos = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000)?;
        SECONDS.contains(&seconds).then_some(Timestamp { seconds, nanos })
    }

    /// The time from the system's clock.
    pub fn now() -> Self {
        Self::from_micros(now_micros())
    }

    /// From microseconds since 1970.
    pub fn from_micros(micros: u64) -> Self {
        // Any u64 of microseconds beyond the year 9999 is a broken clock; it reads as the last second.
        let seconds = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX).min(*SECONDS.end());
        Timestamp { seconds, nanos: (micros % 1_000_000) as u32 * 1_000 }
    }

    /// Microseconds since 1970; 0 for times before.
    pub fn micros(&self) -> u64 {
        u64::try_from(self.seconds)
            .map_or(0, |seconds| seconds * 1_000_000 + u64::from(self.nanos / 1_000))
    }

    /// Reads an RFC 3339 time of any offset.
    pub fn parse(text: &str) -> Option<Self> {
        let format = &time::format_description::well_known::Rfc3339;
        let time = time::OffsetDateTime::parse(text, format).ok()?;
        Timestamp::new(time.unix_timestamp(), i32::try_from(time.nanosecond()).ok()?)
    }
}

/// Microseconds since 1970 by the system's clock; 0 for a clock set before.
pub fn now_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |elapsed| elapsed.as_micros() as u64)
}

/// Appends a time as RFC 3339 in UTC with 0, 3, 6 or 9 digits of the second, the form of the
/// protobuf JSON mapping.
pub fn push_time(out: &mut impl Append, time: Timestamp) {
    out.ascii(&second(time.seconds));
    push_fraction(out, time.nanos);
    out.text("Z");
}

/// The second last written as text: neighbouring events mostly share it.
#[derive(Debug, Clone, Copy)]
pub struct LastSecond {
    seconds: i64,
    text: [u8; 19],
}

impl Default for LastSecond {
    fn default() -> Self {
        LastSecond { seconds: 0, text: second(0) }
    }
}

impl LastSecond {
    /// Appends a time as [`push_time`].
    #[inline]
    pub fn push_time(&mut self, out: &mut Vec<u8>, time: Timestamp) {
        if time.seconds != self.seconds {
            *self = LastSecond { seconds: time.seconds, text: second(time.seconds) };
        }
        out.extend_from_slice(&self.text);
        push_fraction(out, time.nanos);
        out.push(b'Z');
    }
}

/// Seconds since 1970 as RFC 3339 has them, without a zone.
fn second(seconds: i64) -> [u8; 19] {
    let days = seconds.div_euclid(86_400);
    // Less than a day.
    let second = seconds.rem_euclid(86_400) as u32;
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00";
    for (at, value) in [
        (0, year as u32 / 100),
        (2, year as u32 % 100),
        (5, month),
        (8, day),
        (11, second / 3_600),
        (14, second / 60 % 60),
        (17, second % 60),
    ] {
        text[at..at + 2].copy_from_slice(pair(value));
    }
    text
}

/// A time as RFC 3339 in UTC.
pub fn format_time(time: Timestamp) -> String {
    let mut out = String::with_capacity(30);
    push_time(&mut out, time);
    out
}

/// Appends nanoseconds as the fraction of a second: nothing, or a point and 3, 6 or 9 digits.
pub fn push_fraction(out: &mut impl Append, nanos: u32) {
    let three = |value: u32| {
        let [tens, ones] = *pair(value % 100);
        [b'0' + (value / 100 % 10) as u8, tens, ones]
    };
    let ([a, b, c], [d, e, f], [g, h, i]) =
        (three(nanos / 1_000_000), three(nanos / 1_000 % 1_000), three(nanos % 1_000));
    match nanos {
        0 => {}
        n if n % 1_000_000 == 0 => out.ascii(&[b'.', a, b, c]),
        n if n % 1_000 == 0 => out.ascii(&[b'.', a, b, c, d, e, f]),
        _ => out.ascii(&[b'.', a, b, c, d, e, f, g, h, i]),
    }
}

/// Year, month and day of a number of days since 1970-01-01 (the proleptic Gregorian calendar,
/// counted in eras of 400 years that begin on 1 March).
fn civil(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u32, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanos: i32) -> String {
        format_time(Timestamp::new(seconds, nanos).unwrap())
    }

    #[test]
    fn times_have_the_digits_they_need() {
        assert_eq!(time(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400, 120_000_000), "2000-02-29T00:00:00.120Z");
        assert_eq!(time(-1, 999_999_000), "1969-12-31T23:59:59.999999Z");
        assert_eq!(time(253_402_300_799, 999_999_999), "9999-12-31T23:59:59.999999999Z");
        assert_eq!(time(-62_135_596_800, 1), "0001-01-01T00:00:00.000000001Z");
        assert!(Timestamp::new(253_402_300_800, 0).is_none());
        assert!(Timestamp::new(0, -1).is_none());
    }

    #[test]
    fn times_agree_with_the_time_crate() {
        let format = &time::format_description::well_known::Rfc3339;
        for day in (-700_000..2_900_000).step_by(7_919) {
            let seconds = day * 86_400 + 12_345;
            let theirs = time::OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            assert_eq!(time(seconds, 0), theirs.format(format).unwrap());
            assert_eq!(Timestamp::parse(&time(seconds, 0)).unwrap().seconds, seconds);
        }
    }
}
