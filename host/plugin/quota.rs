//! What a plugin may write to log and metrics: so much a second, so many names. Shared by all of
//! its instances. Key types: [`Quota`], [`Figures`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::runner::Figure;

/// Lines a second, and how many may come at once.
const LINES_PER_SECOND: f64 = 50.0;
const BURST: f64 = 200.0;
/// Longest line; what is over is cut.
const MAX_LINE: usize = 4 << 10;
/// Most names of metrics, and the longest.
const MAX_FIGURES: usize = 100;
const MAX_FIGURE_NAME: usize = 100;

/// The log of one plugin.
#[derive(Debug)]
pub struct Quota {
    plugin: String,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    suppressed: u64,
}

/// How much a line matters, in the order of `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl Quota {
    /// The log of a plugin that is called `plugin`.
    pub(super) fn new(plugin: &str) -> Self {
        let bucket = Bucket { tokens: BURST, filled: Instant::now(), suppressed: 0 };
        Quota { plugin: plugin.to_owned(), bucket: Mutex::new(bucket) }
    }

    /// Writes a line, cut to what is reasonable, or counts it. Control characters are escaped, for
    /// a guest must not be able to draw on an operator's terminal.
    pub(super) fn write(&self, level: Level, line: &str) {
        let Some(suppressed) = self.take() else { return };
        let plugin = &self.plugin;
        if suppressed > 0 {
            tracing::warn!(plugin, suppressed, "log lines beyond the limit");
        }
        let line = printable(cut(line));
        match level {
            Level::Error => tracing::error!(target: "plugin", plugin, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin, "{line}"),
            Level::Info => tracing::info!(target: "plugin", plugin, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin, "{line}"),
        }
    }

    /// Takes the right to one line: `None`, or how many were suppressed before it.
    fn take(&self) -> Option<u64> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let since = now.duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + since * LINES_PER_SECOND).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            bucket.suppressed += 1;
            return None;
        }
        bucket.tokens -= 1.0;
        Some(std::mem::take(&mut bucket.suppressed))
    }
}

/// Cuts a text to the longest line, at a character's end.
pub(super) fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_LINE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The metrics of one plugin.
#[derive(Debug, Default)]
pub struct Figures {
    values: Mutex<BTreeMap<String, Figure>>,
}

impl Figures {
    /// Adds to a counter.
    pub(super) fn count(&self, name: &str, by: u32) -> Result<(), String> {
        self.change(name, |old| match old {
            Some(Figure::Counter(n)) => Figure::Counter(n.saturating_add(by.into())),
            _ => Figure::Counter(by.into()),
        })
    }

    /// Sets a gauge.
    pub(super) fn gauge(&self, name: &str, value: f64) -> Result<(), String> {
        self.change(name, |_| Figure::Gauge(value))
    }

    /// What there is, by name.
    pub fn all(&self) -> BTreeMap<String, Figure> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, name: &str, new: impl FnOnce(Option<Figure>) -> Figure) -> Result<(), String> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = values.get_mut(name) {
            *value = new(Some(*value));
            return Ok(());
        }
        if name.len() > MAX_FIGURE_NAME || values.len() >= MAX_FIGURES {
            let limits = format!("{MAX_FIGURES} metrics of names up to {MAX_FIGURE_NAME} bytes");
            return Err(format!("metric {:?} is beyond the limit of {limits}", cut(name)));
        }
        values.insert(name.to_owned(), new(None));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted() {
        let quota = Quota::new("p");
        let taken = (0..10_000).filter(|_| quota.take().is_some()).count();
        // A slow machine may have earned a few lines meanwhile.
        assert!((200..1_000).contains(&taken), "{taken}");
        assert!(quota.bucket.lock().unwrap().suppressed > 0);
    }

    #[test]
    fn a_guest_cannot_draw_on_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
        assert_eq!(cut(&"ü".repeat(MAX_LINE)).len(), MAX_LINE);
    }

    #[test]
    fn figures_are_bounded() {
        let figures = Figures::default();
        for n in 0..MAX_FIGURES {
            figures.count(&n.to_string(), 1).unwrap();
        }
        assert!(figures.count("one more", 1).is_err());
        figures.count("0", 2).unwrap();
        assert_eq!(figures.all()["0"], Figure::Counter(3));
    }
}
