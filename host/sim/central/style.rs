//! The slow way of writing: what one connection gets where a fault is in how frames are written, not
//! in which there are. Key type: [`Style`].

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;

use super::batch::Delivery;
use super::faults::{Faults, Stall};
use super::hub::Filter;
use super::outgoing::{Outgoing, wanted};
use super::websocket::{Opcode, payload_of, push_control, push_fragment};
use crate::sim::content::Rng;

/// How the frames of one connection are written.
#[derive(Debug)]
pub(super) struct Style {
    reordered: Option<NonZeroU64>,
    fragmented: Option<NonZeroU64>,
    oversized: Option<(NonZeroU64, Bytes)>,
    stall: Option<Stall>,
    rng: Rng,
    /// How many frames the connection has had.
    frames: u64,
    /// A pause that is due before anything else.
    pause: Option<Duration>,
}

impl Style {
    /// The style of a connection; `None` where it is the plain one. `oversized` is the stream's
    /// oversized frame.
    pub fn new(faults: &Faults, oversized: Option<Bytes>, rng: Rng) -> Option<Self> {
        let oversized = faults.oversized.map(|o| o.every).zip(oversized);
        let Faults { reordered, fragmented, stall, .. } = *faults;
        let any = reordered.is_some() || fragmented.is_some() || stall.is_some();
        (any || oversized.is_some()).then(|| Style {
            reordered,
            fragmented,
            oversized,
            stall,
            rng,
            frames: 0,
            pause: None,
        })
    }

    /// Adds a delivery to what is to be written.
    pub fn push(&mut self, delivery: Delivery, filter: &Filter, out: &mut VecDeque<Outgoing>) {
        let mut order = wanted(&delivery, filter);
        if let Some(window) = self.reordered {
            let window = usize::try_from(window.get()).unwrap_or(usize::MAX);
            order.chunks_mut(window).for_each(|chunk| self.shuffle(chunk));
        }
        let mut part = Part::default();
        for frame in order {
            self.write(delivery.batch.frame(frame as usize), &mut part.bytes);
            part.frames.push((part.bytes.len(), frame));
            self.frames += 1;
            let is_due = |every: NonZeroU64| self.frames.is_multiple_of(every.get());
            let big = self.oversized.as_ref().filter(|(every, _)| is_due(*every));
            let pause = self.stall.filter(|stall| is_due(stall.every));
            if let Some((_, big)) = big {
                let big = big.clone();
                self.end_part(&mut part, &delivery, out);
                out.push_back(Outgoing::part(&delivery, big, Vec::new()));
            }
            if let Some(stall) = pause {
                self.end_part(&mut part, &delivery, out);
                self.pause = Some(stall.pause);
            }
        }
        self.end_part(&mut part, &delivery, out);
        if delivery.then.is_some() || delivery.asks {
            let mut last = Outgoing::part(&delivery, Bytes::new(), Vec::new());
            (last.delivery.then, last.delivery.asks) = (delivery.then, delivery.asks);
            out.push_back(last);
        }
    }

    fn end_part(&mut self, part: &mut Part, delivery: &Delivery, out: &mut VecDeque<Outgoing>) {
        let Part { bytes, frames } = std::mem::take(part);
        if !bytes.is_empty() {
            let mut outgoing = Outgoing::part(delivery, bytes.into(), frames);
            outgoing.pause = self.pause.take();
            out.push_back(outgoing);
        }
    }

    fn shuffle(&mut self, frames: &mut [u32]) {
        for last in (1..frames.len()).rev() {
            frames.swap(last, self.rng.index(last + 1));
        }
    }

    /// One frame, whole or as a message in several frames with pings between them (RFC 6455 §5.4).
    fn write(&self, frame: &[u8], out: &mut Vec<u8>) {
        let Some(parts) = self.fragmented.map(|n| n.get() as usize).filter(|n| *n > 1) else {
            return out.extend_from_slice(frame);
        };
        let opcode = if frame.first() == Some(&0x81) { Opcode::Text } else { Opcode::Binary };
        let payload = payload_of(frame);
        for part in 0..parts {
            let cut = |n: usize| payload.len() * n / parts;
            let opcode = if part == 0 { opcode } else { Opcode::Continuation };
            push_fragment(out, opcode, part + 1 == parts, &payload[cut(part)..cut(part + 1)]);
            if part + 1 < parts {
                push_control(out, Opcode::Ping, b"between");
            }
        }
    }
}

#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    frames: Vec<(usize, u32)>,
}
