//! Where frames come from. Key types: [`BuiltIn`], [`central::Central`], [`Replay`].

mod built_in;
pub mod central;
mod replay;
mod status;

pub use built_in::BuiltIn;
pub use replay::Replay;
pub use status::{SharedStatus, State, Status};
