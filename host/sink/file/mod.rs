//! Lines in a file, one write per batch, so that no line waits in a buffer. Key type: [`FileSink`].

mod aging;
mod handle;
mod keeper;
mod names;
mod open;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use self::aging::Aging;
use self::open::{Appended, OpenFile};
use super::{Job, Progress, Sink, SinkError};
use crate::config::Rotation;
use crate::store::Store;

/// Appends to a file.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    /// Held for a write, or while the file is put aside.
    file: Arc<Mutex<OpenFile>>,
    /// Where files are put aside by age. Ends with the sink.
    aging: Option<Aging>,
}

impl FileSink {
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
        let file = Arc::new(Mutex::new(OpenFile::open(path, rotation, store)?));
        let ages = rotation.is_some_and(|rule| rule.age.is_some());
        let aging = ages.then(|| Aging::start(path, Arc::clone(&file))).transpose()?;
        Ok(FileSink { path: path.to_owned(), file, aging })
    }
}

impl Sink for FileSink {
    fn write(&mut self, job: &Job<'_>, progress: &mut Progress) -> Result<(), SinkError> {
        // A panic while it was held leaves what the next write settles.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = file.is_empty();
        let written = file.append(&job.lines.bytes, !progress.is_committed);
        drop(file);
        if let Some(aging) = self.aging.as_ref().filter(|_| was_empty) {
            aging.wake();
        }
        match written {
            Ok(Appended::Done(wrote)) => {
                progress.wrote.extend(wrote);
                Ok(())
            }
            Ok(Appended::NotYet) => Err(SinkError::Commit),
            Err(error) => Err(SinkError::of_disk(&self.path.display().to_string(), &error)),
        }
    }
}
