//! The simulators: servers that stand in for a vendor, for demos and tests. Key module:
//! [`central`].

pub mod central;
mod content;
