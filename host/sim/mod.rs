//! The simulators: servers that stand in for a vendor, or for what lies on the way to one, for demos
//! and tests. Key modules: [`central`], [`proxy`].

pub mod central;
mod content;
pub mod proxy;
