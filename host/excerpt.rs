//! What others said and what went wrong, fit for one line of a log. Pure. Key functions:
//! [`excerpt`], [`causes`].

/// Most characters of what somebody said.
const MAX_CHARS: usize = 300;
/// Most bytes of it that are looked at.
const MAX_BYTES: usize = 4096;

/// The beginning of what a server said, on one line, without what a terminal would act on.
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_BYTES)]);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !is_unseen(*c)).take(MAX_CHARS).collect()
}

/// Characters that are not seen but change what is: control characters, and marks of direction.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// An error with its causes on one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_harmless_short_line() {
        assert_eq!(excerpt(b" not\r\n\tfound \x1b[31mred\0 "), "not found [31mred");
        assert_eq!(excerpt("a\u{202e}b\u{feff}".as_bytes()), "ab");
        assert_eq!(excerpt(&[0xff, b'a']), "\u{fffd}a");
        assert_eq!(excerpt(&vec![b'x'; 1 << 20]).len(), MAX_CHARS);
    }
}
