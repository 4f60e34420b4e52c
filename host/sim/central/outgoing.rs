//! One delivery on its way out: what a filter leaves of it, cut into pieces to write, and which of
//! its frames are out. Key type: [`Outgoing`].

use std::sync::Arc;

use bytes::Bytes;

use super::batch::{Batch, Delivery};
use super::hub::passes;

/// Where a ledger counts, so much is written at a time: one TLS record, of which it is known
/// whether it was written.
const COUNTED_PIECE: usize = 16 * 1024;

/// A delivery being written.
pub(super) struct Outgoing {
    /// What is being written.
    pub delivery: Delivery,
    /// What passes the filter.
    bytes: Bytes,
    /// The frames of `bytes`: where each ends, and its place in the batch. Empty where nobody
    /// counts.
    frames: Vec<(usize, usize)>,
    at: usize,
    counted: usize,
}

impl Outgoing {
    /// Begins a delivery.
    pub fn new(delivery: Delivery, filter: &Option<Arc<[bool]>>) -> Self {
        let batch = &delivery.batch;
        let (bytes, frames) = match filter {
            None => (batch.bytes.clone(), Vec::new()),
            Some(_) => pick(batch, filter),
        };
        let frames = match filter {
            None if batch.is_counted() => {
                let ends = batch.marks.iter().map(|mark| mark.end as usize);
                ends.zip(0..).collect()
            }
            _ => frames,
        };
        Outgoing { delivery, bytes, frames, at: 0, counted: 0 }
    }

    /// The next piece, and how many frames are out once it is.
    pub fn next_piece(&mut self) -> (Bytes, usize) {
        let from = self.at;
        let mut marks = self.frames.len();
        self.at = self.bytes.len();
        if self.delivery.batch.is_counted() {
            // At least one frame, else as many as fit.
            let fits = |(end, _): &(usize, usize)| *end <= from + COUNTED_PIECE;
            marks = self.frames.partition_point(fits).max(self.counted + 1).min(marks);
            self.at = marks.checked_sub(1).map_or(self.at, |last| self.frames[last].0);
        }
        (self.bytes.slice(from..self.at), marks)
    }

    /// Counts the frames that are out, up to this one.
    pub fn count(&mut self, marks: usize) {
        for (_, index) in self.frames.get(self.counted..marks).unwrap_or_default() {
            self.delivery.batch.count(*index);
        }
        self.counted = self.counted.max(marks);
    }

    /// Whether its last piece has been taken.
    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }
}

/// The frames of a batch that pass a filter, in one piece.
fn pick(batch: &Batch, filter: &Option<Arc<[bool]>>) -> (Bytes, Vec<(usize, usize)>) {
    let mut bytes = Vec::with_capacity(batch.bytes.len());
    let mut frames = Vec::new();
    for (index, mark) in batch.marks.iter().enumerate() {
        if passes(filter, mark.kind) {
            bytes.extend_from_slice(&batch.bytes[batch.start(index)..mark.end as usize]);
            frames.push((bytes.len(), index));
        }
    }
    (bytes.into(), frames)
}
