//! The data directory of a host: its own alone, and how files in it are opened and written. Key
//! function: [`own_data_dir`].

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{StartError, environment};
use crate::backoff::DISK_HINT;
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

/// Removes a file by which others find a host that is none any more: somebody else may listen there by now.
pub(super) fn forget(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
        _ => {}
    }
}

type Write = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

/// Files by which others find the host. It runs without them on a full disk, and writes them once there
/// is room.
#[derive(Default)]
pub(super) struct Signs(Vec<Sign>);

struct Sign {
    path: PathBuf,
    write: Write,
    /// Why it is not there yet: what is the same each time is told once.
    trouble: String,
}

impl Signs {
    /// Writes a file, now or later.
    ///
    /// # Errors
    /// When it cannot be written, and not for want of room.
    pub fn put(&mut self, path: PathBuf, write: Write) -> Result<(), StartError> {
        match write(&path) {
            Ok(()) => Ok(()),
            Err(error) if is_full(&error) => {
                forget(&path);
                let file = path.display();
                tracing::error!(
                    "cannot write {file}: {error}; until it is there, commands do not find this \
                     host\nhint: {DISK_HINT}"
                );
                self.0.push(Sign { path, write, trouble: error.to_string() });
                Ok(())
            }
            Err(error) => Err(environment(format!("cannot write {}", path.display()), "")(error)),
        }
    }

    /// Writes those that there was no room for, if there is by now.
    pub fn look_after(&mut self) {
        self.0.retain_mut(|Sign { path, write, trouble }| match write(path) {
            Ok(()) => {
                tracing::info!(path = %path.display(), "is written now");
                false
            }
            Err(error) => {
                let error = error.to_string();
                if *trouble != error {
                    tracing::error!("cannot write {}: {error}; it is tried again", path.display());
                    *trouble = error;
                }
                true
            }
        });
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes a file so that nobody ever sees a part of it.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, bytes)?;
    std::fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn what_there_is_no_room_for_is_written_later_and_what_is_wrong_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("listen.addr");
        std::fs::write(&path, "of another").unwrap();
        let has_room = Arc::new(AtomicBool::new(false));
        let room = Arc::clone(&has_room);
        let mut signs = Signs::default();
        let write = move |path: &Path| match room.load(Ordering::Relaxed) {
            true => write_whole(path, b"ours"),
            false => Err(io::ErrorKind::StorageFull.into()),
        };
        signs.put(path.clone(), Box::new(write)).unwrap();
        signs.look_after();
        assert!(!path.exists());
        has_room.store(true, Ordering::Relaxed);
        signs.look_after();
        assert_eq!(std::fs::read(&path).unwrap(), b"ours");
        std::fs::remove_file(&path).unwrap();
        signs.look_after();
        assert!(!path.exists(), "once");
        let wrong = signs.put(path, Box::new(|_| Err(io::ErrorKind::PermissionDenied.into())));
        assert!(wrong.unwrap_err().to_string().contains("listen.addr"));
    }
}
