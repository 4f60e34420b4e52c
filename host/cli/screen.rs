//! What a terminal can do: colour, and how wide it is. Key type: [`Paint`].

use std::ops::Range;

use crate::config;

/// Puts colour on words, where there is a terminal and the user does not mind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    /// For an output that is a terminal, or is not.
    pub fn new(is_terminal: bool) -> Self {
        Paint(is_terminal && !config::no_color())
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub fn blue(self, text: &str) -> String {
        self.with("36", text)
    }
}

/// Columns of the terminal that standard output is; `None` where it is none.
pub(super) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Columns that a text takes, near enough: what stands beyond the alphabets takes two.
pub(super) fn columns(text: &str) -> usize {
    text.chars()
        .map(|c| if u32::from(c) >= 0x1100 && c != '…' && c != '\u{fffd}' { 2 } else { 1 })
        .sum()
}

/// A number as people read it: `12,345`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time that has passed, in two units at the most: `3 d 4 h`, `12.3 s`.
pub(super) fn span(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0..60 => format!("{:.1} s", micros as f64 / 1e6),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `1 stream`, `2,000 streams`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(count as u64), if count == 1 { "" } else { "s" })
}

/// Records of a log by their numbers, which are as commands take them: `record 5`, `records 5 to 7`.
pub(super) fn records(seqs: &Range<u64>) -> String {
    match seqs.end - seqs.start {
        1 => format!("record {}", seqs.start),
        _ => format!("records {} to {}", seqs.start, seqs.end.saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [400_000, 61_000_000, 3_600_000_000, 90_000_000_000].map(span),
            ["0.4 s", "1 min 1 s", "1 h 0 min", "1 d 1 h"]
        );
        assert_eq!((columns("aé…"), columns("日本")), (3, 4));
        assert_eq!([0, 1, 40_000].map(|n| counted(n, "gap")), ["0 gaps", "1 gap", "40,000 gaps"]);
        assert_eq!([&(5..6), &(5..8)].map(records), ["record 5", "records 5 to 7"]);
    }
}
