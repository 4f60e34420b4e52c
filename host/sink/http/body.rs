//! Requests from lines: which lines go together, the body, and the key by which a receiver knows a
//! request that it has seen before. Pure. Key functions: [`cut`], [`body`], [`key`].

use std::io::{self, Write as _};
use std::ops::Range;

use aws_lc_rs::digest::{Context, SHA256};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::columns::ByteLines;
use crate::config::Format;

/// The most that a request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Most {
    pub events: usize,
    /// Of the body before compression.
    pub bytes: usize,
}

/// Cuts the lines from one on into requests, the next one last. A line that is too large alone goes
/// alone.
pub(super) fn cut(lines: &ByteLines<'_>, first: usize, most: Most) -> Vec<Range<usize>> {
    let end = lines.ends.len();
    let mut parts = Vec::new();
    let mut start = first;
    for line in first + 1..end {
        if line - start >= most.events || size(lines, &(start..line + 1)) > most.bytes {
            parts.push(start..line);
            start = line;
        }
    }
    if start < end {
        parts.push(start..end);
    }
    parts.reverse();
    parts
}

/// The bytes of some lines with one more each, for a newline or a comma.
pub(super) fn size(lines: &ByteLines<'_>, part: &Range<usize>) -> usize {
    span(lines, part).len()
}

/// Where some lines, of which there is one at least, lie in the text, their newlines included.
fn span(lines: &ByteLines<'_>, part: &Range<usize>) -> Range<usize> {
    let start = part.start.checked_sub(1).map_or(0, |before| lines.ends[before] as usize + 1);
    start..lines.ends[part.end - 1] as usize + 1
}

/// The body of a request.
pub(super) fn body(lines: &ByteLines<'_>, part: &Range<usize>, format: Format) -> Vec<u8> {
    let text = &lines.bytes[span(lines, part)];
    match format {
        Format::Ndjson => text.to_vec(),
        Format::CloudEventsBatch => {
            let mut body = Vec::with_capacity(text.len() + 1);
            body.push(b'[');
            body.extend_from_slice(text);
            // A line holds no newline: what is one ends a line.
            for end in &lines.ends[part.clone()] {
                let at = *end as usize - span(lines, part).start + 1;
                body[at] = b',';
            }
            if let Some(last) = body.last_mut() {
                *last = b']';
            }
            body
        }
    }
}

/// Compresses a body.
///
/// # Errors
/// Those of the compressor, which has none for what lies in memory.
pub(super) fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// A key that is the same for the same events, whenever and however often they are posted.
pub(super) fn key(
    pipeline: &str,
    sink: &str,
    lines: &ByteLines<'_>,
    part: &Range<usize>,
) -> String {
    let mut digest = Context::new(&SHA256);
    for name in [pipeline, sink] {
        digest.update(name.as_bytes());
        digest.update(b"\n");
    }
    digest.update(&lines.bytes[span(lines, part)]);
    digest.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{ByteTexts, Span};

    fn texts(of: &[&str]) -> (ByteTexts, Vec<Span>) {
        let mut texts = ByteTexts::default();
        let mut add = |text: &&str| {
            let added = texts.append(|out| {
                out.extend_from_slice(text.as_bytes());
                Ok::<(), ()>(())
            });
            added.unwrap().0
        };
        let spans = of.iter().map(&mut add).collect();
        (texts, spans)
    }

    #[test]
    fn parts_keep_to_both_bounds_and_hold_every_line_once_in_order() {
        let all: Vec<String> = (0..50).map(|n| "x".repeat(n * 7 % 23)).collect();
        let (texts, spans) = texts(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let lines = texts.lines(spans.iter().copied());
        for (events, bytes) in
            [(1, 1_000), (7, 1_000), (1_000, 40), (3, 20), (1_000, 1), (99, 9_999)]
        {
            let mut parts = cut(&lines, 10, Most { events, bytes });
            parts.reverse();
            let held: Vec<usize> = parts.iter().cloned().flatten().collect();
            assert_eq!(held, (10..50).collect::<Vec<_>>());
            for part in parts {
                assert!(part.len() <= events, "{part:?}");
                assert!(size(&lines, &part) <= bytes || part.len() == 1, "{part:?}");
            }
        }
        assert!(cut(&texts.lines(std::iter::empty()), 0, Most { events: 1, bytes: 1 }).is_empty());
    }

    #[test]
    fn bodies_have_their_form() {
        let (texts, spans) = texts(&["{\"a\":1}", "{}", "{\"c\":3}"]);
        let lines = texts.lines(spans.iter().copied());
        let form = |part, format| String::from_utf8(body(&lines, &part, format)).unwrap();
        assert_eq!(form(0..3, Format::CloudEventsBatch), "[{\"a\":1},{},{\"c\":3}]");
        assert_eq!(form(1..2, Format::CloudEventsBatch), "[{}]");
        assert_eq!(form(1..3, Format::CloudEventsBatch), "[{},{\"c\":3}]");
        assert_eq!(form(0..3, Format::Ndjson), "{\"a\":1}\n{}\n{\"c\":3}\n");
        assert_eq!(form(1..2, Format::Ndjson), "{}\n");
    }

    #[test]
    fn a_key_tells_events_and_ways_apart_and_nothing_else() {
        let (texts, spans) = texts(&["{\"a\":1}", "{}", "{}"]);
        let all = texts.lines(spans.iter().copied());
        let tail = texts.lines(spans[1..].iter().copied());
        assert_eq!(key("p", "s", &all, &(1..3)), key("p", "s", &tail, &(0..2)));
        assert_eq!(key("p", "s", &all, &(0..1)).len(), 32);
        let keys = [
            key("p", "s", &all, &(0..3)),
            key("p", "s", &all, &(0..2)),
            key("q", "s", &all, &(0..3)),
            key("p", "t", &all, &(0..3)),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
