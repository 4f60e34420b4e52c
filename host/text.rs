//! Writing JSON text by hand: strings and RFC 3339 times, straight into the batch's one text. Pure;
//! knows nothing of events. Key function: [`push_json_string`].

use std::fmt::Write as _;

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
pub fn push_time(out: &mut String, time: Timestamp) {
    let days = time.seconds.div_euclid(86_400);
    let second = time.seconds.rem_euclid(86_400);
    let (year, month, day) = civil(days);
    push_digits(out, year as u32, 4);
    for (separator, value) in [
        ('-', month),
        ('-', day),
        ('T', (second / 3_600) as u32),
        (':', (second / 60 % 60) as u32),
        (':', (second % 60) as u32),
    ] {
        out.push(separator);
        push_digits(out, value, 2);
    }
    match time.nanos {
        0 => {}
        n if n % 1_000_000 == 0 => push_fraction(out, n / 1_000_000, 3),
        n if n % 1_000 == 0 => push_fraction(out, n / 1_000, 6),
        n => push_fraction(out, n, 9),
    }
    out.push('Z');
}

/// A time as RFC 3339 in UTC.
pub fn format_time(time: Timestamp) -> String {
    let mut out = String::with_capacity(30);
    push_time(&mut out, time);
    out
}

fn push_fraction(out: &mut String, value: u32, digits: usize) {
    out.push('.');
    push_digits(out, value, digits);
}

fn push_digits(out: &mut String, mut value: u32, digits: usize) {
    let mut buffer = [b'0'; 9];
    for slot in buffer[..digits].iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.push_str(std::str::from_utf8(&buffer[..digits]).unwrap_or_default());
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

/// Appends a JSON string, quotes included. Escapes only what JSON demands, so no raw newline is left.
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut done = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[done..at]);
        done = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push_str(&text[done..]);
    out.push('"');
}

/// Appends JSON that may be spread over lines as one compact line. `json` must be valid JSON.
pub fn push_compact_json(out: &mut String, json: &str) {
    let mut in_string = false;
    let mut escaped = false;
    let mut done = 0;
    for (at, byte) in json.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else if byte == b'"' {
            in_string = true;
        } else if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            out.push_str(&json[done..at]);
            done = at + 1;
        }
    }
    out.push_str(&json[done..]);
}

/// Whether a text is one JSON value.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
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

    #[test]
    fn strings_are_escaped_as_serde_json_does() {
        for text in ["", "plain", "q\"b\\s/", "\u{0}\u{1f}\n\r\t\u{8}\u{c}\u{7f}", "ü🛰️\u{2028}"]
        {
            let mut out = String::new();
            push_json_string(&mut out, text);
            assert_eq!(out, serde_json::to_string(text).unwrap());
        }
    }

    #[test]
    fn compacting_keeps_strings_as_they_are() {
        let mut out = String::new();
        push_compact_json(&mut out, "{ \"a b\" : [1,\n 2], \"c\\\" d\": \" \" }");
        assert_eq!(out, "{\"a b\":[1,2],\"c\\\" d\":\" \"}");
    }
}
