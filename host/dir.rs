//! Directories, as those need them who make files durable. Key function: [`sync_dir`].

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the names in a directory durable, as far as its file system can be asked to; an empty path is
/// the current directory.
///
/// # Errors
/// When it cannot be opened, or the disk fails.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    match File::open(dir)?.sync_all() {
        // So fsync(2) says of what does not know how.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}
