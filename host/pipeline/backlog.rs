//! Counts what a pipeline finds in the journal when it begins, on its own thread: it is held until then, and
//! meanwhile the host starts, and its sources receive. Key function: [`count`].

use std::time::{Duration, Instant};

use super::Shared;
use super::input::Intake;

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// How long after a failure it is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// What keeps a pipeline from beginning, in words, if it is that something has to be counted.
pub(super) fn why(intake: &Intake) -> Option<String> {
    let is_there = matches!(intake, Intake::Feed(feed) if feed.has_backlog());
    is_there.then(|| "it counts what the journal holds for it".to_owned())
}

/// Counts what is there as received, unless the host has to end first. Nothing is taken before, so that
/// never more is settled than was received.
pub(super) fn count(pipeline: &str, intake: &mut Intake, shared: &Shared) {
    let Intake::Feed(feed) = intake else { return };
    let (mut held, mut told) = (0, Instant::now());
    while !shared.stop.is_cancelled() {
        match feed.count() {
            Ok(Some(more)) => held += more,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(pipeline, %error, "the journal cannot be read; it is tried again");
                let stopped = shared.stop.cancelled();
                // Either way it is looked at again.
                let _ = shared
                    .runtime
                    .block_on(async { tokio::time::timeout(READ_AGAIN, stopped).await });
            }
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tracing::info!(pipeline, held, "counts what the journal holds for it");
        }
    }
    if held > 0 {
        tracing::info!(pipeline, held, "goes on with what the journal holds");
    }
}
