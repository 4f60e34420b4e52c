//! The structure of JSON text by masks of 64 bytes: which member of an object has a name, and where
//! a value ends, without a look at each byte or a stop at each member. Key type: [`Name`].
//!
//! The text is the host's, which hands out JSON only. On other text the answer means nothing, but
//! nothing panics and every loop ends.

use std::ops::Range;

use crate::block::{self, Block, Look};
use crate::escape::unescape;

/// A name to look for among the members of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    text: String,
    /// Whether it may stand in the text as it is. One with a quote or the like only comes escaped.
    is_plain: bool,
}

impl Name {
    pub(crate) fn new(text: &str) -> Self {
        let is_plain = !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
        Self { text: text.into(), is_plain }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The closing quotes that may be this name's: there is an opening one where there should be,
    /// and the first byte fits. What lies in the block before is not compared.
    #[inline]
    fn ends(&self, block: &Block, quotes: u64, before: u64) -> u64 {
        let length = self.text.len() as u32;
        if !self.is_plain {
            return 0;
        }
        // Longer than a block: any quote, and the comparison of bytes decides.
        if length >= 63 {
            return quotes;
        }
        let opening = quotes << (length + 1) | before >> (63 - length);
        let ends = quotes & opening;
        match self.text.as_bytes().first() {
            Some(first) if ends != 0 => {
                ends & (block.equal(*first) << length | ((1 << length) - 1))
            }
            _ => ends,
        }
    }

    /// Whether it stands, quoted, up to the closing quote at a place.
    #[inline]
    fn is_before(&self, text: &[u8], close: usize) -> bool {
        let Some(open) = close.checked_sub(self.text.len() + 1) else { return false };
        text.get(open) == Some(&b'"')
            && text.get(open + 1..close) == Some(self.text.as_bytes())
            && !is_escaped(text, open)
    }
}

/// Members of one name, as far as they were found.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Found {
    /// Where the value of the last one begins, if there is one.
    value: usize,
    /// Where its name ends.
    close: usize,
    count: usize,
}

impl Found {
    /// Notes one, unless it is the last one again: a name that reaches over the end of a block is seen
    /// from both.
    #[inline]
    fn note(&mut self, close: usize, value: usize) {
        if value == self.value {
            return;
        }
        if value > self.value {
            (self.value, self.close) = (value, close);
        }
        self.count += 1;
    }

    /// Where the value of the last one begins.
    pub(crate) fn value(self) -> Option<usize> {
        (self.count > 0).then_some(self.value)
    }

    /// Whether there are several.
    pub(crate) fn is_repeated(self) -> bool {
        self.count > 1
    }

    /// Where the last one begins: its opening quote.
    pub(crate) fn start(self, text: &[u8]) -> usize {
        opening(text, self.close)
    }
}

/// The opening quote of the string that the quote at a place ends.
fn opening(text: &[u8], close: usize) -> usize {
    let mut open = close;
    while let Some(before) = open.checked_sub(1) {
        open = before;
        if text[open] == b'"' && !is_escaped(text, open) {
            break;
        }
    }
    open
}

/// Whether an odd number of backslashes stands before a place.
fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Finds the members of a name in an object that begins at a place and does not reach beyond `end`.
///
/// At first only two quotes at the name's distance are looked for, and how deep they lie is worked
/// out only when the name is between them.
#[inline]
pub(crate) fn member(text: &[u8], start: usize, end: usize, name: &Name) -> Found {
    let mut found = [Found::default()];
    let mut structure = Structure { base: start, ..Structure::default() };
    let mut base = start;
    let first = name.text.as_bytes().first().copied().unwrap_or(b'"');
    while name.is_plain
        && base + Block::SIZE <= end
        && let Some(look) = block::look(text, base, name.text.len(), first)
    {
        match look {
            Look::Nothing => {}
            Look::Backslash => break,
            Look::Maybe(mut opening) => {
                while opening != 0 {
                    let close = base + opening.trailing_zeros() as usize + name.text.len() + 1;
                    opening &= opening - 1;
                    if let Some(value) = structure.member(text, close, end, name) {
                        found[0].note(close, value);
                    }
                }
            }
        }
        base += Block::SIZE;
    }
    // The end of the text, or what has escapes in it.
    let before = if base == start { 0 } else { Block::at(text, base - Block::SIZE).equal(b'"') };
    let quotes = Quotes { seen: before, ..Quotes::default() };
    rest(text, base..end, quotes, &mut structure, std::iter::once(name), &mut found);
    found[0]
}

/// The same for several names in one pass.
pub(crate) fn members<'n>(
    text: &[u8],
    start: usize,
    end: usize,
    names: impl Iterator<Item = &'n Name> + Clone,
    found: &mut [Found],
) {
    let mut structure = Structure { base: start, ..Structure::default() };
    rest(text, start..end, Quotes::default(), &mut structure, names, found);
}

/// Finds members in the rest of an object, whatever escapes it has.
fn rest<'n>(
    text: &[u8],
    range: Range<usize>,
    mut quotes: Quotes,
    structure: &mut Structure,
    names: impl Iterator<Item = &'n Name> + Clone,
    found: &mut [Found],
) {
    let mut base = range.start;
    while base < range.end {
        let block = Block::at(text, base);
        let before = quotes.seen;
        let escaped = quotes.read(&block);
        if quotes.seen != 0 {
            for (name, found) in names.clone().zip(&mut *found) {
                let mut ends = name.ends(&block, quotes.seen, before);
                while ends != 0 {
                    let close = base + ends.trailing_zeros() as usize;
                    ends &= ends - 1;
                    if let Some(value) = structure.member(text, close, range.end, name) {
                        found.note(close, value);
                    }
                }
            }
            if escaped != 0 {
                escaped_members(text, base, range.end, escaped, names.clone(), found, structure);
            }
        }
        base += Block::SIZE;
    }
}

/// The same for names with escapes, which are compared by what they mean. `ends` are their closing
/// quotes, and those of values.
#[cold]
fn escaped_members<'n>(
    text: &[u8],
    base: usize,
    end: usize,
    mut ends: u64,
    names: impl Iterator<Item = &'n Name> + Clone,
    found: &mut [Found],
    structure: &mut Structure,
) {
    while ends != 0 {
        let close = base + ends.trailing_zeros() as usize;
        ends &= ends - 1;
        let Some(value) = after_colon(text, close).filter(|_| close < end) else { continue };
        if !structure.is_name(text, close) {
            continue;
        }
        let open = opening(text, close);
        let raw = text.get(open + 1..close).and_then(|raw| std::str::from_utf8(raw).ok());
        let Some(name) = raw.and_then(unescape) else { continue };
        for (sought, found) in names.clone().zip(&mut *found) {
            if sought.text == name {
                found.note(close, value);
            }
        }
    }
}

/// Where what follows the colon begins, if a colon follows the quote at a place.
#[inline]
fn after_colon(text: &[u8], close: usize) -> Option<usize> {
    let colon = skip_space(text, close + 1);
    (text.get(colon) == Some(&b':')).then(|| skip_space(text, colon + 1))
}

/// The next place that holds no white space.
#[inline]
pub(crate) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// Behind the object or array that begins at a place.
#[inline]
pub(crate) fn skip_nested(text: &[u8], at: usize) -> Option<usize> {
    let mut structure = Structure { base: at, ..Structure::default() };
    while structure.base < text.len() {
        let (opening, closing) = structure.read(text);
        // Deep enough: it cannot end here.
        if structure.depth <= closing.count_ones() as usize {
            let mut brackets = opening | closing;
            let mut depth = structure.depth;
            while brackets != 0 {
                let bit = brackets & brackets.wrapping_neg();
                brackets ^= bit;
                if opening & bit != 0 {
                    depth += 1;
                } else {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(structure.base + bit.trailing_zeros() as usize + 1);
                    }
                }
            }
        }
        structure.step(opening, closing);
    }
    None
}

/// Finds quotes that are not escaped, block after block.
#[derive(Debug, Default, Clone, Copy)]
struct Quotes {
    /// Those of the last block.
    seen: u64,
    /// Whether a backslash at the end of the last block escapes the first byte of the next.
    is_escaping: bool,
    /// Whether the last block ended in a string with escapes.
    is_open: bool,
}

impl Quotes {
    /// Looks at the next block; says which of its quotes end a string with escapes.
    #[inline]
    fn read(&mut self, block: &Block) -> u64 {
        self.seen = block.equal(b'"');
        if block.may_have(b'\\') || self.is_escaping || self.is_open {
            self.read_escapes(block.equal(b'\\'))
        } else {
            0
        }
    }

    #[inline(never)]
    fn read_escapes(&mut self, backslashes: u64) -> u64 {
        self.seen &= !self.escaped(backslashes);
        let mut ends = 0;
        let mut left = backslashes;
        if self.is_open {
            let end = self.seen & self.seen.wrapping_neg();
            ends = end;
            left &= !end.wrapping_sub(1);
            self.is_open = end == 0;
        }
        while left != 0 {
            let behind = self.seen & !(left ^ left.wrapping_sub(1));
            let end = behind & behind.wrapping_neg();
            if end == 0 {
                self.is_open = true;
                break;
            }
            ends |= end;
            left &= !(end - 1);
        }
        ends
    }

    /// The bytes that a backslash stands before that is not escaped itself. A run of backslashes is
    /// settled by a subtraction: where it ends depends on whether it began at an odd place.
    #[inline]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        let carried = u64::from(self.is_escaping);
        let starts = backslashes & !carried;
        let runs = ((starts << 1 | ODD).wrapping_sub(starts)) ^ ODD;
        self.is_escaping = runs & backslashes & 1 << 63 != 0;
        runs ^ (backslashes | carried)
    }
}

/// How deep each place of a text lies, worked out block after block as far as it is asked for.
#[derive(Debug, Default, Clone, Copy)]
struct Structure {
    /// Where the block begins that is read next.
    base: usize,
    depth: usize,
    /// All bits set within a string.
    string: u64,
    quotes: Quotes,
}

impl Structure {
    /// Where the value begins, if the quote at a place ends this name of a member.
    fn member(&mut self, text: &[u8], close: usize, end: usize, name: &Name) -> Option<usize> {
        if close >= end || !name.is_before(text, close) {
            return None;
        }
        after_colon(text, close).filter(|_| self.is_name(text, close))
    }

    /// Whether the quote at a place ends a string that lies directly in the outermost value. Places
    /// may be asked for within a block in any order, and blocks forwards only.
    #[inline]
    fn is_name(&mut self, text: &[u8], close: usize) -> bool {
        while self.base + Block::SIZE <= close {
            let (opening, closing) = self.read(text);
            self.step(opening, closing);
        }
        // Looked at, and read again when the next block is asked for.
        let here = *self;
        let (opening, closing) = self.read(text);
        let bit = 1 << (close - self.base);
        let below = bit - 1;
        let depth = (self.depth + (opening & below).count_ones() as usize)
            .wrapping_sub((closing & below).count_ones() as usize);
        // In a string up to this quote, and no more from it on.
        let quotes = self.quotes.seen & (below | bit);
        let is_end = quotes.count_ones() % 2 == u32::from(here.string != 0);
        *self = here;
        depth == 1 && is_end && quotes & bit != 0
    }

    /// The brackets of the next block that are not in strings.
    #[inline]
    fn read(&mut self, text: &[u8]) -> (u64, u64) {
        let block = Block::at(text, self.base);
        self.quotes.read(&block);
        let strings = parity(self.quotes.seen) ^ self.string;
        self.string = 0u64.wrapping_sub(strings >> 63);
        (block.equal_folded(b'{') & !strings, block.equal_folded(b'}') & !strings)
    }

    #[inline]
    fn step(&mut self, opening: u64, closing: u64) {
        self.depth += opening.count_ones() as usize;
        self.depth = self.depth.saturating_sub(closing.count_ones() as usize);
        self.base += Block::SIZE;
    }
}

/// Each bit: whether the number of bits set up to it is odd.
#[inline]
fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}
