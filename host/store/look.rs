//! A look at a store that another process may have open. Key function: [`gaps_in`].

use std::path::Path;

use super::image::Image;
use super::records::{Gap, Record};
use super::{OpenError, READ, TAG};
use crate::seglog::ReadOnly;

/// The gaps in the store in this directory, the oldest first; none where there is no store. What cannot
/// be read is passed over: it is in the next checkpoint.
///
/// # Errors
/// When it cannot be read at all, or is of a version that is not known.
pub fn gaps_in(dir: &Path) -> Result<Vec<Gap>, OpenError> {
    let log = ReadOnly::open(dir)?;
    let first = log.segments().first().map_or(1, |segment| segment.first_seq);
    let (mut reader, mut image) = (log.reader(first), Image::default());
    loop {
        let block = reader.read(usize::MAX, READ).map_err(|error| OpenError::Io {
            what: "cannot read",
            path: dir.to_owned(),
            error,
        })?;
        if block.is_empty() {
            return Ok(image.gaps);
        }
        for record in block.records.iter().filter(|record| record.tag == TAG) {
            match postcard::from_bytes(&record.payload) {
                Ok(gap @ Record::Gap(_)) => image.apply(record.seq, gap),
                Ok(Record::Checkpoint(checkpoint)) => {
                    checkpoint.gaps.into_iter().for_each(|gap: Gap| {
                        image.apply(record.seq, Record::Gap(gap));
                    });
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}
