//! Trommel.

pub mod batch;
pub mod cli;
pub mod columns;
pub mod decode;
pub mod frame;
pub mod line;
pub mod outcome;
pub mod sim;
pub mod text;
