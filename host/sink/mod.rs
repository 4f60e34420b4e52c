//! Where events go: standard output, a file, nowhere. A sink takes whole batches of lines and says
//! what is to be done when it cannot. Key trait: [`Sink`].

mod file;
mod null;
mod stdout;

use std::sync::{Arc, Mutex};

pub use file::FileSink;
pub use null::NullSink;
pub use stdout::StdoutSink;

use crate::columns::Lines;
use crate::config::{SinkConfig, SinkKind};
use crate::meter::SinkMeter;

/// What a sink could not do, as what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// It may work later: the same lines are to be written again.
    #[error("{0}")]
    Retry(String),
    /// It will not work again in this run.
    #[error("{0}")]
    Fatal(String),
}

/// A place that events are written to.
pub trait Sink: Send {
    /// Whether it looks at the lines, or just counts.
    fn wants_lines(&self) -> bool;

    /// Writes the events of a batch. Blocks. When it returns all of them are handed on, or, after an
    /// error, none of them count, and a retry leaves each in place once.
    ///
    /// # Errors
    /// What to do about it.
    fn write(&mut self, lines: &Lines<'_>) -> Result<(), SinkError>;
}

/// A sink as pipelines share it.
#[derive(Clone)]
pub struct SharedSink {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The sink. Held for the time of a write, so that batches of several pipelines stay whole.
    pub sink: Arc<Mutex<dyn Sink>>,
    /// Whether it looks at the lines.
    pub wants_lines: bool,
    /// What is measured of it.
    pub meter: Arc<SinkMeter>,
}

/// Opens a sink.
///
/// # Errors
/// Why it cannot be opened.
pub fn open(config: &SinkConfig) -> Result<SharedSink, String> {
    let in_words = |error: std::io::Error, path: &std::path::Path| {
        format!("sink.{}: cannot open {}: {error}", config.name, path.display())
    };
    let (sink, wants_lines): (Arc<Mutex<dyn Sink>>, bool) = match &config.kind {
        SinkKind::Stdout => (Arc::new(Mutex::new(StdoutSink::default())), true),
        SinkKind::Null => (Arc::new(Mutex::new(NullSink)), false),
        SinkKind::File { path } => {
            let file = FileSink::open(path).map_err(|error| in_words(error, path))?;
            (Arc::new(Mutex::new(file)), true)
        }
    };
    Ok(SharedSink { name: config.name.as_str().into(), sink, wants_lines, meter: Arc::default() })
}
