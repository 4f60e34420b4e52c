//! Frames as records: what kind, of which source and stream, then the bytes as received. Each record
//! says all of it, so that none depends on another. Pure.

use std::sync::Arc;

use crate::frame::{Chunk, Frame, Kind, Origin};
use crate::seglog::{Entry, Record};
use crate::timestamp::now_micros;

/// Tag of records of what a source brought.
pub(super) const TAG: u32 = 1;
/// Tag of records of what was put in by hand: no stream brought it to this host.
pub(super) const IMPORTED: u32 = 2;
const BINARY: u8 = 0;
const TEXT: u8 = 1;
const TOO_LARGE: u8 = 2;

/// What stands before the frames of a chunk: once for those that are binary, and for each other one.
pub(super) struct Heads {
    binary: Vec<u8>,
    others: Vec<Option<Vec<u8>>>,
}

/// What stands before each frame.
pub(super) fn heads(chunk: &Chunk) -> Heads {
    let is_odd = chunk.frames.iter().any(|frame| frame.kind != Kind::Binary);
    let others = is_odd.then(|| {
        let other =
            |frame: &Frame| (frame.kind != Kind::Binary).then(|| head(frame.kind, &chunk.origin));
        chunk.frames.iter().map(other).collect()
    });
    Heads { binary: head(Kind::Binary, &chunk.origin), others: others.unwrap_or_default() }
}

/// The records of a chunk.
pub(super) fn entries<'a>(chunk: &'a Chunk, heads: &'a Heads) -> Vec<Entry<'a>> {
    let age = u64::try_from(chunk.received.elapsed().as_micros()).unwrap_or(0);
    let time_micros = now_micros().saturating_sub(age);
    let entry = |(place, frame): (usize, &'a Frame)| {
        let other = heads.others.get(place).and_then(Option::as_deref);
        Entry { time_micros, tag: TAG, head: other.unwrap_or(&heads.binary), body: &frame.bytes }
    };
    chunk.frames.iter().enumerate().map(entry).collect()
}

/// Length of all before the names (2 bytes), the kind, its size if it is too large, and each name
/// after its length.
pub(super) fn head(kind: Kind, origin: &Origin) -> Vec<u8> {
    let mut head = vec![0, 0];
    match kind {
        Kind::Binary => head.push(BINARY),
        Kind::Text => head.push(TEXT),
        Kind::TooLarge(size) => {
            head.push(TOO_LARGE);
            head.extend(size.to_le_bytes());
        }
    }
    for name in [&origin.source, &origin.stream] {
        // Longer ones are cut where the configuration is read.
        let name = &name.as_bytes()[..name.len().min(usize::from(u16::MAX) / 4)];
        head.extend((name.len() as u16).to_le_bytes());
        head.extend(name);
    }
    let length = (head.len() as u16).to_le_bytes();
    head[..2].copy_from_slice(&length);
    head
}

/// A record, read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// The frame.
    pub frame: Frame,
}

/// The head of a record, after which the frame stands; `None` where it is no record of ours.
#[inline]
pub(super) fn head_of(record: &Record) -> Option<&[u8]> {
    let payload = &record.payload;
    let length = usize::from(u16::from_le_bytes(payload.get(..2)?.try_into().ok()?));
    if !matches!(record.tag, TAG | IMPORTED) || length < 7 || length > payload.len() {
        return None;
    }
    payload.get(..length)
}

/// What a head says.
pub(super) fn parse(head: &[u8]) -> Option<(Kind, Origin)> {
    let mut rest = head.get(3..)?;
    let kind = match head[2] {
        BINARY => Kind::Binary,
        TEXT => Kind::Text,
        TOO_LARGE => {
            let size = rest.get(..8)?.try_into().ok()?;
            rest = &rest[8..];
            Kind::TooLarge(u64::from_le_bytes(size))
        }
        _ => return None,
    };
    let mut name = || {
        let length = usize::from(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?));
        let name = std::str::from_utf8(rest.get(2..2 + length)?).ok()?;
        rest = &rest[2 + length..];
        Some(Arc::from(name))
    };
    let (source, stream) = (name()?, name()?);
    Some((kind, Origin { source, stream }))
}

/// Reads a record; `None` where it is no record of ours.
pub fn read(record: &Record) -> Option<Read> {
    let head = head_of(record)?;
    let bytes = record.payload.slice(head.len()..);
    let (kind, origin) = parse(head)?;
    Some(Read { origin: Arc::new(origin), frame: Frame { kind, bytes } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_kinds_come_back() {
        let origin = Arc::new(Origin { source: "hq".into(), stream: "ap-events".into() });
        let frames = vec![
            Frame::binary(b"one".to_vec()),
            Frame::text(b"two".to_vec()),
            Frame::too_large(1 << 40, b"head".to_vec()),
            Frame::binary(Vec::new()),
        ];
        let chunk = Chunk::new(Arc::clone(&origin), frames.clone());
        let heads = heads(&chunk);
        let read: Vec<Read> = entries(&chunk, &heads)
            .iter()
            .map(|entry| {
                let payload = [entry.head, entry.body].concat().into();
                let tag = entry.tag;
                read(&Record { seq: 1, time_micros: entry.time_micros, tag, payload }).unwrap()
            })
            .collect();
        assert!(read.iter().all(|read| read.origin == origin));
        assert_eq!(read.into_iter().map(|read| read.frame).collect::<Vec<_>>(), frames);
    }

    #[test]
    fn what_is_no_record_of_ours_is_none() {
        let record = |tag, payload: &'static [u8]| Record {
            seq: 1,
            time_micros: 0,
            tag,
            payload: bytes::Bytes::from_static(payload),
        };
        for payload in
            [&b""[..], b"\x07", b"\xff\xff\0", b"\x07\0\x09\0\0\0\0", b"\x07\0\0\x05\0\0\0"]
        {
            assert_eq!(read(&record(TAG, payload)), None);
        }
        assert_eq!(read(&record(7, b"\x07\0\0\0\0\0\0")), None);
        for tag in [TAG, IMPORTED] {
            assert!(read(&record(tag, b"\x07\0\0\0\0\0\0")).is_some());
        }
    }
}
