//! A file that is appended to. Follows when it is moved, removed or cut under it, and puts it aside
//! when it is large or old. Key type: [`OpenFile`].

use std::fs::Metadata;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::handle;
use super::keeper::Keeper;
use super::names::Names;
use crate::config::Rotation;
use crate::sink::Wrote;
use crate::store::{Handle, Store};

/// How often it is looked whether the file is still where it was.
const LOOK: Duration = Duration::from_millis(100);
/// How long after lines of others were in the way.
const ROTATE_SOON: Duration = Duration::from_secs(1);
/// How long after a failure the file is tried to be put aside again.
const ROTATE_AGAIN: Duration = Duration::from_secs(60);

/// Appends to a file.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    handle: Arc<Handle>,
    /// Where it is kept what of the file is there to stay.
    store: Option<Arc<Store>>,
    /// A pipe or a device is only written to.
    is_regular: bool,
    /// Where the last whole batch ends.
    end: u64,
    /// Whether there may be a part of a batch after it.
    is_torn: bool,
    /// Whether the last write failed.
    has_failed: bool,
    /// When it was begun.
    begun: SystemTime,
    /// When to look for it next.
    look_at: Instant,
    rotating: Option<Rotating>,
}

/// What an append came to.
pub(super) enum Appended {
    /// All is written: where, if that is kept.
    Done(Option<Wrote>),
    /// What was written before must be committed first.
    NotYet,
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

impl OpenFile {
    /// Opens a file to append to; makes it, and the directories above it, if they are not there. A
    /// last line without its newline, left by a crash, is cut off.
    ///
    /// # Errors
    /// Why the file cannot be had.
    pub fn open(
        path: &Path,
        rotation: Option<&Rotation>,
        store: Option<&Arc<Store>>,
    ) -> io::Result<Self> {
        let handle = handle::open(path, store)?;
        let metadata = handle.file.metadata()?;
        let mut sink = OpenFile {
            path: path.to_owned(),
            is_regular: metadata.is_file(),
            begun: begun(&metadata),
            end: handle.end(),
            handle,
            store: store.cloned(),
            is_torn: false,
            has_failed: false,
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

    /// Appends whole lines; puts the file aside before, if it is time. `may_wait` says whether there may
    /// be something to be committed first.
    ///
    /// # Errors
    /// Why they cannot be written. Nothing of them is left in the file, or the next try takes it back.
    pub fn append(&mut self, bytes: &[u8], may_wait: bool) -> io::Result<Appended> {
        if !self.is_regular && self.has_failed {
            self.look_for_another()?;
        }
        if self.is_regular {
            self.settle()?;
            if self.is_due(bytes.len() as u64) {
                if self.may_rotate() {
                    self.rotate()?;
                } else if may_wait {
                    return Ok(Appended::NotYet);
                } else {
                    self.rotate_later();
                }
            }
            // Here, for what others wrote may be committed late: with a batch that waits for another sink.
            if self.handle.is_pressed() {
                self.handle.sync()?;
            }
            if self.end == 0 {
                self.begun = SystemTime::now();
            }
        }
        let is_kept = self.is_regular && self.store.is_some();
        let written = if is_kept {
            self.handle.append(bytes).map(drop)
        } else {
            (&self.handle.file).write_all(bytes)
        };
        self.has_failed = written.is_err();
        if let Err(error) = written {
            self.is_torn = self.is_regular;
            return Err(match self.is_torn.then(|| self.take_back()) {
                // Then the next try begins with it.
                Some(Err(also)) => io::Error::other(format!("{error}, and then {also}")),
                _ => error,
            });
        }
        let from = self.end;
        self.end += bytes.len() as u64;
        if !is_kept {
            return Ok(Appended::Done(None));
        }
        let handle = Arc::clone(&self.handle);
        Ok(Appended::Done(Some(Wrote { handle, from, to: self.end })))
    }

    /// Others have lines in it that are not committed, and take their time.
    fn rotate_later(&mut self) {
        if let Some(rotating) = &mut self.rotating {
            rotating.not_before = Some(Instant::now() + ROTATE_SOON);
        }
    }

    /// A file that was put aside is never cut: all that is in it must be committed.
    fn may_rotate(&self) -> bool {
        self.store.is_none() || self.handle.is_committed()
    }

    /// Puts the file aside if it is old. For the time when nothing comes.
    ///
    /// # Errors
    /// Why the file, or the next one, cannot be had. The next write tries again.
    pub fn rotate_if_old(&mut self) -> io::Result<()> {
        if self.until_old() == Some(Duration::ZERO) {
            self.settle()?;
            // It may be another by now.
            if self.until_old() == Some(Duration::ZERO) && self.may_rotate() {
                self.rotate()?;
            }
        }
        Ok(())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// How long it takes until the file is to be put aside for its age; `None` for one that is empty,
    /// or may grow as old as it likes.
    pub fn until_old(&self) -> Option<Duration> {
        let rotating = self.rotating.as_ref().filter(|_| self.end > 0)?;
        // A clock that was set back makes no file old.
        let old = self.begun.elapsed().unwrap_or_default();
        let left = rotating.rule.age?.saturating_sub(old);
        let not_before =
            rotating.not_before.map(|time| time.saturating_duration_since(Instant::now()));
        Some(left.max(not_before.unwrap_or_default()))
    }

    /// Sees to it that the file is the one at its path, and ends where the last whole batch does.
    fn settle(&mut self) -> io::Result<()> {
        self.look()?;
        if self.is_torn { self.take_back() } else { Ok(()) }
    }

    /// Takes back what a failed write left behind.
    fn take_back(&mut self) -> io::Result<()> {
        self.handle.file.set_len(self.end)?;
        (&self.handle.file).seek(SeekFrom::Start(self.end))?;
        self.is_torn = false;
        Ok(())
    }

    /// Begins anew where the file was moved or removed, and goes on at its end where it was cut.
    fn look(&mut self) -> io::Result<()> {
        if Instant::now() < self.look_at {
            return Ok(());
        }
        let ours = self.handle.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) => {
                if found.len() < self.end {
                    tracing::warn!(path = %self.path.display(), "the file was cut; goes on at its end");
                    let store = self.store.as_ref();
                    self.handle = handle::begin_again(&self.handle, found.len(), store)?;
                    self.end = self.handle.end();
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

    /// Begins anew where a pipe or device that cannot be written is not at its path any more.
    fn look_for_another(&mut self) -> io::Result<()> {
        let ours = self.handle.file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) => Ok(()),
            Ok(_) => self.begin_anew("something else is in its place"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.begin_anew("it was moved or removed")
            }
            Err(error) => Err(error),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.handle = handle::open(&self.path, self.store.as_ref())?;
        self.is_regular = self.handle.file.metadata()?.is_file();
        self.end = self.handle.end();
        Ok(())
    }

    fn begin_anew(&mut self, why: &str) -> io::Result<()> {
        self.reopen()?;
        self.is_torn = false;
        self.begun = begun(&self.handle.file.metadata()?);
        tracing::info!(path = %self.path.display(), "begins anew: {why}");
        Ok(())
    }

    /// Whether the file is to be put aside before so many bytes more are written.
    fn is_due(&self, more: u64) -> bool {
        let Some(rotating) = &self.rotating else { return false };
        let is_large = rotating.rule.size.is_some_and(|size| self.end + more > size);
        let may_try = rotating.not_before.is_none_or(|time| Instant::now() >= time);
        self.end > 0 && may_try && (is_large || self.until_old() == Some(Duration::ZERO))
    }

    /// Puts the file aside and begins another. One that cannot be put aside is written on.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(rotating) = &mut self.rotating else { return Ok(()) };
        let permissions = self.handle.file.metadata()?.permissions();
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
        self.reopen()?;
        self.look_at = Instant::now() + LOOK;
        self.handle.file.set_permissions(permissions)
    }
}

/// When a file was begun; now, where the file system does not know.
fn begun(metadata: &Metadata) -> SystemTime {
    metadata.created().unwrap_or_else(|_| SystemTime::now())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::*;

    fn write(file: &mut OpenFile, text: &str) {
        file.append(text.as_bytes(), false).unwrap();
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn appends_and_cuts_off_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/on/the/way.jsonl");
        write(&mut OpenFile::open(&path, None, None).unwrap(), "a\nb\n");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"torn").unwrap();
        write(&mut OpenFile::open(&path, None, None).unwrap(), "c\n");
        assert_eq!(text(&path), "a\nb\nc\n");
    }

    #[test]
    fn follows_a_file_that_is_moved_removed_or_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut file = OpenFile::open(&path, None, None).unwrap();
        let mut write_after_look = |text| {
            file.look_at = Instant::now();
            write(&mut file, text);
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
    fn a_device_that_cannot_be_written_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut file = OpenFile::open(&path, None, None).unwrap();
        for _ in 0..2 {
            assert!(file.append(b"a\n", false).is_err());
        }
        std::fs::remove_file(&path).unwrap();
        write(&mut file, "a\n");
        write(&mut file, "b\n");
        assert_eq!(text(&path), "a\nb\n");
    }

    #[test]
    fn what_others_have_not_committed_for_long_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let store = Arc::new(store);
        let mut file = OpenFile::open(&dir.path().join("e.jsonl"), None, Some(&store)).unwrap();
        let mut wrote = Vec::new();
        for _ in 0..5 {
            let appended = file.append(&vec![b'x'; 5 << 20], true).unwrap();
            wrote.extend(if let Appended::Done(wrote) = appended { wrote } else { None });
        }
        assert_eq!(wrote.last().map(|last| last.to), Some(25 << 20));
        assert!(!file.handle.is_committed());
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_is_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let rule = Rotation { size: Some(4), age: None, keep: 0, gzip: false };
        let mut file = OpenFile::open(&path, Some(&rule), None).unwrap();
        write(&mut file, "aa\n");
        // A directory in the way of every name there could be: the folder itself is gone.
        std::fs::remove_dir_all(dir.path()).unwrap();
        write(&mut file, "bb\n");
        file.look_at = Instant::now();
        write(&mut file, "cc\n");
        assert_eq!(text(&path), "cc\n");
    }

    #[test]
    fn an_old_file_is_put_aside_whole_and_an_empty_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let rule =
            Rotation { size: None, age: Some(Duration::from_secs(3600)), keep: 0, gzip: false };
        let mut file = OpenFile::open(&path, Some(&rule), None).unwrap();
        assert_eq!(file.until_old(), None, "it is empty");
        write(&mut file, "a\n");
        assert!(file.until_old().unwrap() > Duration::from_secs(3_500));
        file.rotate_if_old().unwrap();
        assert_eq!(text(&path), "a\n");
        file.begun -= Duration::from_secs(3_600);
        // A write that failed half way left something behind.
        (&file.handle.file).write_all(b"torn").unwrap();
        file.is_torn = true;
        file.rotate_if_old().unwrap();
        assert_eq!((text(&path), file.until_old()), (String::new(), None));
        let aside = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> = aside.filter(|aside| *aside != path).collect();
        assert_eq!(aside.iter().map(|aside| text(aside)).collect::<Vec<_>>(), ["a\n"]);
        file.rotate_if_old().unwrap();
        write(&mut file, "b\n");
        assert_eq!(text(&path), "b\n");
    }
}
