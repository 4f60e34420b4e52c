//! What a source hands on: frames as received, in the order of one connection. Knows nothing of
//! what is in them. Key type: [`Chunk`].

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a frame was on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Binary: what events come in.
    #[default]
    Binary,
    /// Text, which is a dead letter.
    Text,
    /// Larger than the limit, that many bytes, of which only the first are here: a dead letter too.
    TooLarge(u64),
}

/// One frame as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it was.
    pub kind: Kind,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Frame {
    /// A binary frame.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Frame { kind: Kind::Binary, bytes: bytes.into() }
    }

    /// A text frame.
    pub fn text(bytes: impl Into<Bytes>) -> Self {
        Frame { kind: Kind::Text, bytes: bytes.into() }
    }

    /// A frame over the limit: its size and its first bytes.
    pub fn too_large(size: u64, head: impl Into<Bytes>) -> Self {
        Frame { kind: Kind::TooLarge(size), bytes: head.into() }
    }
}

/// Where frames come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Name of the source in the configuration.
    pub source: Arc<str>,
    /// Name of the stream, for example `ap-events`. It is the event's extension attribute `stream`.
    pub stream: Arc<str>,
}

/// Some frames of one stream, oldest first; never empty.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Where they come from.
    pub origin: Arc<Origin>,
    /// The frames.
    pub frames: Vec<Frame>,
    /// When they were read.
    pub received: Instant,
}

impl Chunk {
    /// Frames that were read just now.
    pub fn new(origin: Arc<Origin>, frames: Vec<Frame>) -> Self {
        Chunk { origin, frames, received: Instant::now() }
    }

    /// How many bytes its frames hold.
    pub fn bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.bytes.len()).sum()
    }
}
