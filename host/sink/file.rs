//! Lines in a file, one write per batch, so that no line waits in a buffer. Key type: [`FileSink`].

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::{Sink, SinkError};
use crate::columns::Lines;

/// Appends to a file.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    file: File,
    /// Where the last whole batch ends.
    end: u64,
}

impl FileSink {
    /// Opens a file to append to; makes it, and the directories above it, if they are not there. A
    /// last line without its newline, left by a crash, is cut off.
    ///
    /// # Errors
    /// Why the file cannot be had.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let end = end_of_last_line(&mut file)?;
        if end != file.metadata()?.len() {
            tracing::warn!(path = %path.display(), end, "the last line was not whole and is cut off");
            file.set_len(end)?;
        }
        file.seek(SeekFrom::Start(end))?;
        Ok(FileSink { path: path.to_owned(), file, end })
    }

    /// Takes back what a failed write left behind.
    fn take_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end)).map(drop)
    }
}

impl Sink for FileSink {
    fn wants_lines(&self) -> bool {
        true
    }

    fn write(&mut self, lines: &Lines<'_>) -> Result<(), SinkError> {
        let bytes = lines.text.as_bytes();
        let written = self.file.write_all(bytes);
        if let Err(error) = written {
            // If not even this works, the lines of the next try follow torn ones, and are told so.
            let taken_back = self.take_back();
            let path = self.path.display();
            let and = taken_back.err().map(|e| format!(", and then {e}")).unwrap_or_default();
            return Err(SinkError::Retry(format!("{path}: {error}{and}")));
        }
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Where the last line ends that has its newline.
fn end_of_last_line(file: &mut File) -> io::Result<u64> {
    use std::io::Read as _;
    let mut end = file.metadata()?.len();
    let mut buffer = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines<'_> {
        Lines { text: text.into(), ends: vec![] }
    }

    #[test]
    fn appends_and_cuts_off_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/on/the/way.jsonl");
        FileSink::open(&path).unwrap().write(&lines("a\nb\n")).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"torn").unwrap();
        FileSink::open(&path).unwrap().write(&lines("c\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\nc\n");
    }
}
