//! Times as people write them on a command line. Key function: [`when`].

use crate::config::units;
use crate::timestamp::{Timestamp, now_micros};

/// Reads a time, as microseconds since 1970: RFC 3339, a date or a time of day in UTC without its zone,
/// or how long ago it was.
pub(super) fn when(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if let Ok(ago) = units::duration(text) {
        let ago = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
        return Ok(now_micros().saturating_sub(ago));
    }
    let forms =
        [text.to_owned(), format!("{text}Z"), format!("{text}:00Z"), format!("{text}T00:00:00Z")];
    let read = forms.iter().find_map(|form| Timestamp::parse(&form.replacen(' ', "T", 1)));
    read.map(|time| time.micros()).ok_or_else(|| {
        format!(
            "{text:?} is not a time such as \"2026-11-21T09:30:00Z\", \"2026-11-21\", or \"2h\" for two hours ago"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let day = 1_795_219_200_000_000;
        let half_past_nine = day + 34_200_000_000;
        for (text, micros) in [
            ("2026-11-21", day),
            ("2026-11-21T09:30:00Z", half_past_nine),
            ("2026-11-21T10:30:00+01:00", half_past_nine),
            ("2026-11-21T09:30:00", half_past_nine),
            ("2026-11-21 09:30", half_past_nine),
        ] {
            assert_eq!(when(text), Ok(micros), "{text}");
        }
        let before = now_micros();
        let (read, ago) = (when("2h").unwrap(), 7_200_000_000);
        assert!((before - ago..=now_micros() - ago).contains(&read), "{read}");
        for bad in ["", "noon", "2026-13-01", "12", "-1h"] {
            assert!(when(bad).is_err(), "{bad}");
        }
    }
}
