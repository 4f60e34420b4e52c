//! A log of records in segment files that are written ahead: append, group commit, read, repair. It
//! knows nothing of what the records hold. Boundary: files of one directory, which the caller has
//! locked, through [`Disk`]. Key types: [`Log`], [`Reader`], [`ReadOnly`].
//!
//! docs/journal-format.md has the format and the rules of recovery.

mod log;
mod types;

pub use log::*;
pub use types::*;
