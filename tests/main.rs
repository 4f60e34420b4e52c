//! The integration tests, one binary: linking wasmtime once is enough. They drive the real program
//! against the simulator with real plugins; `make plugins` builds those.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on may panic"
)]

mod access;
mod bad_input;
mod cli;
mod config;
mod config_reload;
mod crash;
mod decode;
mod dlq;
mod durable;
mod egress;
mod examples;
mod fail_closed;
mod flips;
mod frames;
mod gaps;
mod hostile;
mod journal_files;
mod matrix;
mod misbehave;
mod pipeline;
mod redrive;
mod reload;
mod renewal;
mod rotation;
mod scanner;
mod service;
mod sim;
mod sinks;
mod source;
mod support;
mod tail;
mod telemetry;
mod tidy;
mod vendor;
