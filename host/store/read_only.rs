//! A store that is only read, also while a host writes it; and a look at every record of one. Key
//! types: [`ReadStore`], [`StoreReport`].

use std::path::Path;

use super::image::Image;
use super::letters::Letters;
use super::records::{Gap, Record};
use super::{TAG, replay};
use crate::seglog::{Damage, OpenError, ReadOnly, Report, verify};

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
}

/// What looking at every record of a store found.
#[derive(Debug, Default)]
pub struct StoreReport {
    /// Of the log.
    pub log: Report,
    /// Records that are as they were written and say nothing to this version.
    pub strange: Vec<u64>,
}

/// Looks at every record of the store in a directory. Changes nothing.
///
/// # Errors
/// When it cannot be read, or is of a version that is not known.
pub fn verify_store(dir: &Path) -> Result<StoreReport, OpenError> {
    let log = verify(dir)?;
    let mut strange = Vec::new();
    let read_only = ReadOnly::open(dir)?;
    let first = read_only.segments().first().map_or(1, |segment| segment.first_seq);
    let mut reader = read_only.reader(first);
    loop {
        let block = reader.read(usize::MAX, super::READ);
        let block = block.map_err(|error| OpenError::Io {
            what: "cannot read",
            path: dir.to_owned(),
            error,
        })?;
        if block.is_empty() {
            break;
        }
        let is_strange = |record: &&crate::seglog::Record| {
            record.tag != TAG || postcard::from_bytes::<Record>(&record.payload).is_err()
        };
        strange.extend(block.records.iter().filter(is_strange).map(|record| record.seq));
    }
    Ok(StoreReport { log, strange })
}

impl StoreReport {
    /// What is damaged, in order.
    pub fn damage(&self) -> &[Damage] {
        &self.log.damage
    }
}
