//! What of a file is there to stay after a crash: lines that were not committed are cut off when it is
//! opened again, for they come again. Key functions: [`open`], [`begin_again`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dir::sync_dir;
use crate::store::{Base, FileId, Handle, Ranges, Record, Store};

/// How long the store may take to note that a file is begun.
const NOTE_WITHIN: Duration = Duration::from_secs(10);

/// Opens a file at the end of what is there to stay; makes it, and the directories above it, if they
/// are not there.
pub(super) fn open(path: &Path, store: Option<&Arc<Store>>) -> io::Result<Arc<Handle>> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut file = open_file(path)?;
    let mut id = identity(path, &file)?;
    if let Some(live) = store.and_then(|store| still_open(store, &id)) {
        return go_on(live, store);
    }
    let is_regular = file.metadata()?.is_file();
    let kept = store.and_then(|store| store.kept(path, (id.dev, id.ino)));
    let end = match kept {
        Some((_, kept)) if is_regular => {
            let end = mend(path, &mut file, &kept)?;
            id = identity(path, &file)?;
            end
        }
        _ => cut_torn_line(path, &mut file)?,
    };
    file.seek(SeekFrom::Start(end))?;
    let Some(store) = store.filter(|_| is_regular) else {
        return Ok(Arc::new(Handle::new(id, file, end)));
    };
    file.sync_all()?;
    if let Some(dir) = path.parent() {
        sync_dir(dir)?;
    }
    let id = note(store, id, end)?;
    Ok(opened(store, Handle::new(id, file, end)))
}

/// The same file, if this process has it open: what is in it and not committed does not come again, but
/// is committed soon.
fn still_open(store: &Store, id: &FileId) -> Option<Arc<Handle>> {
    let live = store.opened(&id.path)?;
    ((live.id.dev, live.id.ino) == (id.dev, id.ino)).then_some(live)
}

/// Goes on where the last whole batch ended.
fn go_on(live: Arc<Handle>, store: Option<&Arc<Store>>) -> io::Result<Arc<Handle>> {
    let len = live.file.metadata()?.len();
    if len < live.end() {
        return begin_again(&live, len, store);
    }
    live.file.set_len(live.end())?;
    (&live.file).seek(SeekFrom::Start(live.end()))?;
    Ok(live)
}

/// The same file, which somebody else has cut.
pub(super) fn begin_again(
    before: &Handle,
    end: u64,
    store: Option<&Arc<Store>>,
) -> io::Result<Arc<Handle>> {
    let mut file = before.file.try_clone()?;
    file.seek(SeekFrom::Start(end))?;
    let id = before.id.clone();
    let Some(store) = store else { return Ok(Arc::new(Handle::new(id, file, end))) };
    before.sync()?;
    let id = note(store, id, end)?;
    Ok(opened(store, before.cut(id, file, end)))
}

/// Has it noted, durably, what is in the file before anything is written to it.
fn note(store: &Store, mut id: FileId, end: u64) -> io::Result<FileId> {
    id.generation = store.next_generation(&id.path);
    let deadline = Instant::now() + NOTE_WITHIN;
    let base = Record::Base(Base { file: id.clone(), len: end });
    let noted = store.write(base, &|| Instant::now() >= deadline);
    noted.map_err(|error| io::Error::other(format!("cannot be noted: {error}")))?;
    Ok(id)
}

fn opened(store: &Store, handle: Handle) -> Arc<Handle> {
    let handle = Arc::new(handle);
    store.open_file(&handle);
    handle
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Which file it is; its generation is given when it is noted.
fn identity(path: &Path, file: &File) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    Ok(FileId { path: path.to_owned(), dev: metadata.dev(), ino: metadata.ino(), generation: 0 })
}

/// Takes away what was written and not committed: it comes again.
fn mend(path: &Path, file: &mut File, kept: &Ranges) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let shown = path.display();
    if len < kept.prefix() {
        tracing::warn!(path = %shown, "the file was cut meanwhile; goes on at its end");
        return cut_torn_line(path, file);
    }
    let parts: Vec<(u64, u64)> =
        kept.parts().iter().copied().filter(|(_, to)| *to <= len).collect();
    let end: u64 = parts.iter().map(|(from, to)| to - from).sum();
    if end == len {
        return Ok(end);
    }
    tracing::info!(path = %shown, bytes = len - end, "lines that were not committed are taken back; they come again");
    if parts.first().is_none_or(|(from, to)| (*from, *to) == (0, end)) {
        file.set_len(end)?;
        return Ok(end);
    }
    // Lines of several pipelines: what stays is copied, so that a crash leaves the one or the other. Where
    // the path leads by a link, beside the file itself.
    let path = path.canonicalize()?;
    let part = beside(&path);
    let copy = copy_of(&part, file, &parts).and_then(|copy| {
        std::fs::rename(&part, &path)?;
        Ok(copy)
    });
    *file = copy.inspect_err(|_| drop(std::fs::remove_file(&part)))?;
    path.parent().map_or(Ok(()), sync_dir)?;
    Ok(end)
}

/// A name that nobody else gives a file.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".trommel-part");
    path.with_file_name(name)
}

/// These parts of a file as one of its own, with its owner and permissions.
fn copy_of(part: &Path, file: &mut File, parts: &[(u64, u64)]) -> io::Result<File> {
    match std::fs::remove_file(part) {
        // A crash left it.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let copy = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(part)?;
    let (was, is) = (file.metadata()?, copy.metadata()?);
    if (was.uid(), was.gid()) != (is.uid(), is.gid())
        && let Err(error) = fchown(&copy, Some(was.uid()), Some(was.gid()))
    {
        let (path, uid, gid) = (part.display(), was.uid(), was.gid());
        tracing::warn!(%path, uid, gid, %error, "a copy of the file has another owner from now on");
    }
    copy.set_permissions(was.permissions())?;
    for (from, to) in parts {
        file.seek(SeekFrom::Start(*from))?;
        io::copy(&mut io::Read::by_ref(file).take(to - from), &mut &copy)?;
    }
    copy.sync_all()?;
    Ok(copy)
}

/// Cuts off what is after the last whole line, and says where that ends.
fn cut_torn_line(path: &Path, file: &mut File) -> io::Result<u64> {
    let end = end_of_last_line(file)?;
    if end != file.metadata()?.len() {
        tracing::warn!(path = %path.display(), end, "the last line was not whole and is cut off");
        file.set_len(end)?;
    }
    Ok(end)
}

/// Where the last line ends that has its newline.
fn end_of_last_line(file: &mut File) -> io::Result<u64> {
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
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    #[test]
    fn what_was_not_committed_is_taken_back_where_the_file_is_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (there, path) = (dir.path().join("there"), dir.path().join("events.jsonl"));
        let real = there.join("real.jsonl");
        std::fs::create_dir(&there).unwrap();
        std::fs::write(&real, "one\ntwo\nthree\n").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            chown(&real, Some(12), Some(34)).unwrap();
        }
        symlink(&real, &path).unwrap();
        // A user's own, and what a crash left.
        for name in ["events.jsonl.part", "there/real.jsonl.part", "there/.real.jsonl.trommel-part"]
        {
            std::fs::write(dir.path().join(name), "mine").unwrap();
        }
        let mut kept = Ranges::default();
        kept.insert(0, 4);
        kept.insert(8, 14);
        let mut file = open_file(&path).unwrap();
        assert_eq!(mend(&path, &mut file, &kept).unwrap(), 10);
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "one\nthree\n");
        assert!(path.is_symlink());
        let metadata = real.metadata().unwrap();
        assert_eq!(metadata.ino(), file.metadata().unwrap().ino());
        assert_eq!(metadata.mode() & 0o777, 0o640);
        assert!(!is_root || (metadata.uid(), metadata.gid()) == (12, 34));
        for name in ["events.jsonl.part", "there/real.jsonl.part"] {
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), "mine");
        }
        assert_eq!(std::fs::read_dir(&there).unwrap().count(), 2);
    }
}
