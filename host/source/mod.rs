//! Where frames come from. Key types: [`BuiltIn`], [`central::Central`].

mod built_in;
pub mod central;

pub use built_in::BuiltIn;
