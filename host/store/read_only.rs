//! A store that is only read, also while a host writes it; and a look at every record of one. Key
//! type: [`ReadStore`].

use std::io;
use std::path::{Path, PathBuf};

use super::image::Image;
use super::letters::Letters;
use super::records::{Gap, Record};
use super::{TAG, replay};
use crate::seglog::{OpenError, ReadOnly, Report, verify_records};

/// A store as it was when it was opened. Changes nothing.
pub struct ReadStore {
    dir: PathBuf,
    log: ReadOnly,
    image: Image,
    /// Records that cannot be read, or are missing.
    lost: u64,
}

impl ReadStore {
    /// Reads the store in a directory; one that is empty is a store without anything in it.
    ///
    /// # Errors
    /// When it cannot be read, or is of a version that is not known.
    pub fn open(dir: &Path) -> Result<ReadStore, OpenError> {
        let log = ReadOnly::open(dir)?;
        let first = log.segments().first().map_or(1, |segment| segment.first_seq);
        let (image, lost) = replay(log.reader(first), dir)?;
        // A host may have let go of some meanwhile.
        let first = log.segments().first().map_or(1, |segment| segment.first_seq);
        let lost = lost.iter().map(|range| range.end.saturating_sub(range.start.max(first)));
        let missing = if image.lacks_its_beginning(first) { first - 1 } else { 0 };
        let lost = lost.sum::<u64>() + missing;
        Ok(ReadStore { dir: dir.to_owned(), log, image, lost })
    }

    /// What of it cannot be read, in words, if anything: then what is shown of it may not be all.
    pub fn trouble(&self) -> Option<String> {
        let damage = self.log.found().damage.len();
        let letters: u64 = self.image.unread.values().map(|count| u64::from(*count)).sum();
        let is_whole = self.lost == 0 && letters == 0 && damage == 0;
        (!is_whole).then(|| {
            format!(
                "the store is damaged, and this may not be all of it: {} records and {letters} dead \
                 letters cannot be read; trommel journal verify says where",
                self.lost
            )
        })
    }

    /// Dead letters that nobody is done with, the oldest first.
    pub fn letters(&self) -> Letters {
        let dir = self.dir.clone();
        let now = move || {
            let now = ReadStore::open(&dir).map_err(io::Error::other)?;
            Ok((now.image.letters, now.image.settled))
        };
        let todo = self.image.letters.records().map(|(record, lying)| (record, lying.at));
        Letters::new(self.log.reader(1), todo, self.image.settled.clone(), Box::new(now))
    }

    /// Gaps, the oldest first.
    pub fn gaps(&self) -> &[Gap] {
        &self.image.gaps
    }

    /// Whether any pipeline has a place in the journal.
    pub fn knows_pipelines(&self) -> bool {
        !self.image.pipelines.is_empty()
    }

    /// The pipeline that is furthest behind, and the record of the journal that it takes next.
    pub fn slowest(&self) -> Option<(&str, u64)> {
        let cursors = self.image.pipelines.iter().map(|(name, saved)| (&**name, saved.cursor));
        cursors.min_by_key(|(_, cursor)| *cursor)
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
