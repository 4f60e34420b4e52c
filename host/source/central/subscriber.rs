//! The id by which a server knows a subscriber again (facts: header `Subscriber-Id`, a UUID of
//! version 4). Key function: [`kept_id`].

use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// The id of a source that keeps one in the data directory; made up the first time.
///
/// # Errors
/// When the file can neither be read nor written, or holds something else.
pub fn kept_id(data_dir: &Path, source: &str) -> io::Result<String> {
    // The names of sources are letters, digits, - and _.
    let path = data_dir.join(format!("subscriber-id.{source}"));
    let within =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(text) if is_uuid(text.trim()) => Ok(text.trim().to_owned()),
        Ok(_) => Err(within(io::Error::other("it does not hold a UUID; remove it for a new one"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = uuid(rand::random());
            let part = path.with_extension(format!("{source}.part"));
            std::fs::write(&part, format!("{id}\n")).map_err(within)?;
            std::fs::rename(&part, &path).map_err(within)?;
            Ok(id)
        }
        Err(error) => Err(within(error)),
    }
}

/// A UUID of version 4, of these random bytes.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut id = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let id = kept_id(dir.path(), "hq").unwrap();
        assert!(is_uuid(&id), "{id}");
        assert_eq!(&id[14..15], "4");
        assert_eq!(kept_id(dir.path(), "hq").unwrap(), id);
        assert_ne!(kept_id(dir.path(), "lab").unwrap(), id);
        std::fs::write(dir.path().join("subscriber-id.hq"), "what").unwrap();
        assert!(kept_id(dir.path(), "hq").unwrap_err().to_string().contains("subscriber-id.hq"));
    }
}
