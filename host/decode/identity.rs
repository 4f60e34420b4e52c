//! What tells an event from others, read from its frame without reading the rest: enough to find
//! duplicates before anything is decoded. Key function: [`identity`].

use super::wire::Reader;

/// CloudEvents `source` and `id` together name an event; the same pair is the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// CloudEvents `source`; empty if it has none.
    pub source: &'a [u8],
    /// CloudEvents `id`, never empty.
    pub id: &'a [u8],
}

/// The identity of the event in a frame; `None` if it has no id, or is no event. Of a field that
/// stands there twice the first counts, which is good enough for finding the same bytes again.
pub fn identity(frame: &[u8]) -> Option<Identity<'_>> {
    let (mut source, mut id) = (None, None);
    let mut reader = Reader::new(frame);
    while !reader.is_done() && (source.is_none() || id.is_none()) {
        // Id and source are the first fields of the message, and usually of its bytes.
        match reader.field()? {
            (1, value) => id = id.or(value.bytes()),
            (2, value) => source = source.or(value.bytes()),
            _ => {}
        }
    }
    let id = id.filter(|id| !id.is_empty())?;
    Some(Identity { source: source.unwrap_or_default(), id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_no_further_than_it_must() {
        let frame = b"\x0a\x02id\x12\x03src\xff\xff\xff";
        assert_eq!(identity(frame), Some(Identity { source: b"src", id: b"id" }));
        assert_eq!(identity(b"\x0a\x02id"), Some(Identity { source: b"", id: b"id" }));
        assert_eq!(identity(b"\x0a\x00\x12\x03src"), None, "an empty id is none");
        assert_eq!(identity(b"\x12\x03src"), None);
        assert_eq!(identity(b"\x0a\x05id"), None);
        assert_eq!(identity(b""), None);
    }
}
