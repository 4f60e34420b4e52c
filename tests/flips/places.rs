//! Where a bit can flip in the segments of a log: each byte of them told apart, by the format as it is
//! written down in docs/journal-format.md and without the host's own code. Key types: [`Map`], [`Place`].

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use rand::RngExt as _;
use rand::rngs::StdRng;

const BLOCK: usize = 4096;
const HEAD: usize = 32;
const MARK: usize = 64;

/// What a byte is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A copy of a segment's header.
    Header,
    /// A mark that begins a group, or says that the log is idle.
    Mark,
    /// The mark of a log that was closed in order.
    Close,
    /// What stands before a payload.
    Head,
    Payload,
    /// A record that stands in the next segment, too, and counts there.
    Twice,
    /// Between records, and in a header's block.
    Padding,
    /// After the end.
    Free,
    /// A file that was made ahead.
    Spare,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Part::Header => "header",
            Part::Mark => "mark",
            Part::Close => "closing mark",
            Part::Head => "head of a record",
            Part::Payload => "payload",
            Part::Twice => "superseded",
            Part::Padding => "padding",
            Part::Free => "after the end",
            Part::Spare => "spare file",
        })
    }
}

/// One bit of a log.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    pub offset: usize,
    pub bit: u8,
    pub part: Part,
    /// The record that it is part of, and that cannot be had without it.
    pub seq: Option<u64>,
}

/// A stretch of a file.
struct Span {
    file: String,
    bytes: Range<usize>,
    part: Part,
    seq: Option<u64>,
}

/// All that there is of a log.
pub struct Map {
    spans: BTreeMap<Part, Vec<Span>>,
    /// The oldest first.
    pub segments: Vec<Segment>,
}

/// A segment's file.
#[derive(Debug, Clone)]
pub struct Segment {
    pub name: String,
    /// Records that are nowhere else.
    pub own: Range<u64>,
    /// Its first record.
    pub begins: u64,
    /// Where what stands in it ends, superseded or not.
    end: u64,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl Map {
    /// Of the files of a directory, by name.
    pub fn new(files: &BTreeMap<String, Vec<u8>>) -> Map {
        let mut map = Map { spans: BTreeMap::new(), segments: Vec::new() };
        let is_segment = |name: &&String| name.ends_with(".seg");
        let names: Vec<&String> = files.keys().filter(is_segment).collect();
        for (at, name) in names.iter().enumerate() {
            let next = names.get(at + 1).map_or(u64::MAX, |next| number(&files[*next], 32));
            map.segment(name, &files[*name], next);
        }
        for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".spare")) {
            map.add(name, 0..bytes.len(), Part::Spare, None);
        }
        map
    }

    fn add(&mut self, file: &str, bytes: Range<usize>, part: Part, seq: Option<u64>) {
        if !bytes.is_empty() {
            let file = file.to_owned();
            self.spans.entry(part).or_default().push(Span { file, bytes, part, seq });
        }
    }

    fn segment(&mut self, name: &str, bytes: &[u8], next: u64) {
        assert_eq!(&bytes[..8], b"trommel^", "{name}");
        let end = bytes.len() - BLOCK;
        for block in [0, end] {
            self.add(name, block..block + 60, Part::Header, None);
            self.add(name, block + 60..block + BLOCK, Part::Padding, None);
        }
        let first = number(bytes, 32);
        let (salt, mut at, mut seq) = (&bytes[24..32], BLOCK, first);
        while let Some((kind, tag, len)) = piece(&bytes[at..end], salt) {
            if kind == 0xd2 {
                let part = if tag == 2 { Part::Close } else { Part::Mark };
                self.add(name, at..at + MARK, part, None);
                at += MARK;
                continue;
            }
            seq = number(bytes, at + 16);
            let body = at + HEAD;
            if seq < next {
                self.add(name, at..body, Part::Head, Some(seq));
                self.add(name, body..body + len, Part::Payload, Some(seq));
            } else {
                self.add(name, at..body + len, Part::Twice, None);
            }
            at = (body + len).next_multiple_of(8);
            self.add(name, body + len..at, Part::Padding, None);
            seq += 1;
        }
        self.add(name, at..end, Part::Free, None);
        // What the one before has, too, it has first.
        let twice = self.segments.last().map_or(first, |before| before.end.max(first));
        let own = twice..seq.min(next);
        self.segments.push(Segment { name: name.to_owned(), own, begins: first, end: seq });
    }

    /// Whether all that is written of the last segment is certified by a mark behind it.
    pub fn ends_in_a_mark(&self) -> bool {
        let Some(last) = self.segments.last() else { return false };
        let spans = self.spans.values().flatten().filter(|span| span.file == last.name);
        let used =
            spans.filter(|span| matches!(span.part, Part::Mark | Part::Close | Part::Payload));
        let last = used.max_by_key(|span| span.bytes.end);
        last.is_some_and(|span| span.part != Part::Payload)
    }

    /// Some bit. Half of them are anywhere in what is written, the others in each kind of part alike.
    pub fn some(&self, rng: &mut StdRng) -> Place {
        let span = if rng.random_bool(0.5) {
            let used = |span: &&Span| !matches!(span.part, Part::Free | Part::Spare);
            let spans = || self.spans.values().flatten().filter(used);
            let mut at = rng.random_range(0..spans().map(|span| span.bytes.len()).sum());
            let found = spans().find(|span| {
                let is_here = at < span.bytes.len();
                at -= if is_here { 0 } else { span.bytes.len() };
                is_here
            });
            found.unwrap()
        } else {
            let parts: Vec<&Vec<Span>> = self.spans.values().collect();
            let spans = parts[rng.random_range(0..parts.len())];
            &spans[rng.random_range(0..spans.len())]
        };
        Place {
            file: span.file.clone(),
            offset: rng.random_range(span.bytes.clone()),
            bit: rng.random_range(0..8),
            part: span.part,
            seq: span.seq,
        }
    }
}

/// Kind, tag and length of a piece that is good.
fn piece(bytes: &[u8], salt: &[u8]) -> Option<(u8, u32, usize)> {
    let begins = bytes.len() > HEAD && (0..3).all(|i| bytes[i] == salt[i] | 0x80);
    if !begins {
        return None;
    }
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (kind, len) = (bytes[3], word(8) as usize);
    let mut hasher = crc32fast::Hasher::new_with_initial(crc32fast::hash(salt));
    hasher.update(bytes.get(8..HEAD + len)?);
    (word(4) == hasher.finalize() ^ u32::from(kind)).then_some((kind, word(12), len))
}
