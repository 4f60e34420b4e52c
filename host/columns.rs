//! Events as columns, the shape in which they cross to a plugin: borrowed from the batch wherever
//! its texts already lie one after the other. Pure data. Key type: [`Columns`].

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;

/// A range of bytes within one of a batch's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

impl Span {
    /// As a range to index with.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Whether it holds nothing.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Which columns somebody wants; `types` is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields(u8);

impl Fields {
    /// None of them.
    pub const NONE: Fields = Fields(0);
    /// CloudEvents `source`.
    pub const SOURCES: Fields = Fields(1);
    /// CloudEvents `time`.
    pub const TIMES: Fields = Fields(2);
    /// CloudEvents `id`.
    pub const IDS: Fields = Fields(4);
    /// CloudEvents `subject`.
    pub const SUBJECTS: Fields = Fields(8);
    /// The payload as JSON.
    pub const DATA: Fields = Fields(16);
    /// All other attributes.
    pub const ATTRIBUTES: Fields = Fields(32);
    /// The whole event as a line.
    pub const WHOLE: Fields = Fields(64);
    /// The payload as received.
    pub const RAW: Fields = Fields(128);

    /// Whether all of `other` are in it.
    pub fn has(self, other: Fields) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Fields) -> Fields {
        Fields(self.0 | other.0)
    }
}

/// Events as columns: entry `i` of each belongs to event `i`. What is not wanted is `None`.
#[derive(Debug, Default)]
pub struct Columns<'a> {
    /// CloudEvents `type`; the length of its index is the number of events.
    pub types: Dictionary<'a>,
    /// CloudEvents `source`.
    pub sources: Option<Dictionary<'a>>,
    /// CloudEvents `time` in microseconds since 1970 UTC, 0 for none.
    pub times: Option<Vec<u64>>,
    /// CloudEvents `id`.
    pub ids: Option<Lines<'a>>,
    /// CloudEvents `subject`, empty for none.
    pub subjects: Option<Lines<'a>>,
    /// The payload as JSON, empty for none.
    pub data: Option<Lines<'a>>,
    /// All other attributes as one JSON object.
    pub attributes: Option<Lines<'a>>,
    /// The event as one line.
    pub whole: Option<Lines<'a>>,
    /// The payload as received.
    pub raw: Option<Blobs>,
}

impl Columns<'_> {
    /// The number of events.
    pub fn len(&self) -> usize {
        self.types.index.len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One text per event, each followed by one newline that is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines<'a> {
    /// The texts with their newlines.
    pub text: Cow<'a, str>,
    /// Where each text ends, in bytes, its newline not counted.
    pub ends: Vec<u32>,
}

/// The same where nobody needs to be sure that it is text: JSON on its way to a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteLines<'a> {
    /// The lines with their newlines.
    pub bytes: Cow<'a, [u8]>,
    /// Where each line ends, its newline not counted.
    pub ends: Vec<u32>,
}

impl<'a> ByteLines<'a> {
    /// As text, which it is.
    pub fn into_text(self) -> Lines<'a> {
        let text = match self.bytes {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        };
        Lines { text, ends: self.ends }
    }
}

/// One of few texts per event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dictionary<'a> {
    /// Each text that occurs, once.
    pub values: Vec<&'a str>,
    /// For each event, where in `values` its text is.
    pub index: Vec<u16>,
}

/// One byte string per event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blobs {
    /// The byte strings one after the other.
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<u32>,
}

/// Texts of one kind, one after the other, each followed by a newline.
#[derive(Debug, Default)]
pub struct Texts {
    text: String,
    has_inner_newline: bool,
}

impl Texts {
    /// Adds a text.
    #[inline]
    pub fn push(&mut self, text: &str) -> Span {
        self.has_inner_newline |= memchr::memchr(b'\n', text.as_bytes()).is_some();
        self.add(|out| out.push_str(text))
    }

    /// Adds compact JSON, which has no newline in it.
    #[inline]
    pub fn push_json(&mut self, text: &str) -> Span {
        self.push_with(|out| out.push_str(text))
    }

    /// Adds the compact JSON that `write` appends.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut String)) -> Span {
        let span = self.add(write);
        debug_assert!(!self.get(span).contains('\n'), "JSON of more than a line");
        span
    }

    #[inline]
    fn add(&mut self, write: impl FnOnce(&mut String)) -> Span {
        let start = self.text.len();
        write(&mut self.text);
        let end = self.text.len();
        self.text.push('\n');
        // Batches are capped far below 4 GiB.
        Span { start: start as u32, end: end as u32 }
    }

    /// Empties it, for the next batch.
    pub fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_TEXT);
        self.has_inner_newline = false;
    }

    /// The text of a span.
    pub fn get(&self, span: Span) -> &str {
        &self.text[span.range()]
    }

    /// The texts of some spans as a column. Borrowed where they follow each other; a newline inside
    /// a text (an id may hold one) becomes U+FFFD, for in a column it would be read as two.
    pub fn lines(&self, spans: impl Iterator<Item = Span> + Clone) -> Lines<'_> {
        if !self.has_inner_newline
            && let Some((all, ends)) = neighbours(spans.clone())
        {
            return Lines { text: Cow::Borrowed(&self.text[all.range()]), ends };
        }
        let mut text = String::new();
        let mut ends = Vec::with_capacity(spans.size_hint().0);
        for span in spans {
            let entry = self.get(span);
            if self.has_inner_newline && entry.contains('\n') {
                text.push_str(&entry.replace('\n', "\u{fffd}"));
            } else {
                text.push_str(entry);
            }
            ends.push(text.len() as u32);
            text.push('\n');
        }
        Lines { text: Cow::Owned(text), ends }
    }
}

/// Where texts that follow each other lie, newlines included, and where in that each ends.
fn neighbours(spans: impl Iterator<Item = Span> + Clone) -> Option<(Span, Vec<u32>)> {
    let base = spans.clone().next()?.start;
    let mut next = base;
    let mut ends = Vec::with_capacity(spans.size_hint().0);
    for span in spans {
        if span.start != next {
            return None;
        }
        ends.push(span.end - base);
        next = span.end + 1;
    }
    Some((Span { start: base, end: next }, ends))
}

/// Lines of JSON, one after the other, each followed by a newline. They are written where they stay.
#[derive(Debug, Default)]
pub struct ByteTexts {
    bytes: Vec<u8>,
}

impl ByteTexts {
    /// Adds the line that `write` appends; what it appended before an error is taken back. It must be UTF-8
    /// without a newline.
    ///
    /// # Errors
    /// That of `write`.
    #[inline]
    pub fn append<T, E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<(Span, T), E> {
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        if written.is_err() {
            self.bytes.truncate(start);
        }
        let written = written?;
        debug_assert!(
            memchr::memchr(b'\n', &self.bytes[start..]).is_none(),
            "JSON of more than a line"
        );
        let end = self.bytes.len();
        self.bytes.push(b'\n');
        // Batches are capped far below 4 GiB.
        Ok((Span { start: start as u32, end: end as u32 }, written))
    }

    /// Empties it, for the next batch.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_TEXT);
    }

    /// The bytes of a span.
    pub fn get(&self, span: Span) -> &[u8] {
        &self.bytes[span.range()]
    }

    /// Some lines as a column, borrowed where they follow each other.
    pub fn lines(&self, spans: impl Iterator<Item = Span> + Clone) -> ByteLines<'_> {
        if let Some((all, ends)) = neighbours(spans.clone()) {
            return ByteLines { bytes: Cow::Borrowed(self.get(all)), ends };
        }
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(spans.size_hint().0);
        for span in spans {
            bytes.extend_from_slice(self.get(span));
            ends.push(bytes.len() as u32);
            bytes.push(b'\n');
        }
        ByteLines { bytes: Cow::Owned(bytes), ends }
    }
}

/// Each text that occurs, once, by number.
#[derive(Debug, Default)]
pub struct Names {
    values: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32, RandomState>,
    last: u32,
}

/// So many names are kept for the next batch.
const KEPT_NAMES: usize = 256;
/// So much room is kept for the next batch, in bytes.
const KEPT_TEXT: usize = 1 << 20;

impl Names {
    /// The number of a text, new if it was not seen before.
    #[inline]
    pub fn number(&mut self, text: &str) -> u32 {
        // Neighbouring events are mostly of one kind.
        if self.values.get(self.last as usize).is_some_and(|last| **last == *text) {
            return self.last;
        }
        self.last = self.look_up(text);
        self.last
    }

    fn look_up(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.values.len() as u32;
        self.values.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    /// Forgets the names if they have become many; whether it did. Numbers given before are void then.
    pub fn forget_many(&mut self) -> bool {
        let are_many = self.values.len() > KEPT_NAMES;
        if are_many {
            *self = Names::default();
        }
        are_many
    }

    /// The text of a number.
    #[inline]
    pub fn get(&self, number: u32) -> &str {
        &self.values[number as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The texts of some events as a dictionary that holds no other. At most 65,536 events.
    pub fn dictionary(&self, numbers: impl Iterator<Item = u32>) -> Dictionary<'_> {
        let mut places = vec![u16::MAX; self.values.len()];
        let mut seen = vec![false; self.values.len()];
        let mut dictionary = Dictionary::default();
        dictionary.index.reserve(numbers.size_hint().0);
        for number in numbers {
            let number = number as usize;
            if !seen[number] {
                seen[number] = true;
                places[number] = dictionary.values.len() as u16;
                dictionary.values.push(&self.values[number]);
            }
            dictionary.index.push(places[number]);
        }
        dictionary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_borrowed_and_others_copied() {
        let mut texts = Texts::default();
        let spans: Vec<_> = ["a", "", "ccc"].iter().map(|t| texts.push(t)).collect();
        let all = texts.lines(spans.iter().copied());
        assert_eq!((&*all.text, &all.ends[..]), ("a\n\nccc\n", &[1, 2, 6][..]));
        assert!(matches!(all.text, Cow::Borrowed(_)));
        let tail = texts.lines(spans[1..].iter().copied());
        assert_eq!((&*tail.text, &tail.ends[..]), ("\nccc\n", &[0, 4][..]));
        let some = texts.lines([spans[0], spans[2]].into_iter());
        assert_eq!((&*some.text, &some.ends[..]), ("a\nccc\n", &[1, 5][..]));
        assert!(matches!(some.text, Cow::Owned(_)));
    }

    #[test]
    fn a_newline_inside_a_text_does_not_make_two() {
        let mut texts = Texts::default();
        let spans = [texts.push("a\nb"), texts.push("c")];
        assert_eq!(texts.lines(spans.into_iter()).text, "a\u{fffd}b\nc\n");
        assert_eq!(texts.get(spans[0]), "a\nb");
    }

    #[test]
    fn lines_of_bytes_are_as_those_of_text_and_broken_ones_are_taken_back() {
        let mut lines = ByteTexts::default();
        let mut spans = Vec::new();
        for (text, is_good) in
            [("{}", true), ("{\"half", false), ("[\"\u{e9}\"]", true), ("1", true)]
        {
            let added = lines.append(|out| {
                out.extend_from_slice(text.as_bytes());
                if is_good { Ok(out.len()) } else { Err(text) }
            });
            match added {
                Ok((span, length)) => {
                    assert_eq!((lines.get(span), span.end as usize), (text.as_bytes(), length));
                    spans.push(span);
                }
                Err(error) => assert_eq!(error, text),
            }
        }
        let all = lines.lines(spans.iter().copied());
        assert!(matches!(all.bytes, Cow::Borrowed(_)));
        assert_eq!((&*all.into_text().text, spans.len()), ("{}\n[\"\u{e9}\"]\n1\n", 3));
        let some = lines.lines([spans[0], spans[2]].into_iter());
        assert!(matches!(some.bytes, Cow::Owned(_)));
        assert_eq!((&*some.bytes, &some.ends[..]), (&b"{}\n1\n"[..], &[2, 4][..]));
        assert_eq!(some.into_text().text, "{}\n1\n");
        assert_eq!(lines.lines(std::iter::empty()).bytes.len(), 0);
    }

    #[test]
    fn a_dictionary_holds_only_what_occurs() {
        let mut names = Names::default();
        let numbers: Vec<_> = ["x", "y", "z", "y"].iter().map(|t| names.number(t)).collect();
        let dictionary = names.dictionary(numbers[1..].iter().copied());
        assert_eq!(dictionary.values, ["y", "z"]);
        assert_eq!(dictionary.index, [0, 1, 0]);
    }
}
