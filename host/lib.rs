//! Trommel.

pub mod alert;
pub mod app;
pub mod backoff;
pub mod batch;
pub mod cli;
pub mod columns;
pub mod config;
pub mod dead_letter;
pub mod decode;
pub mod frame;
pub mod line;
pub mod outcome;
pub mod pattern;
pub mod pipeline;
pub mod plugin;
pub mod runner;
pub mod sim;
pub mod sink;
pub mod source;
pub mod state;
pub mod tally;
pub mod telemetry;
pub mod text;
pub mod tls;
