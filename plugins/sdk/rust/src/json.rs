//! JSON as text: walks over objects and arrays without making values of them.
//!
//! For plugins that need a field or two, or change some and must leave the rest exactly as it was.
//! The texts come from the host, which hands out JSON only: what is skipped is not checked, but
//! nothing here panics on other text.

use std::borrow::Cow;
use std::fmt;

use crate::block::to_special;
use crate::escape::unescape;
use crate::scan::{skip_nested, skip_space};

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
        self.at = skip_space(text, self.at);
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

/// Where the first element of the array begins that begins at a place.
pub(crate) fn first_element(text: &[u8], start: usize) -> Option<usize> {
    let at = skip_space(text, start + 1);
    (*text.get(at)? != b']').then_some(at)
}

/// Where the element begins that follows the one that begins at a place.
pub(crate) fn next_element(text: &[u8], element: usize) -> Option<usize> {
    let at = skip_space(text, skip_value(text, element)?);
    (*text.get(at)? == b',').then(|| skip_space(text, at + 1))
}

/// Behind the value that begins at a place.
#[inline]
pub(crate) fn skip_value(text: &[u8], at: usize) -> Option<usize> {
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

/// From the opening quote to behind the closing one, and whether there are escapes between.
#[inline]
fn skip_string(text: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut at = at + 1;
    let mut escaped = false;
    loop {
        at += to_special(text, at);
        match text.get(at)? {
            b'"' => return Some((at + 1, escaped)),
            _ => {
                escaped = true;
                at += 2;
            }
        }
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
