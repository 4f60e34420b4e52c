//! What of a store could not be read, in words. Key function: [`notes`].

use std::ops::Range;

use super::image::Image;
use crate::seglog::Log;

/// What could not be read, and what it means.
pub(super) fn notes(log: &Log, image: &Image, lost: &[Range<u64>]) -> Vec<String> {
    let mut notes: Vec<String> = log
        .found()
        .damage
        .iter()
        .map(|damage| format!("store/{} at byte {}: {}", damage.file, damage.offset, damage.what))
        .collect();
    for range in lost {
        notes.push(format!(
            "store: records {} to {} cannot be read; a pipeline whose last commits they were goes on \
             from the commit before, and dead letters in them are in dead-letters.jsonl alone",
            range.start,
            range.end - 1
        ));
    }
    // Those of records that are known to be lost are told of already.
    let is_lost = |record: &u64| lost.iter().any(|range| range.contains(record));
    let unread: Vec<_> = image.unread.iter().filter(|(record, _)| !is_lost(record)).collect();
    if !unread.is_empty() {
        notes.push(format!(
            "store: {} dead letters are in dead-letters.jsonl alone: the records that they lay in are missing",
            unread.iter().map(|(_, count)| u64::from(**count)).sum::<u64>()
        ));
    }
    if image.lacks_its_beginning(log.first_seq()) {
        notes.push(format!(
            "store: its records before {} are missing; dead letters in them are in dead-letters.jsonl alone",
            log.first_seq()
        ));
    }
    let set_back = image.pipelines.iter().filter(|(_, saved)| saved.is_set_back);
    notes.extend(set_back.map(|(name, saved)| match saved.number {
        0 => format!(
            "store: of pipeline {name:?} nothing can be read; it begins anew with the oldest record \
             of the journal, and what is there is delivered again"
        ),
        _ => format!(
            "store: pipeline {name:?} is restored as of {}, record {} of the journal; what came \
             after is delivered again",
            crate::timestamp::format_time(crate::timestamp::Timestamp::from_micros(saved.time)),
            saved.cursor
        ),
    }));
    notes
}
