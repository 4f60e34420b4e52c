//! JSON as text: walks over objects and arrays without making values of them.
//!
//! For plugins that need a field or two, or change some and must leave the rest exactly as it was.
//! The texts come from the host, which hands out JSON only: what is skipped is not checked, but
//! nothing here panics on other text.

use std::borrow::Cow;
use std::fmt;

use crate::escape::unescape;

pub use crate::escape::{push_escaped, push_string};

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    at: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not JSON at byte {}", self.at)
    }
}

impl std::error::Error for Malformed {}

/// The name of a member, as it stands between its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Key<'a> {
    /// A name as written between quotes.
    pub fn new(raw: &'a str) -> Self {
        Self { raw, escaped: raw.contains('\\') }
    }

    /// As written, escapes and all.
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// Whether this is the name.
    #[inline]
    pub fn is(self, name: &str) -> bool {
        if self.escaped {
            unescape(self.raw).is_some_and(|text| text == name)
        } else {
            self.raw == name
        }
    }
}

/// The members of an object, or `None` if the text is another value.
pub fn members(text: &str) -> Option<Members<'_>> {
    Walk::inside(text, b'{').map(Members)
}

/// The elements of an array, or `None` if the text is another value.
pub fn elements(text: &str) -> Option<Elements<'_>> {
    Walk::inside(text, b'[').map(Elements)
}

/// The text of a JSON string, or `None` if this is another value.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    unescape(text.strip_prefix('"')?.strip_suffix('"')?)
}

/// Walks over the members of an object; see [`members`].
#[derive(Debug, Clone)]
pub struct Members<'a>(Walk<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = Result<(Key<'a>, &'a str), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(b'}', |walk| {
            let key = walk.key()?;
            walk.expect(b':')?;
            Some((key, walk.value()?))
        })
    }
}

/// Walks over the elements of an array; see [`elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a>(Walk<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a str, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(b']', Walk::value)
    }
}

/// A place in an object or an array.
#[derive(Debug, Clone)]
struct Walk<'a> {
    text: &'a str,
    at: usize,
    first: bool,
}

impl<'a> Walk<'a> {
    fn inside(text: &'a str, bracket: u8) -> Option<Self> {
        let mut walk = Self { text, at: 0, first: true };
        walk.expect(bracket)?;
        Some(walk)
    }

    /// The next entry, or the end. After an error it is over, too.
    fn next_with<T>(
        &mut self,
        close: u8,
        entry: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Result<T, Malformed>> {
        if self.at > self.text.len() || self.peek() == Some(close) {
            return None;
        }
        let comma = self.first || self.expect(b',').is_some();
        self.first = false;
        let found = if comma { entry(self) } else { None };
        let Some(found) = found else {
            let malformed = Malformed { at: self.at };
            self.at = self.text.len() + 1;
            return Some(Err(malformed));
        };
        Some(Ok(found))
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let text = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(self.at) {
            self.at += 1;
        }
        text.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    #[inline]
    fn key(&mut self) -> Option<Key<'a>> {
        if self.peek()? != b'"' {
            return None;
        }
        let from = self.at + 1;
        let (end, escaped) = skip_string(self.text.as_bytes(), self.at)?;
        self.at = end;
        Some(Key { raw: self.text.get(from..end - 1)?, escaped })
    }

    #[inline]
    fn value(&mut self) -> Option<&'a str> {
        self.peek()?;
        let from = self.at;
        self.at = skip_value(self.text.as_bytes(), from)?;
        self.text.get(from..self.at)
    }
}

/// The one value of a text, without the white space around it.
pub(crate) fn value(text: &str) -> Option<&str> {
    Walk { text, at: 0, first: true }.value()
}

#[inline]
fn skip_value(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => skip_string(text, at).map(|(end, _)| end),
        b'{' | b'[' => skip_nested(text, at),
        _ => {
            let rest = &text[at..];
            let length = rest.iter().position(|byte| b",]} \t\n\r:".contains(byte));
            length.or(Some(rest.len())).filter(|length| *length > 0).map(|length| at + length)
        }
    }
}

fn skip_nested(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match text.get(at)? {
            b'"' => {
                (at, _) = skip_string(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// From the opening quote to behind the closing one, and whether there are escapes between. Most of
/// a payload is strings, so eight bytes at a time.
#[inline]
fn skip_string(text: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut at = at + 1;
    let mut escaped = false;
    loop {
        if let Some(eight) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let plain = first_special(u64::from_le_bytes(*eight));
            at += plain;
            if plain == 8 {
                continue;
            }
        }
        match text.get(at)? {
            b'"' => return Some((at + 1, escaped)),
            b'\\' => {
                escaped = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// Which of eight bytes is the first quote or backslash; 8 if none is.
fn first_special(eight: u64) -> usize {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    // A byte that is zero borrows into its highest bit; lower ones are exact, and only the lowest
    // counts.
    let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes & HIGHS;
    let hits = zeros(eight ^ (ONES * u64::from(b'"'))) | zeros(eight ^ (ONES * u64::from(b'\\')));
    (hits.trailing_zeros() / 8) as usize
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
