//! Sizes and durations as people write them: `64MiB`, `250ms`. Pure.

use std::time::Duration;

const SIZES: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

const DURATIONS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("min", 60_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a size in bytes.
///
/// # Errors
/// What is wrong, with an example.
pub fn size(text: &str) -> Result<u64, String> {
    quantity(text, SIZES).ok_or_else(|| format!("{text:?} is not a size such as \"64MiB\""))
}

/// Reads a duration.
///
/// # Errors
/// What is wrong, with an example.
pub fn duration(text: &str) -> Result<Duration, String> {
    let millis = quantity(text, DURATIONS);
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a duration such as \"500ms\" or \"5m\""))
}

/// A size as people write it, in the largest unit that it has one of: `8 GiB`, `3.1 GiB`.
pub fn size_text(bytes: u64) -> String {
    let units = SIZES.iter().filter(|(name, factor)| name.ends_with("iB") && *factor <= bytes);
    let Some((name, factor)) = units.max_by_key(|(_, factor)| *factor) else {
        return format!("{bytes} B");
    };
    match bytes.is_multiple_of(*factor) {
        true => format!("{} {name}", bytes / factor),
        false => format!("{:.1} {name}", bytes as f64 / *factor as f64),
    }
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit.trim())?.1;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let scaled = number.parse::<f64>().ok()? * factor as f64;
    // Beyond 2^53 a fraction is no longer exact, and nobody means that.
    (scaled < 9e15).then_some(scaled.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1.5 KiB"), Ok(1536));
        assert_eq!(size("0B"), Ok(0));
        let sizes = [7, 1 << 10, 1 << 33, 3_328_599_654].map(size_text);
        assert_eq!(sizes, ["7 B", "1 KiB", "8 GiB", "3.1 GiB"]);
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        for bad in ["", "64", "MiB", "-1s", "1 parsec", "99999999999999999999GiB", "1..5s"] {
            assert!(size(bad).is_err() && duration(bad).is_err(), "{bad}");
        }
    }
}
