//! What an earlier process left of streams is read back from the journal's end, while the rest of the
//! host starts; and what the journal has lost becomes a gap. Key function: [`recall`].

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::gap::{Gap, Ledger, Reason, Recall};
use crate::journal::{Journal, Journalled};
use crate::source::central::{Memory, WINDOW, id_of};
use crate::timestamp::now_micros;

/// How much of the journal is read for it, on disk.
const MAX_BYTES: u64 = 1 << 30;

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// After how many frames the clock is looked at.
const LOOK_EVERY: u64 = 1 << 14;

/// Streams by the names of source and stream.
pub(super) type Memories = Vec<((String, String), Arc<Memory>)>;

/// However it ends, streams may be connected then.
struct Ready(Memories);

impl Drop for Ready {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, memory)| memory.set_ready());
    }
}

/// Has streams remember what the journal held before this record; they are connected after that.
pub(super) fn recall(
    journal: Arc<Journal>,
    before: u64,
    memories: Memories,
) -> std::io::Result<()> {
    let memories = Ready(memories);
    let thread = std::thread::Builder::new().name("recall".to_owned());
    thread.spawn(move || read(&journal, before, &memories.0))?;
    Ok(())
}

fn read(journal: &Journal, before: u64, memories: &Memories) {
    let begun = Instant::now();
    let recalls = memories.iter().map(|(name, memory)| (name, memory, memory.gaps.recall()));
    let mut recalls: Vec<(&(String, String), &Arc<Memory>, Recall)> = recalls.collect();
    let (mut frames, mut told) = (0_u64, begun);
    let end = journal.tail(before, WINDOW as u64, MAX_BYTES, |origin, frame, time| {
        let is_its = |(source, stream): &(String, String)| {
            *source == *origin.source && *stream == *origin.stream
        };
        if let Some((_, memory, recall)) = recalls.iter_mut().find(|(name, ..)| is_its(name)) {
            memory.recall(recall, frame, time);
            frames += 1;
        }
        if frames % LOOK_EVERY == 0 && told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tracing::info!(
                frames,
                "reads back what streams brought last; they are connected after that"
            );
        }
    });
    let end = end.unwrap_or_else(|error| {
        tracing::error!(%error, "the journal cannot be read: what a server sends again may come twice");
        0
    });
    let is_clean = journal.found().is_clean;
    for (_, memory, recall) in recalls {
        memory.gaps.resume(recall.tail(end, is_clean, id_of));
    }
    let took_ms = begun.elapsed().as_millis() as u64;
    tracing::debug!(frames, took_ms, "read back what streams brought last");
}

/// Writes down records of the journal that cannot be read any more.
pub(super) fn tell_lost(
    journal: &Journal,
    gaps: &Ledger,
    records: Range<u64>,
    reason: Reason,
    what: &str,
) {
    gaps.lost(reason, records, |records, unread| {
        let [before, after] = journal.around(unread);
        let id = |event: &Option<Journalled>| {
            event.as_ref().map_or_else(String::new, |event| id_of(&event.frame.bytes))
        };
        let time = |event: &Option<Journalled>| event.as_ref().map(|event| event.time);
        let to = time(&after).unwrap_or_else(now_micros);
        let (count, plural) = match records.end - records.start {
            1 => (1, ""),
            count => (count, "s"),
        };
        Gap {
            from: time(&before).unwrap_or(to),
            to: Some(to),
            detail: format!("{count} record{plural} of the journal: {what}"),
            last_id: id(&before),
            first_id: id(&after),
            replayed: Some(false),
            ..Gap::default()
        }
    });
}
