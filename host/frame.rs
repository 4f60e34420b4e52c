//! What a source hands on: frames as received, in the order of one connection. Knows nothing of
//! what is in them. Key type: [`Chunk`].

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

/// One frame as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether it came as text. Events come in binary frames; a text frame is a dead letter.
    pub is_text: bool,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Frame {
    /// A binary frame.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Frame { is_text: false, bytes: bytes.into() }
    }

    /// A text frame.
    pub fn text(bytes: impl Into<Bytes>) -> Self {
        Frame { is_text: true, bytes: bytes.into() }
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
