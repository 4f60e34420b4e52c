//! Lines in a file, one write per batch, so that no line waits in a buffer. Follows when the file is
//! moved, removed or cut under it, and puts it aside when it is large or old. Key type: [`FileSink`].

mod keeper;
mod names;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use self::keeper::Keeper;
use self::names::Names;
use super::{Job, Progress, Sink, SinkError};
use crate::config::Rotation;

/// How often it is looked whether the file is still where it was.
const LOOK: Duration = Duration::from_millis(100);
/// How long after a failure the file is tried to be put aside again.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);

/// Appends to a file.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    file: File,
    /// A pipe or a device is only written to.
    is_regular: bool,
    /// Where the last whole batch ends.
    end: u64,
    /// Whether there may be a part of a batch after it.
    is_torn: bool,
    /// When it was begun.
    begun: SystemTime,
    /// When to look for it next.
    look_at: Instant,
    rotating: Option<Rotating>,
}

/// The putting aside of files.
#[derive(Debug)]
struct Rotating {
    rule: Rotation,
    names: Names,
    keeper: Option<Keeper>,
    /// Not before, for it has failed.
    not_before: Option<Instant>,
}

impl FileSink {
    /// Opens a file to append to; makes it, and the directories above it, if they are not there. A
    /// last line without its newline, left by a crash, is cut off.
    ///
    /// # Errors
    /// Why the file cannot be had.
    pub fn open(path: &Path, rotation: Option<&Rotation>) -> io::Result<Self> {
        let (file, end) = open_at_end(path)?;
        let metadata = file.metadata()?;
        let mut sink = FileSink {
            path: path.to_owned(),
            is_regular: metadata.is_file(),
            begun: begun(&metadata),
            file,
            end,
            is_torn: false,
            look_at: Instant::now() + LOOK,
            rotating: None,
        };
        if let Some(rule) = rotation.filter(|_| sink.is_regular) {
            let names = Names::new(path)?;
            let needs_keeper = rule.gzip || rule.keep > 0;
            let keeper = needs_keeper.then(|| Keeper::start(names.pattern(), rule)).transpose()?;
            sink.rotating = Some(Rotating { rule: rule.clone(), names, keeper, not_before: None });
        }
        Ok(sink)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_regular {
            self.look()?;
            if self.is_torn {
                self.take_back()?;
            }
            if self.is_due(bytes.len() as u64) {
                self.rotate()?;
            }
            if self.end == 0 {
                self.begun = SystemTime::now();
            }
        }
        if let Err(error) = self.file.write_all(bytes) {
            self.is_torn = self.is_regular;
            return Err(match self.is_torn.then(|| self.take_back()) {
                // Then the next try begins with it.
                Some(Err(also)) => io::Error::other(format!("{error}, and then {also}")),
                _ => error,
            });
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Takes back what a failed write left behind.
    fn take_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.is_torn = false;
        Ok(())
    }

    /// Begins anew where the file was moved or removed, and goes on at its end where it was cut.
    fn look(&mut self) -> io::Result<()> {
        if Instant::now() < self.look_at {
            return Ok(());
        }
        let ours = self.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) => {
                if found.len() < self.end {
                    tracing::warn!(path = %self.path.display(), "the file was cut; goes on at its end");
                    self.end = found.len();
                    self.is_torn = true;
                }
            }
            Ok(_) => self.begin_anew("another file is in its place")?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.begin_anew("the file was moved or removed")?;
            }
            Err(error) => return Err(error),
        }
        self.look_at = Instant::now() + LOOK;
        Ok(())
    }

    fn begin_anew(&mut self, why: &str) -> io::Result<()> {
        (self.file, self.end) = open_at_end(&self.path)?;
        self.is_torn = false;
        self.begun = begun(&self.file.metadata()?);
        tracing::info!(path = %self.path.display(), "begins anew: {why}");
        Ok(())
    }

    /// Whether the file is to be put aside before so many bytes more are written.
    fn is_due(&self, more: u64) -> bool {
        let Some(rotating) = &self.rotating else { return false };
        let Rotation { size, age, .. } = rotating.rule;
        let is_large = size.is_some_and(|size| self.end + more > size);
        // A clock that was set back makes no file old.
        let is_old = || age.is_some_and(|age| self.begun.elapsed().is_ok_and(|old| old >= age));
        let may_try = rotating.not_before.is_none_or(|time| Instant::now() >= time);
        self.end > 0 && may_try && (is_large || is_old())
    }

    /// Puts the file aside and begins another. One that cannot be put aside is written on.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(rotating) = &mut self.rotating else { return Ok(()) };
        let permissions = self.file.metadata()?.permissions();
        let aside = rotating.names.next();
        if let Err(error) = std::fs::rename(&self.path, &aside) {
            let path = self.path.display();
            tracing::error!(%path, %error, "cannot be rotated and grows; tried again in a minute");
            rotating.not_before = Some(Instant::now() + ROTATE_AGAIN);
            return Ok(());
        }
        rotating.not_before = None;
        tracing::debug!(path = %self.path.display(), aside = %aside.display(), "rotated");
        if let Some(keeper) = &rotating.keeper {
            keeper.wake();
        }
        // Should opening fail, the next try sees that there is no file, and begins one.
        self.look_at = Instant::now();
        (self.file, self.end) = open_at_end(&self.path)?;
        self.look_at = Instant::now() + LOOK;
        self.file.set_permissions(permissions)
    }
}

impl Sink for FileSink {
    fn write(&mut self, job: &Job<'_>, _: &mut Progress) -> Result<(), SinkError> {
        let written = self.append(&job.lines.bytes);
        written.map_err(|error| SinkError::retry(format!("{}: {error}", self.path.display())))
    }
}

/// Opens a file at the end of its last whole line; what is after that is cut off.
fn open_at_end(path: &Path) -> io::Result<(File, u64)> {
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
    Ok((file, end))
}

/// When a file was begun; now, where the file system does not know.
fn begun(metadata: &Metadata) -> SystemTime {
    metadata.created().unwrap_or_else(|_| SystemTime::now())
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
    use crate::columns::ByteLines;

    fn write(sink: &mut FileSink, text: &str) {
        let lines = ByteLines { bytes: text.as_bytes().into(), ends: vec![] };
        let stop = tokio_util::sync::CancellationToken::new();
        let job = Job { pipeline: "main", lines: &lines, stop: &stop };
        sink.write(&job, &mut Progress::default()).unwrap();
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn appends_and_cuts_off_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/on/the/way.jsonl");
        write(&mut FileSink::open(&path, None).unwrap(), "a\nb\n");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"torn").unwrap();
        write(&mut FileSink::open(&path, None).unwrap(), "c\n");
        assert_eq!(text(&path), "a\nb\nc\n");
    }

    #[test]
    fn follows_a_file_that_is_moved_removed_or_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut sink = FileSink::open(&path, None).unwrap();
        let mut write_after_look = |text| {
            sink.look_at = Instant::now();
            write(&mut sink, text);
        };
        write_after_look("a\n");
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        write_after_look("b\n");
        assert_eq!((text(&dir.path().join("moved")), text(&path)), ("a\n".into(), "b\n".into()));
        std::fs::remove_file(&path).unwrap();
        write_after_look("c\n");
        assert_eq!(text(&path), "c\n");
        // As logrotate does with `copytruncate`.
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        write_after_look("d\n");
        assert_eq!(text(&path), "d\n");
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_is_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let rule = Rotation { size: Some(4), age: None, keep: 0, gzip: false };
        let mut sink = FileSink::open(&path, Some(&rule)).unwrap();
        write(&mut sink, "aa\n");
        // A directory in the way of every name there could be: the folder itself is gone.
        std::fs::remove_dir_all(dir.path()).unwrap();
        write(&mut sink, "bb\n");
        sink.look_at = Instant::now();
        write(&mut sink, "cc\n");
        assert_eq!(text(&path), "cc\n");
    }
}
