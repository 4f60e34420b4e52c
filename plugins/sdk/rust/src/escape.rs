//! JSON strings: escapes made and undone. What plugins need of it is offered by `json`.

use std::borrow::Cow;

/// Appends a text as a JSON string.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends a text as it stands inside a JSON string, without the quotes.
pub fn push_escaped(out: &mut String, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        // Only ASCII is ever cut at, so both sides are whole characters.
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => out.push_str(&format!("\\u{byte:04x}")),
        }
    }
    out.push_str(&text[from..]);
}

/// The text between the quotes of a JSON string with its escapes undone.
pub(crate) fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('\\') {
        return Some(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let (character, after) = unescape_one(escape)?;
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

/// What one escape, its backslash taken off, stands for, and what follows it.
fn unescape_one(escape: &str) -> Option<(char, &str)> {
    let character = match escape.bytes().next()? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unescape_unicode(&escape[1..]),
        _ => return None,
    };
    Some((character, &escape[1..]))
}

fn unescape_unicode(digits: &str) -> Option<(char, &str)> {
    let (high, rest) = unit(digits)?;
    if !(0xD800..0xDC00).contains(&high) {
        return Some((char::from_u32(high)?, rest));
    }
    let (low, rest) = unit(rest.strip_prefix("\\u")?)?;
    let low = low.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
    Some((char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + low)?, rest))
}

fn unit(digits: &str) -> Option<(u32, &str)> {
    let hex = digits.get(..4).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    Some((u32::from_str_radix(hex, 16).ok()?, &digits[4..]))
}
