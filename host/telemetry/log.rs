//! Logs: lines on standard error, for a person on a terminal, as JSON elsewhere. Key functions:
//! [`start`], [`end`].

use std::io::{self, IsTerminal as _, Stderr, Write};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// Where lines go, until the last.
static OUTPUT: Output<Stderr> = Output(Mutex::new(None));

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
    OUTPUT.open(io::stderr());
    let parsed = EnvFilter::try_new(filter);
    let warning = parsed.as_ref().err().map(ToString::to_string);
    let is_terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(parsed.unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(|| &OUTPUT)
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

/// Writes a line, plain, as the last on standard error: threads that still run say nothing after it.
pub fn end(line: &str) {
    OUTPUT.end(line);
}

/// Takes whole lines from all threads, until one is the last.
struct Output<W>(Mutex<Option<W>>);

impl<W: Write> Output<W> {
    fn open(&self, to: W) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
    }

    fn end(&self, line: &str) -> Option<W> {
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // There is nowhere to say that standard error cannot be written to.
        let _ = to.write_all(format!("{line}\n").as_bytes()).and_then(|()| to.flush());
        Some(to)
    }
}

impl<W: Write> Write for &Output<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(to) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            to.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_after_the_last_line() {
        let output = Output(Mutex::new(Some(Vec::new())));
        let text = std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| (&output).write_all(b"more\n").unwrap()));
            }
            output.end("the last")
        });
        let text = String::from_utf8(text.unwrap()).unwrap();
        assert!(text.ends_with("the last\n"));
        assert!(text.lines().rev().skip(1).all(|line| line == "more"));
        assert!(output.end("another").is_none());
    }
}
