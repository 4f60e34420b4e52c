//! Who must have drained before a pipeline begins, so that what they have comes before what it gets.
//! Key type: [`Predecessor`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Pipeline, Shared};

/// How often it is looked whether one is held.
const LOOK: Duration = Duration::from_millis(100);

/// A pipeline that gets no more frames and ends when what it has is settled.
#[derive(Clone)]
pub struct Predecessor {
    name: String,
    ended: CancellationToken,
    held: Arc<Mutex<Option<String>>>,
    has_begun: Arc<AtomicBool>,
    must_end: bool,
}

impl Predecessor {
    /// `is_namesake`: where it is kept how far pipelines came, it is so by name, and never for two at once.
    pub fn new(pipeline: &Pipeline, is_namesake: bool) -> Self {
        Predecessor {
            must_end: is_namesake && pipeline.is_kept,
            name: pipeline.name.clone(),
            ended: pipeline.ended.clone(),
            held: Arc::clone(&pipeline.held),
            has_begun: Arc::clone(&pipeline.has_begun),
        }
    }

    /// One that is held for want of a plugin may never end, and is not waited for. One that waits itself
    /// for another to drain is.
    fn is_awaited(&self) -> bool {
        let has_begun = self.has_begun.load(Ordering::Acquire);
        let is_held = self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let waits_for_plugins = has_begun && is_held && !self.must_end;
        !(waits_for_plugins || self.ended.is_cancelled())
    }
}

/// Waits for all of them, and says so. False when the host stops first.
pub(super) async fn drained(
    predecessors: &[Predecessor],
    held: &Mutex<Option<String>>,
    shared: &Shared,
) -> bool {
    while let Some(predecessor) = predecessors.iter().find(|other| other.is_awaited()) {
        let why = format!("it waits for pipeline {:?} to drain", predecessor.name);
        *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        tokio::select! {
            () = shared.stop.cancelled() => return false,
            () = predecessor.ended.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    *held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    true
}
