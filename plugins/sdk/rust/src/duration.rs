//! Durations in configurations: a whole number and a unit, as in `500ms`, `60s`, `5m`, `1h`, `7d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Units and their milliseconds.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration.
///
/// # Errors
/// If it is not a whole number followed by one of the units, or too large.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let milliseconds = unit.and_then(|(_, of)| number.parse::<u64>().ok()?.checked_mul(*of));
    let complaint = || {
        format!(
            "\"{text}\" is not a duration: write for example \"500ms\", \"60s\", \"5m\", \"1h\""
        )
    };
    milliseconds.map(Duration::from_millis).ok_or_else(complaint)
}

/// Writes a duration in its largest unit without a remainder.
pub fn format(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let fits = |(_, of): &&(&str, u64)| milliseconds.is_multiple_of(u128::from(*of));
    let (unit, of) =
        UNITS.iter().rev().find(fits).filter(|_| milliseconds > 0).unwrap_or(&UNITS[1]);
    format!("{}{unit}", milliseconds / u128::from(*of))
}

/// For use in `deserialize_with`.
///
/// # Errors
/// As [`parse`].
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// For use in `deserialize_with` where the duration may be left out.
///
/// # Errors
/// As [`parse`].
pub fn read_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    read(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for text in ["0s", "1ms", "999ms", "60ms", "59s", "1m", "90s", "1h", "36h", "7d"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(parse("60s").unwrap()), "1m");
        assert_eq!(format(parse("0ms").unwrap()), "0s");
    }

    #[test]
    fn says_how_to_write_it() {
        for text in
            ["", "5", "s", "1.5s", "-1s", "1 s", "1w", "99999999999999999999d", "9999999999999999d"]
        {
            let complaint = parse(text).unwrap_err();
            assert!(complaint.starts_with(&format!("\"{text}\" is not a duration")), "{complaint}");
        }
    }
}
