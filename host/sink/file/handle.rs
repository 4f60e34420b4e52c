//! An open file, and what of it is there to stay after a crash: lines that were not committed are cut
//! off when it is opened again, for they come again. Key type: [`Handle`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::store::{Base, FileId, Ranges, Record, Store};
use crate::text::now_micros;

/// How long the store may take to note that a file is begun.
const NOTE_WITHIN: Duration = Duration::from_secs(5);

/// An open file, as those see it who make it durable.
#[derive(Debug)]
pub struct Handle {
    /// Which it is.
    pub id: FileId,
    pub(super) file: File,
    /// Bytes that were written and are not committed.
    uncommitted: AtomicU64,
}

impl Handle {
    /// Makes all that was written durable.
    ///
    /// # Errors
    /// Why not. What was written since the last time may be lost then, on disk and in memory.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// So many bytes more are committed.
    pub fn committed(&self, bytes: u64) {
        self.uncommitted.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub(super) fn wrote(&self, bytes: u64) {
        self.uncommitted.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn is_committed(&self) -> bool {
        self.uncommitted.load(Ordering::Acquire) == 0
    }
}

/// Opens a file at the end of what is there to stay; makes it, and the directories above it, if they
/// are not there.
pub(super) fn open(path: &Path, store: Option<&Arc<Store>>) -> io::Result<(Arc<Handle>, u64)> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut file = open_file(path)?;
    let mut id = identity(path, &file, 0)?;
    let is_regular = file.metadata()?.is_file();
    let known = store.and_then(|store| store.kept(path, (id.dev, id.ino)));
    let end = match &known {
        Some((generation, kept)) if is_regular => {
            id.generation = *generation;
            let end = mend(path, &mut file, kept)?;
            let mended = identity(path, &file, id.generation)?;
            (id.dev, id.ino) = (mended.dev, mended.ino);
            end
        }
        _ => cut_torn_line(path, &mut file)?,
    };
    file.seek(SeekFrom::Start(end))?;
    if let Some(store) = store.filter(|_| is_regular) {
        note(store, &mut id, &file, end)?;
    }
    Ok((Arc::new(Handle { id, file, uncommitted: AtomicU64::new(0) }), end))
}

/// The same file, which somebody else has cut.
pub(super) fn begin_again(
    before: &Handle,
    end: u64,
    store: Option<&Arc<Store>>,
) -> io::Result<Arc<Handle>> {
    let file = before.file.try_clone()?;
    let mut id = before.id.clone();
    if let Some(store) = store {
        note(store, &mut id, &file, end)?;
    }
    Ok(Arc::new(Handle { id, file, uncommitted: AtomicU64::new(0) }))
}

/// Has it noted, durably, what is in the file before anything is written to it.
fn note(store: &Store, id: &mut FileId, file: &File, end: u64) -> io::Result<()> {
    file.sync_all()?;
    if let Some(dir) = id.path.parent() {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()?;
    }
    id.generation = now_micros().max(id.generation + 1);
    let deadline = Instant::now() + NOTE_WITHIN;
    let base = Record::Base(Base { file: id.clone(), len: end });
    let noted = store.write(base, &|| Instant::now() >= deadline);
    noted.map(drop).map_err(|error| io::Error::other(format!("cannot be noted: {error}")))
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn identity(path: &Path, file: &File, generation: u64) -> io::Result<FileId> {
    let metadata = file.metadata()?;
    Ok(FileId { path: path.to_owned(), dev: metadata.dev(), ino: metadata.ino(), generation })
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
    // Lines of several pipelines: what stays is copied, so that a crash leaves the one or the other.
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let copy = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&part)?;
    copy.set_permissions(file.metadata()?.permissions())?;
    for (from, to) in parts {
        file.seek(SeekFrom::Start(from))?;
        io::copy(&mut io::Read::by_ref(file).take(to - from), &mut &copy)?;
    }
    copy.sync_all()?;
    std::fs::rename(&part, path)?;
    *file = copy;
    Ok(end)
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

/// Writes all of it at the end.
pub(super) fn append(handle: &Handle, bytes: &[u8]) -> io::Result<()> {
    (&handle.file).write_all(bytes)
}
