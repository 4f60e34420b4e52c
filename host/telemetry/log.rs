//! Logs: lines on standard error, in colour where a person reads them. Key function: [`start`].

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging. `filter` is as tracing's `EnvFilter` reads it, for example `info` or
/// `trommel=debug`; one that it cannot read counts as `info`, with a warning.
pub fn start(filter: &str) {
    let parsed = EnvFilter::try_new(filter);
    let warning = parsed.as_ref().err().map(ToString::to_string);
    let started = tracing_subscriber::fmt()
        .with_env_filter(parsed.unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
    if started.is_ok()
        && let Some(warning) = warning
    {
        tracing::warn!("TROMMEL_LOG is not a log filter: {warning}");
    }
}
