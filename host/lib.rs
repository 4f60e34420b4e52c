//! Trommel keeps live event streams open, decodes every event, and passes it through small sandboxed
//! WebAssembly plugins that filter, transform, alert or export.
//!
//! # The path of an event
//!
//! ```text
//! source -> frame::Chunk -> pipeline::Input (bounded) -> Decoder -> Batch -> plugins -> sinks -> Tally
//!                                                           |                  |          |
//!                                                           +-- dead letters --+----------+
//! ```
//!
//! A [`source`] reads [`frame`]s and puts them into the queue of each pipeline that takes from it; a
//! full queue makes it wait. A [`pipeline`] is one thread. It takes some frames, [`decode`]s them into
//! a [`batch`], and runs its plugins over [`columns`] of it, through the traits of [`runner`]. What
//! they answer ([`outcome`]) is checked before it is used. Where a call fails, the batch is halved
//! until the one event at fault is found; that one becomes a [`dead_letter`], the others go on. What is
//! left goes to export plugins and [`sink`]s, and the [`tally`] counts how each frame ended, once.
//!
//! # Modules
//!
//! | plain data and pure logic | |
//! |---|---|
//! | [`frame`], [`batch`], [`columns`], [`outcome`] | events on their way, and what plugins say of them |
//! | [`runner`] | the seam between pipelines and plugins |
//! | [`state`], [`tally`], [`meter`] | what a plugin remembers; what became of every frame; how long it took |
//! | [`line`](mod@line), [`text`], [`timestamp`], [`pattern`], [`backoff`] | CloudEvents lines, JSON text, times, type patterns, waits |
//! | [`excerpt`](mod@excerpt), [`proxy`], [`swap`] | what others said, on one line; which proxy leads to a server; lists that are replaced |
//!
//! | what does things | |
//! |---|---|
//! | [`config`] | from TOML to what the host builds from; secrets |
//! | [`source`], [`sink`] | where frames come from; where events end |
//! | [`decode`] | envelope, which message, payload as JSON |
//! | [`pipeline`] | batches, order, back-pressure, halving, delivery |
//! | [`plugin`] | the plugin host: load, call, limit, replace |
//! | [`alert`], [`dead_letter`] | what people must know; what was of no use |
//! | [`gap`] | when nobody knows what was sent |
//! | [`dial`](mod@dial) | from a URL to a TLS connection, through proxies; one HTTP request on it |
//! | [`telemetry`], [`notify`], [`tls`] | log, metrics, health; the service manager; whom servers are trusted by |
//! | [`control`] | what a command has a running host do |
//! | [`seglog`] | records on disk: append, group commit, read, repair |
//! | [`thread`](mod@thread) | threads of low priority |
//! | [`sim`] | the simulated Central |
//! | [`cli`], [`app`] | the commands; the composition root, which alone sees everything |
//!
//! ARCHITECTURE.md has the invariants: who must never know whom, and why.

pub mod alert;
pub mod app;
pub mod backoff;
pub mod batch;
pub mod cli;
pub mod columns;
pub mod config;
pub mod control;
pub mod copy;
pub mod dead_letter;
pub mod decode;
pub mod dial;
pub mod dir;
pub mod excerpt;
pub mod frame;
pub mod gap;
pub mod histogram;
pub mod journal;
pub mod line;
pub mod meter;
pub mod notify;
pub mod outcome;
pub mod pattern;
pub mod pipeline;
pub mod plugin;
pub mod proxy;
mod row;
pub mod runner;
pub mod seglog;
mod shapes;
pub mod sim;
pub mod sink;
pub mod source;
pub mod state;
pub mod store;
pub mod swap;
pub mod tally;
pub mod telemetry;
pub mod text;
pub mod thread;
pub mod timestamp;
pub mod tls;

/// How the host calls itself towards servers.
pub const USER_AGENT: &str = concat!("trommel/", env!("CARGO_PKG_VERSION"));
