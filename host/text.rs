//! Writing JSON text by hand: strings and whole numbers, straight into the batch's one text. Pure; knows
//! nothing of events. Key function: [`push_json_string`].

use crate::copy::push_plain;

/// What text can be appended to: a `String`, or bytes that become one when all is written, which spares
/// looking at each piece.
pub trait Append {
    /// Appends a text.
    fn text(&mut self, text: &str);
    /// Appends ASCII characters.
    fn ascii(&mut self, bytes: &[u8]);
}

impl Append for String {
    #[inline]
    fn text(&mut self, text: &str) {
        self.push_str(text);
    }

    fn ascii(&mut self, bytes: &[u8]) {
        self.extend(bytes.iter().map(|byte| char::from(byte & 0x7f)));
    }
}

impl Append for Vec<u8> {
    #[inline]
    fn text(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }

    #[inline]
    fn ascii(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Two digits for each number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// The last two digits of a number.
#[inline]
pub(crate) fn pair(value: u32) -> &'static [u8; 2] {
    &PAIRS[value as usize % 100]
}

/// Appends a whole number.
#[inline]
pub fn push_u64(out: &mut impl Append, value: u64) {
    push_digits(out, false, value);
}

/// Appends a whole number with its sign.
#[inline]
pub fn push_i64(out: &mut impl Append, value: i64) {
    push_digits(out, value < 0, value.unsigned_abs());
}

fn push_digits(out: &mut impl Append, is_negative: bool, mut value: u64) {
    let mut text = [0; 22];
    let mut at = text.len();
    while value >= 100 {
        at -= 2;
        text[at..at + 2].copy_from_slice(pair((value % 100) as u32));
        value /= 100;
    }
    let [tens, ones] = *pair(value as u32);
    at -= 1;
    text[at] = ones;
    if value >= 10 {
        at -= 1;
        text[at] = tens;
    }
    if is_negative {
        at -= 1;
        text[at] = b'-';
    }
    out.ascii(&text[at..]);
}

/// Appends a JSON string, quotes included. Escapes only what JSON demands, so no raw newline is left.
#[inline]
pub fn push_json_string(out: &mut impl Append, text: &str) {
    out.text("\"");
    if has_escaped(text.as_bytes()) {
        push_escaped(out, text);
    } else {
        out.text(text);
    }
    out.text("\"");
}

/// Appends a JSON string as [`push_json_string`]; `None` if the bytes are not UTF-8.
#[inline]
pub fn push_json_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    if !push_plain(out, bytes) {
        push_json_string(out, std::str::from_utf8(bytes).ok()?);
    }
    Some(())
}

#[cold]
fn push_escaped(out: &mut impl Append, text: &str) {
    let mut done = 0;
    for (at, byte) in text.bytes().enumerate() {
        if is_escaped(byte) {
            out.text(&text[done..at]);
            push_escape(out, byte);
            done = at + 1;
        }
    }
    out.text(&text[done..]);
}

fn push_escape(out: &mut impl Append, byte: u8) {
    match byte {
        b'"' => out.text("\\\""),
        b'\\' => out.text("\\\\"),
        b'\n' => out.text("\\n"),
        b'\r' => out.text("\\r"),
        b'\t' => out.text("\\t"),
        0x08 => out.text("\\b"),
        0x0c => out.text("\\f"),
        _ => out.text(&format!("\\u{byte:04x}")),
    }
}

const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether there is a byte that JSON wants escaped. Looks at eight bytes at once, at some of them twice rather
/// than at any by itself.
#[inline]
fn has_escaped(bytes: &[u8]) -> bool {
    let odd = match bytes.len() {
        0..4 => odd_of(bytes.iter().fold(SPACES, |word, byte| word << 8 | u64::from(*byte))),
        4..8 => match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => {
                let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
                odd_of(u64::from(first) << 32 | u64::from(last))
            }
            _ => 0,
        },
        _ => {
            let (chunks, _) = bytes.as_chunks::<8>();
            let last = bytes.last_chunk::<8>();
            let words = chunks.iter().chain(last).map(|chunk| u64::from_le_bytes(*chunk));
            words.fold(0, |odd, word| odd | odd_of(word))
        }
    };
    odd != 0
}

/// Whether two byte strings are equal. For the short ones of events this is several times as fast as the
/// comparison of the C library, which `==` calls.
#[inline]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let (Some(last), Some(other_last)) = (one.last_chunk::<8>(), other.last_chunk::<8>()) else {
        return one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other)) == 0;
    };
    let (words, _) = one.as_chunks::<8>();
    let (other_words, _) = other.as_chunks::<8>();
    let differ =
        |one: &[u8; 8], other: &[u8; 8]| u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
    let all = words.iter().zip(other_words).fold(0, |all, (one, other)| all | differ(one, other));
    all | differ(last, other_last) == 0
}

const ONES: u64 = u64::MAX / 0xff;
const SPACES: u64 = ONES * 0x20;

/// Not zero if one of eight bytes is odd: the usual arithmetic on all bytes of a word, in which a byte
/// below `n` borrows from its highest bit when `n` is taken from it.
#[inline]
const fn odd_of(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(SPACES) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & (ONES * 0x80)
}

/// Behind the closing quote of a string, from a place in it that is not escaped. Looks at eight bytes at once.
#[inline]
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    loop {
        while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*chunk);
            let quote = word ^ (ONES * u64::from(b'"'));
            let backslash = word ^ (ONES * u64::from(b'\\'));
            let special =
                (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
            // The lowest bit is right, those above may be carried.
            let place = (special & (ONES * 0x80)).trailing_zeros() as usize / 8;
            at += place;
            if place < 8 {
                break;
            }
        }
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return bytes.len(),
        }
    }
}

/// Appends JSON that may be spread over lines as one compact line. `json` must be valid JSON.
pub fn push_compact_json(out: &mut impl Append, json: &str) {
    let bytes = json.as_bytes();
    let (mut at, mut done) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at + 1),
            b' ' | b'\n' | b'\r' | b'\t' => {
                out.text(&json[done..at]);
                at += 1;
                done = at;
            }
            _ => at += 1,
        }
    }
    out.text(&json[done..]);
}

/// How deep arrays and objects may lie in each other. Most readers give up somewhere above (serde_json
/// at 128), and the line and a request around it take some of that.
pub const MAX_JSON_DEPTH: usize = 100;

/// Whether a text is one JSON value, and not nested deeper than readers take it.
pub fn is_json(text: &str) -> bool {
    is_shallow(text.as_bytes()) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Whether a text, if it is JSON at all, is nested no deeper than [`MAX_JSON_DEPTH`].
fn is_shallow(text: &[u8]) -> bool {
    // Hardly ever more: then there is no need to tell brackets in strings from others.
    if memchr::memchr2_iter(b'[', b'{', text).nth(MAX_JSON_DEPTH).is_none() {
        return true;
    }
    let (mut depth, mut is_in_string) = (0, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_in_string = !is_in_string,
            b'\\' if is_in_string => drop(bytes.next()),
            b'[' | b'{' if !is_in_string => depth += 1,
            b']' | b'}' if !is_in_string => depth -= 1,
            _ => {}
        }
        if depth > MAX_JSON_DEPTH as i64 {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_no_deeper_than_readers_take_it() {
        let deep = |levels: usize| "[{\"a\":".repeat(levels / 2) + "1" + &"}]".repeat(levels / 2);
        assert!(is_json(&deep(MAX_JSON_DEPTH)));
        assert!(!is_json(&deep(MAX_JSON_DEPTH + 2)) && !is_json(&deep(1_000_000)));
        assert!(is_json(&format!("[{}]", vec!["[]"; 1_000].join(","))), "wide is not deep");
        assert!(is_json(&format!("[\"{}\\\"{}\"]", "[".repeat(500), "{".repeat(500))));
        assert!(!is_json("[\"") && !is_json("]]") && !is_json(""));
    }

    #[test]
    fn strings_are_escaped_as_serde_json_does() {
        let escaped = |text: &str| {
            let mut out = String::new();
            push_json_string(&mut out, text);
            assert_eq!(out, serde_json::to_string(text).unwrap());
            let mut bytes = Vec::new();
            push_json_bytes(&mut bytes, text.as_bytes()).unwrap();
            assert_eq!(bytes, out.as_bytes());
        };
        assert!(push_json_bytes(&mut Vec::new(), b"\xff").is_none());
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
    fn bytes_are_the_same_only_if_they_are() {
        let bytes: Vec<u8> = (0..80).collect();
        for length in 0..80 {
            assert!(is_same(&bytes[..length], &bytes.clone()[..length]));
            assert!(!is_same(&bytes[..length], &bytes[..length + 1]));
            for at in 0..length {
                let mut other = bytes[..length].to_vec();
                other[at] ^= 0x80;
                assert!(!is_same(&bytes[..length], &other), "{at} of {length}");
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
        // Escapes and the ends of strings at every place of eight bytes, beside characters of several.
        for (length, text) in (0..40).flat_map(|length| {
            ["\\\" ", "\\\\", "\u{e9} \u{1f600}", "\\u0041 "].map(|text| (length, text))
        }) {
            let string = format!("\"{}{text}{}\"", "x ".repeat(length / 2), "y".repeat(length % 9));
            let (mut out, compact) = (String::new(), format!("{{{string}:[{string},-1]}}"));
            push_compact_json(&mut out, &format!(" {{ {string}: [{string}\t,\r -1 ]}} "));
            assert_eq!(out, compact);
            out.clear();
            push_compact_json(&mut out, &compact);
            assert_eq!(out, compact);
        }
    }
}
