//! Directories, as those need them who make files durable. Key function: [`sync_dir`].

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the names in a directory durable, as far as its file system can be asked to, which takes that it may
/// be read; an empty path is the current directory.
///
/// # Errors
/// When it cannot be opened, or the disk fails.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let opened = match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(
                dir = %dir.display(),
                "may not be read, so that nobody knows when the names of files in it are durable"
            );
            return Ok(());
        }
        opened => opened?,
    };
    match opened.sync_all() {
        // So fsync(2) says of what does not know how.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}
