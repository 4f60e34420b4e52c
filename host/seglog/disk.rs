//! What the log asks of a disk, so that tests can have one that fails. Key types: [`Disk`],
//! [`DiskFile`], [`Dir`].

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files of one directory.
pub trait Disk: Send + Sync {
    /// The directory, for texts.
    fn path(&self) -> &Path;
    /// Names of all files.
    ///
    /// # Errors
    /// What the disk says; so for all below.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file that is there, for writing too or for reading only.
    fn open(&self, name: &str, is_writable: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file; what has the name is overwritten.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// The same, for writing whole aligned blocks of memory to whole blocks of the file past the page
    /// cache, where the file system can; elsewhere a file like any other.
    fn create_direct(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.create(name)
    }
    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Lets the system use the memory that holds what is in a file. Nothing depends on it.
    fn cool(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }
    /// Makes names durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// A file of a [`Disk`].
pub trait DiskFile: Send + Sync {
    /// Reads what is there, possibly less than asked for; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes, possibly less than asked for.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes durable what was written.
    fn sync(&self) -> io::Result<()>;
    /// Its size, bytes.
    fn size(&self) -> io::Result<u64>;
}

/// A directory of the operating system.
pub struct Dir(PathBuf);

impl Dir {
    /// The directory at this path.
    pub fn new(path: &Path) -> Self {
        Dir(path.to_owned())
    }
}

impl Disk for Dir {
    fn path(&self) -> &Path {
        &self.0
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            // What is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str, is_writable: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(is_writable).open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Arc::new(how.open(self.0.join(name))?))
    }

    fn create_direct(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(true).mode(0o600);
        how.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed());
        match how.open(self.0.join(name)) {
            Ok(file) => Ok(Arc::new(file)),
            // Not every file system knows how.
            Err(_) => self.create(name),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn cool(&self, name: &str) -> io::Result<()> {
        let file = File::open(self.0.join(name))?;
        Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        crate::dir::sync_dir(&self.0)
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// Writes all of it, in as many calls as it takes.
pub(super) fn write_all(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = bytes.get(n..).unwrap_or_default();
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends, and says how much. A part that the disk cannot
/// read is as if it held zeros, as long as the disk can read anything: what stood there is damaged,
/// and no more.
pub(super) fn read_full(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    match read_plainly(file, buffer, offset) {
        Ok(n) => Ok(n),
        Err(error) => read_in_pieces(file, buffer, offset).ok_or(error),
    }
}

fn read_plainly(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// None when nothing can be read, not even the file's beginning or end.
fn read_in_pieces(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> Option<usize> {
    const PIECE: usize = 512;
    let size = file.size().ok()?;
    let wanted = buffer.len().min(size.saturating_sub(offset) as usize);
    let mut is_alive = [0, size.saturating_sub(PIECE as u64)]
        .into_iter()
        .any(|at| read_plainly(file, &mut [0; PIECE], at).is_ok());
    for (index, piece) in buffer[..wanted].chunks_mut(PIECE).enumerate() {
        match read_plainly(file, piece, offset + (index * PIECE) as u64) {
            Ok(_) => is_alive = true,
            Err(_) => piece.fill(0),
        }
    }
    is_alive.then_some(wanted)
}
