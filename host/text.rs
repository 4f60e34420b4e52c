//! Writing JSON text by hand: strings, whole numbers and RFC 3339 times, straight into the batch's one
//! text. Pure; knows nothing of events. Key function: [`push_json_string`].

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
    push_fraction(out, time.nanos);
    out.push('Z');
}

/// A time as RFC 3339 in UTC.
pub fn format_time(time: Timestamp) -> String {
    let mut out = String::with_capacity(30);
    push_time(&mut out, time);
    out
}

/// Appends nanoseconds as the fraction of a second: nothing, or a point and 3, 6 or 9 digits.
pub fn push_fraction(out: &mut String, nanos: u32) {
    let (value, digits) = match nanos {
        0 => return,
        n if n % 1_000_000 == 0 => (n / 1_000_000, 3),
        n if n % 1_000 == 0 => (n / 1_000, 6),
        n => (n, 9),
    };
    out.push('.');
    push_digits(out, value, digits);
}

/// Two digits for each number below 100.
const PAIRS: &str = "\
    0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
    5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

fn pair(value: u32) -> &'static str {
    let at = value as usize % 100 * 2;
    &PAIRS[at..at + 2]
}

/// Appends a number with just so many digits.
fn push_digits(out: &mut String, value: u32, digits: usize) {
    let mut left = digits;
    if left % 2 == 1 {
        left -= 1;
        let digit = value / 10_u32.pow(left as u32) % 10;
        out.push_str(&pair(digit)[1..]);
    }
    while left > 0 {
        left -= 2;
        out.push_str(pair(value / 10_u32.pow(left as u32)));
    }
}

/// Appends a whole number.
pub fn push_u64(out: &mut String, mut value: u64) {
    let mut pairs = [0_u8; 10];
    let mut at = pairs.len();
    while value >= 100 {
        at -= 1;
        pairs[at] = (value % 100) as u8;
        value /= 100;
    }
    let first = pair(value as u32);
    out.push_str(if value < 10 { &first[1..] } else { first });
    for two in &pairs[at..] {
        out.push_str(pair(u32::from(*two)));
    }
}

/// Appends a whole number with its sign.
pub fn push_i64(out: &mut String, value: i64) {
    if value < 0 {
        out.push('-');
    }
    push_u64(out, value.unsigned_abs());
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
    let mut rest = text;
    while let Some(at) = first_escaped(rest.as_bytes()) {
        out.push_str(&rest[..at]);
        push_escape(out, rest.as_bytes()[at]);
        // What is escaped is ASCII, one byte long.
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

fn push_escape(out: &mut String, byte: u8) {
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

const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Where the first byte is that JSON wants escaped.
#[inline]
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    if !has_escaped(bytes) {
        return None;
    }
    bytes.iter().position(|byte| is_escaped(*byte))
}

/// Looks at many bytes at once, without branches; at some of them twice rather than at each by itself.
#[inline]
fn has_escaped(bytes: &[u8]) -> bool {
    match bytes.len() {
        0..4 => bytes.iter().any(|byte| is_escaped(*byte)),
        4..8 => ends_have_escaped::<4>(bytes),
        8..16 => ends_have_escaped::<8>(bytes),
        _ => {
            let (chunks, _) = bytes.as_chunks::<16>();
            chunks.iter().any(any_escaped) || bytes.last_chunk::<16>().is_some_and(any_escaped)
        }
    }
}

#[inline]
fn ends_have_escaped<const N: usize>(bytes: &[u8]) -> bool {
    bytes.first_chunk::<N>().is_some_and(any_escaped)
        || bytes.last_chunk::<N>().is_some_and(any_escaped)
}

#[inline]
fn any_escaped<const N: usize>(bytes: &[u8; N]) -> bool {
    bytes.iter().fold(false, |any, byte| any | is_escaped(*byte))
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
        let escaped = |text: &str| {
            let mut out = String::new();
            push_json_string(&mut out, text);
            assert_eq!(out, serde_json::to_string(text).unwrap());
        };
        for text in ["", "plain", "q\"b\\s/", "\u{0}\u{1f}\n\r\t\u{8}\u{c}\u{7f}", "ü🛰️\u{2028}"]
        {
            escaped(text);
        }
        // At every place of texts of every length.
        for length in 0..70 {
            let clean = "x".repeat(length);
            escaped(&clean);
            for at in 0..length {
                for odd in ["\n", "\"\u{1}", "\\", "ü\"", "\u{7f}"] {
                    escaped(&format!("{}{odd}{}", &clean[..at], &clean[at..]));
                }
            }
        }
    }

    #[test]
    fn whole_numbers_read_as_they_are() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        for value in powers.flat_map(|p| [p - 1, p, p + 1, p * 9 / 7]).chain([u64::MAX]) {
            let mut out = String::new();
            push_u64(&mut out, value);
            assert_eq!(out, value.to_string());
            for signed in [value as i64, (value as i64).wrapping_neg(), i64::MIN] {
                let mut out = String::new();
                push_i64(&mut out, signed);
                assert_eq!(out, signed.to_string());
            }
        }
    }

    #[test]
    fn compacting_keeps_strings_as_they_are() {
        let mut out = String::new();
        push_compact_json(&mut out, "{ \"a b\" : [1,\n 2], \"c\\\" d\": \" \" }");
        assert_eq!(out, "{\"a b\":[1,2],\"c\\\" d\":\" \"}");
    }
}
