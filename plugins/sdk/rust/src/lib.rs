//! Write plugins for Trommel in Rust: one function per event.
//!
//! Trommel passes events through plugins in batches, as columns, because that is quick. This crate
//! turns the columns into events and what you answer into columns, and errors into faults, so that
//! one bad event never costs the others.
//!
//! A plugin is a type that implements [`Plugin`] (what it is, what it is configured with, what it
//! wants to see) and one role: [`Filter`](trait@Filter), [`Transform`](trait@Transform),
//! [`Alert`](trait@Alert) or [`Export`](trait@Export). A macro of the role's name makes it the
//! plugin of its crate.
//!
//! ```
//! use serde::Deserialize;
//! use trommel_plugin::prelude::*;
//! use trommel_plugin::{json, pointer};
//!
//! /// Drops heartbeats, and events from sites under maintenance.
//! struct Quiet {
//!     sites: Vec<String>,
//! }
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     sites: Vec<String>,
//! }
//!
//! impl Plugin for Quiet {
//!     type Config = Config;
//!
//!     fn describe() -> Description {
//!         Description::new("quiet", env!("CARGO_PKG_VERSION"))
//!     }
//!
//!     fn configure(config: Config) -> Result<Self, String> {
//!         Ok(Self { sites: config.sites })
//!     }
//!
//!     fn wants(&self) -> Wants {
//!         Wants::all(Fields::DATA)
//!     }
//! }
//!
//! impl Filter for Quiet {
//!     // Asked once per type in a batch: heartbeats cost nothing per event.
//!     fn keep_type(&self, ty: &str) -> Option<bool> {
//!         if ty.ends_with(".heartbeat") { Some(false) } else { None }
//!     }
//!
//!     fn keep(&mut self, event: &Event<'_>) -> Result<bool, Fault> {
//!         // One value, found without making a value of the whole payload.
//!         let site = pointer::find(event.data(), "/site").and_then(json::string);
//!         let site = site.ok_or("the event names no site")?;
//!         Ok(!self.sites.iter().any(|quiet| *quiet == site))
//!     }
//! }
//!
//! trommel_plugin::filter!(Quiet);
//! # fn main() {}
//! ```
//!
//! The crate is a `cdylib`, built for `wasm32-unknown-unknown` or `wasm32-wasip2`; the host takes
//! either file.
//!
//! What the host offers is in [`log`], [`clock`], [`state`] and [`metrics`], and in [`http`] for
//! export plugins. What is handy with payloads: [`mod@pointer`], [`json`], [`condition`], [`glob`],
//! [`duration`]. On any target but WebAssembly the host is a stand-in in memory, so a plugin is
//! tested with plain `cargo test`; see `testing`.
//!
//! A component imports what it calls and nothing else: a filter that called [`http::send`] would
//! import what its world does not have, and the host would refuse it.

pub mod alert;
pub mod batch;
mod block;
pub mod clock;
pub mod condition;
pub mod duration;
mod escape;
pub mod export;
pub mod filter;
pub mod glob;
pub mod http;
#[doc(hidden)]
pub mod instance;
pub mod json;
pub mod log;
pub mod metrics;
pub mod plugin;
pub mod pointer;
pub mod raw;
mod scan;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod transform;

pub use alert::Alert;
pub use batch::{Batch, Event};
pub use export::Export;
pub use filter::Filter;
pub use plugin::{Description, Fault, Fields, NoConfig, Plugin, Wants};
pub use transform::Transform;

/// What most plugins need: `use trommel_plugin::prelude::*;`.
pub mod prelude {
    pub use crate::alert::{Alert, Severity, Signal, Signals};
    pub use crate::batch::{Batch, Event};
    pub use crate::export::{Export, Undelivered};
    pub use crate::filter::Filter;
    pub use crate::plugin::{Description, Fault, Fields, NoConfig, Plugin, Wants};
    pub use crate::transform::{NewEvent, Outcome, Transform};
    pub use crate::{clock, log, metrics, state};
}
