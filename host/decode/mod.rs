//! From a frame to an event: the envelope, which message its payload is, and the payload as JSON.
//! The only module besides the simulators that knows protobuf. Key types: [`Decoder`],
//! [`Registry`].

pub mod built_in;
pub mod catalog;
mod decoder;
mod envelope;
mod identity;
mod json;
mod known;
mod registry;
mod table;
mod template;
mod wire;

pub use decoder::Decoder;
pub use envelope::{Attribute, Data, Envelope};
pub use identity::{Identity, identity};
pub use registry::{MessageId, Registry};

use crate::runner::Reason;

/// The messages of `proto/`, as prost builds them: for the envelope and for the simulators.
#[expect(missing_docs, reason = "what prost adds carries no comments")]
#[allow(clippy::all, clippy::pedantic, reason = "generated code")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

/// The descriptors of `proto/`, imports included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Why a frame, or the payload of one, could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame was text; Central's events are binary.
    #[error("a text frame; events come in binary frames")]
    TextFrame,
    /// The frame was over the limit, and was not read whole.
    #[error("a frame of {0} bytes, over the limit of its source (max_frame)")]
    TooLarge(u64),
    /// Not a CloudEvent at all.
    #[error("not a CloudEvents envelope: {0}")]
    Envelope(String),
    /// A CloudEvent without what every CloudEvent has.
    #[error("the envelope has no {0}")]
    Missing(&'static str),
    /// The payload is not the message it should be.
    #[error("the payload is not a {message}: {detail}")]
    Payload {
        /// Full name of the message.
        message: String,
        /// What is wrong.
        detail: String,
    },
}

impl DecodeError {
    /// What a dead letter with this error counts as.
    pub fn reason(&self) -> Reason {
        match self {
            DecodeError::TooLarge(_) => Reason::Limit,
            _ => Reason::Decode,
        }
    }
}
