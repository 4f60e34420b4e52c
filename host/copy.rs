//! Copies of few bytes, as JSON is made of. The C library's copy costs a call and several branches, more than
//! the bytes; here what is copied has a length known beforehand, and what is too much of it is cut off or
//! written over. Pure. Key types: [`Piece`], [`push_plain`].

/// A text that is appended over and over, with room behind it so that it is copied in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    padded: [u8; ROOM],
    /// The whole, if there is no room for it.
    long: Option<Box<str>>,
    length: u8,
}

/// Most names of fields fit, with their quotes.
const ROOM: usize = 32;

impl Piece {
    /// A piece with this text.
    pub fn new(text: &str) -> Self {
        let mut padded = [0; ROOM];
        let length = text.len().min(ROOM);
        padded[..length].copy_from_slice(&text.as_bytes()[..length]);
        let long = (text.len() > ROOM).then(|| text.into());
        Piece { padded, long, length: length as u8 }
    }

    /// Appends it.
    #[inline(always)]
    pub fn push(&self, out: &mut Vec<u8>) {
        match &self.long {
            None => {
                let end = out.len() + usize::from(self.length);
                out.extend_from_slice(&self.padded);
                out.truncate(end);
            }
            Some(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

/// Appends bytes between quotes if all of them stand for themselves in JSON and are ASCII: printable, and no
/// quote or backslash. If not, nothing is appended and the answer is `false`.
#[inline]
pub fn push_plain(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    match bytes.len() {
        0 => {
            out.extend_from_slice(b"\"\"");
            true
        }
        1 => push_halves::<1>(out, bytes),
        2..4 => push_halves::<2>(out, bytes),
        4..8 => push_halves::<4>(out, bytes),
        8..16 => push_halves::<8>(out, bytes),
        16..=32 => push_halves::<16>(out, bytes),
        _ => push_long(out, bytes),
    }
}

/// Of bytes that are at least `N` and at most twice that.
#[inline(always)]
fn push_halves<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    match (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
        (Some(first), Some(last)) if !(has_odd(first) | has_odd(last)) => {
            out.push(b'"');
            let end = out.len() + bytes.len();
            out.extend_from_slice(first);
            // What both hold is written twice.
            out.truncate(end - N);
            out.extend_from_slice(last);
            out.push(b'"');
            true
        }
        _ => false,
    }
}

fn push_long(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let (chunks, _) = bytes.as_chunks::<16>();
    let last = bytes.last_chunk::<16>();
    if chunks.iter().chain(last).any(has_odd) {
        return false;
    }
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
    true
}

/// Whether there is a byte that is no printable ASCII, or is a quote or a backslash. Looks at all of them at
/// once.
#[inline(always)]
fn has_odd<const N: usize>(bytes: &[u8; N]) -> bool {
    // As signed numbers, control characters and all beyond ASCII are below the space.
    let is_odd = |byte: u8| (byte as i8) < 0x20 || byte == b'"' || byte == b'\\';
    bytes.iter().fold(false, |any, byte| any | is_odd(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_its_text() {
        for length in 0..80 {
            let text = &"abcdefghij".repeat(8)[..length];
            let mut out = b"x".to_vec();
            Piece::new(text).push(&mut out);
            assert_eq!(out, format!("x{text}").as_bytes());
        }
    }

    #[test]
    fn plain_is_what_serde_json_leaves_as_it_is() {
        for length in 0..100 {
            let plain: Vec<u8> = (0..length).map(|at| b'a' + (at * 7 % 26) as u8).collect();
            let mut out = b"x".to_vec();
            assert!(push_plain(&mut out, &plain));
            assert_eq!(out, [b"x\"", &plain[..], b"\""].concat(), "{length}");
            for at in 0..length {
                for byte in [0, 0x1f, b' ', b'!', b'"', b'#', b'[', b'\\', b']', b'~', 0x80, 0xff] {
                    let mut bytes = plain.clone();
                    bytes[at] = byte;
                    let text = String::from_utf8(bytes.clone()).ok();
                    let json = text
                        .filter(|text| text.is_ascii())
                        .map(|text| serde_json::to_string(&text).unwrap());
                    let is_plain = json.is_some_and(|json| json.len() == length + 2);
                    out.clear();
                    assert_eq!(
                        push_plain(&mut out, &bytes),
                        is_plain,
                        "{byte} at {at} of {length}"
                    );
                    let expected =
                        if is_plain { [b"\"", &bytes[..], b"\""].concat() } else { vec![] };
                    assert_eq!(out, expected);
                }
            }
        }
    }
}
