//! Logs: lines on standard error, for a person on a terminal, as JSON elsewhere. Key function:
//! [`start`].

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// `human` on a terminal, `json` elsewhere.
    #[default]
    Auto,
    /// Time, level, message, fields as `name=value`; in colour on a terminal.
    Human,
    /// An object a line: `timestamp`, `level`, `message`, and the fields beside them.
    Json,
}

/// Starts logging. `filter` is as tracing's `EnvFilter` reads it, for example `info` or
/// `trommel=debug`; one that it cannot read counts as `info`, with a warning. Colour is for terminals
/// only, and not where `no_color` says so. Called once; later calls change nothing.
pub fn start(filter: &str, format: Format, no_color: bool) {
    let parsed = EnvFilter::try_new(filter);
    let warning = parsed.as_ref().err().map(ToString::to_string);
    let is_terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(parsed.unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_timer(SystemTime)
        .with_ansi(is_terminal && !no_color)
        .with_target(false);
    let is_human = format == Format::Human || (format == Format::Auto && is_terminal);
    let started = match is_human {
        true => log.try_init(),
        false => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
    if started.is_ok()
        && let Some(warning) = warning
    {
        tracing::warn!("{filter:?} is not a log filter: {warning}");
    }
}
