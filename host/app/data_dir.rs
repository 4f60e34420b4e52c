//! The data directory of a host: its own alone, and how files in it are opened and written. Key
//! function: [`own_data_dir`].

use std::fs::File;
use std::io;
use std::path::Path;

use super::{StartError, environment};
use crate::dir::sync_dir;

/// Makes the data directory this process's own, for as long as the file is open.
///
/// # Errors
/// When it cannot be had; `WouldBlock` where it is another process's.
pub fn own_data_dir(dir: &Path) -> Result<File, StartError> {
    let cannot =
        |what: &str| environment(format!("cannot {what} {}", dir.display()), "data_dir names it");
    std::fs::create_dir_all(dir).map_err(cannot("create"))?;
    let lock = File::create(dir.join("lock")).map_err(cannot("write to"))?;
    let flock = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    flock.map_err(|error| StartError::Environment {
        what: format!("cannot lock {}", dir.display()),
        source: error.into(),
        hint: "is another trommel running with this data_dir?",
    })?;
    // A directory whose name is not durable goes with all that is in it when power fails.
    sync_dir(dir.parent().unwrap_or(dir)).map_err(cannot("make durable"))?;
    Ok(lock)
}

pub(super) fn open_in<T>(
    dir: &Path,
    name: &str,
    open: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, StartError> {
    let path = dir.join(name);
    open(&path).map_err(environment(format!("cannot open {}", path.display()), ""))
}

/// Writes a file so that nobody ever sees a part of it.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, bytes)?;
    std::fs::rename(&part, path)
}
