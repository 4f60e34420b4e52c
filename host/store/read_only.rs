//! A store that is only read, also while a host writes it; and a look at every record of one. Key
//! type: [`ReadStore`].

use std::path::Path;

use super::image::Image;
use super::letters::Letters;
use super::records::{Gap, Record};
use super::{TAG, replay};
use crate::seglog::{OpenError, ReadOnly, Report, verify_records};

/// A store as it was when it was opened. Changes nothing.
pub struct ReadStore {
    log: ReadOnly,
    image: Image,
}

impl ReadStore {
    /// Reads the store in a directory; one that is empty is a store without anything in it.
    ///
    /// # Errors
    /// When it cannot be read, or is of a version that is not known.
    pub fn open(dir: &Path) -> Result<ReadStore, OpenError> {
        let log = ReadOnly::open(dir)?;
        let first = log.segments().first().map_or(1, |segment| segment.first_seq);
        let (image, _) = replay(log.reader(first), dir)?;
        Ok(ReadStore { log, image })
    }

    /// Dead letters that nobody is done with, the oldest first.
    pub fn letters(&self) -> Letters {
        let first = self.image.letters.keys().next().copied();
        let reader = self.log.reader(first.unwrap_or_else(|| self.log.last_seq() + 1));
        Letters::new(reader, self.image.letters.clone(), self.image.settled.clone())
    }

    /// Gaps, the oldest first.
    pub fn gaps(&self) -> &[Gap] {
        &self.image.gaps
    }

    /// Whether any pipeline has a place in the journal.
    pub fn knows_pipelines(&self) -> bool {
        !self.image.pipelines.is_empty()
    }

    /// All records of the journal up to this one were durable once: pipelines have taken them.
    pub fn certified(&self) -> u64 {
        let cursors = self.image.pipelines.values().map(|saved| saved.cursor);
        cursors.max().unwrap_or(1).saturating_sub(1)
    }
}

/// Looks at every record of the store in a directory. Changes nothing.
///
/// # Errors
/// When it cannot be read, or is of a version that is not known.
pub fn verify_store(dir: &Path) -> Result<Report, OpenError> {
    verify_records(dir, |record| {
        record.tag == TAG && postcard::from_bytes::<Record>(&record.payload).is_ok()
    })
}
