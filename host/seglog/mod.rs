//! A log of records in segment files that are written ahead: append, group commit, read, repair. It
//! knows nothing of what the records hold. Boundary: files of one directory, which the caller has
//! locked, through [`Disk`]. Key types: [`Log`], [`Reader`], [`ReadOnly`].
//!
//! docs/journal-format.md has the format and the rules of recovery.

mod disk;
mod format;
mod load;
mod log;
mod maker;
mod open;
mod read_only;
mod reader;
mod scan;
mod segment;
mod state;
mod turn;
mod types;
mod walk;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use disk::{Dir, Disk, DiskFile};
pub use log::Log;
pub use read_only::{ReadOnly, verify, verify_on, verify_records};
pub use reader::Reader;
pub use types::{
    AppendError, Block, Damage, Entry, Found, NotClosed, OnDurable, OpenError, Options, Record,
    Report, SegmentInfo, TornTail,
};
