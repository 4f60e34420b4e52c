//! One delivery on its way out: what a filter leaves of it, cut into pieces to write, and which of
//! its frames are out. Key type: [`Outgoing`].

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::batch::{Batch, Delivery};
use super::hub::{Filter, passes};

/// Where it matters who got what, so much is written at a time: one TLS record, of which it is known
/// whether it was written.
const COUNTED_PIECE: usize = 16 * 1024;

/// A delivery being written, or a part of one.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Where it comes from.
    pub delivery: Delivery,
    /// How long to wait before the first piece.
    pub pause: Option<Duration>,
    /// What is written.
    bytes: Bytes,
    /// The frames of `bytes`: where each ends, and its place in the batch. Empty where nobody
    /// counts.
    frames: Vec<(usize, u32)>,
    at: usize,
    counted: usize,
}

impl Outgoing {
    /// A delivery as it is; `exact` where it matters which frames are out.
    pub fn new(delivery: Delivery, filter: &Filter, exact: bool) -> Self {
        let batch = &delivery.batch;
        let (bytes, frames) = if filter.is_some() || delivery.frames.is_some() {
            pick(batch, &wanted(&delivery, filter))
        } else if exact {
            let ends = batch.marks.iter().map(|mark| mark.end as usize);
            (batch.bytes.clone(), ends.zip(0..).collect())
        } else {
            (batch.bytes.clone(), Vec::new())
        };
        Outgoing { delivery, pause: None, bytes, frames, at: 0, counted: 0 }
    }

    /// Some of a delivery's frames, written in a way of their own.
    pub fn part(delivery: &Delivery, bytes: Bytes, frames: Vec<(usize, u32)>) -> Self {
        let delivery = Delivery { then: None, asks: false, ..delivery.clone() };
        Outgoing { delivery, pause: None, bytes, frames, at: 0, counted: 0 }
    }

    /// The next piece, and how many frames are out once it is.
    pub fn next_piece(&mut self) -> (Bytes, usize) {
        let from = self.at;
        let mut marks = self.frames.len();
        self.at = self.bytes.len();
        if marks > 0 {
            // At least one frame, else as many as fit.
            let fits = |(end, _): &(usize, u32)| *end <= from + COUNTED_PIECE;
            marks = self.frames.partition_point(fits).max(self.counted + 1).min(marks);
            self.at = marks.checked_sub(1).map_or(self.at, |last| self.frames[last].0);
        }
        (self.bytes.slice(from..self.at), marks)
    }

    /// Counts frames as out, up to this one; gives back those that were not before.
    pub fn count(&mut self, marks: usize) -> Range<usize> {
        let from = self.counted;
        self.counted = from.max(marks);
        from..self.counted
    }

    /// How many frames are written when so many bytes of the piece last taken are left.
    pub fn written(&self, left: usize) -> usize {
        let position = self.at.saturating_sub(left);
        self.frames.partition_point(|(end, _)| *end <= position)
    }

    /// Some of its frames, as places in the batch.
    pub fn frames(&self, range: Range<usize>) -> impl Iterator<Item = u32> {
        self.frames.get(range).unwrap_or_default().iter().map(|(_, frame)| *frame)
    }

    /// Whether its last piece has been taken.
    pub fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// What is not out, as a delivery for somebody else.
    pub fn rest(self) -> Option<Delivery> {
        let frames: Vec<u32> = self.frames.iter().skip(self.counted).map(|(_, f)| *f).collect();
        (!frames.is_empty()).then(|| Delivery { frames: Some(frames.into()), ..self.delivery })
    }
}

/// The frames of a delivery that pass a filter.
pub(super) fn wanted(delivery: &Delivery, filter: &Filter) -> Vec<u32> {
    let marks = &delivery.batch.marks;
    let passes = |frame: &u32| passes(filter, marks[*frame as usize].kind);
    match &delivery.frames {
        Some(frames) => frames.iter().copied().filter(passes).collect(),
        None => (0..marks.len() as u32).filter(passes).collect(),
    }
}

/// Some frames of a batch in one piece, and where each ends.
fn pick(batch: &Arc<Batch>, wanted: &[u32]) -> (Bytes, Vec<(usize, u32)>) {
    let mut bytes = Vec::with_capacity(batch.bytes.len());
    let mut frames = Vec::with_capacity(wanted.len());
    for frame in wanted {
        bytes.extend_from_slice(batch.frame(*frame as usize));
        frames.push((bytes.len(), *frame));
    }
    (bytes.into(), frames)
}
