//! Trommel.

pub mod batch;
pub mod columns;
pub mod decode;
pub mod frame;
pub mod line;
pub mod outcome;
pub mod text;
