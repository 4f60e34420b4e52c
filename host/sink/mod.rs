//! Where events go: a server, a file, standard output, nowhere. A sink takes batches of lines, notes
//! how far it came, and says what is to be done when it cannot go on. Waiting is the pipeline's. Key
//! types: [`Sink`], [`Progress`], [`SinkError`].

mod file;
mod http;
mod null;
mod stdout;

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use file::FileSink;
pub use http::HttpSink;
pub use null::NullSink;
pub use stdout::StdoutSink;

use crate::backoff::disk_hint;
use crate::columns::ByteLines;
use crate::config::{SinkConfig, SinkKind};
use crate::meter::SinkMeter;
use crate::pattern::Pattern;
use crate::store::{Handle, Store};

/// How long after a failure of the disk it is tried again.
const DISK_AGAIN: Duration = Duration::from_millis(500);

/// A batch on its way into a sink.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The pipeline it comes from.
    pub pipeline: &'a str,
    /// The events, a line each. None for a sink that does not want them.
    pub lines: &'a ByteLines<'a>,
    /// When the host stops: whoever waits then ends at once.
    pub stop: &'a CancellationToken,
}

/// How far a batch came into a sink. Begins empty; each further try is given what the one before
/// left, so that nothing is handed on twice.
#[derive(Debug, Default)]
pub struct Progress {
    /// Parts of the batch that are still to be handed on, the next one last. `None` before the first
    /// try. For sinks that take a batch in parts.
    pub todo: Option<Vec<Range<usize>>>,
    /// Bytes of the batch that are out. For sinks that cannot take back what they wrote.
    pub written: usize,
    /// Lines that will never be taken. Whoever called takes them out.
    pub refused: Vec<Refused>,
    /// What was written to files. Whoever called takes it out, and commits it.
    pub wrote: Vec<Wrote>,
    /// Whether all of the pipeline's batches before this one are committed.
    pub is_committed: bool,
}

/// A part of a file that was written: offsets of its first byte and of the one after it.
#[derive(Debug)]
pub struct Wrote {
    /// The file.
    pub handle: Arc<Handle>,
    /// Begin.
    pub from: u64,
    /// End.
    pub to: u64,
}

impl Progress {
    /// The next line to be handed on, and bytes that are out: they grow when a try came further.
    pub fn reached(&self) -> (usize, usize) {
        let next =
            self.todo.as_deref().map_or(0, |todo| todo.last().map_or(usize::MAX, |p| p.start));
        (next, self.written)
    }
}

/// A line that will never be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its number.
    pub line: usize,
    /// Why.
    pub detail: String,
}

/// Why a sink cannot go on, as what to do about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// It may work later: try again, after the time that was asked for, if any.
    #[error("{detail}")]
    Retry {
        /// What is wrong.
        detail: String,
        /// How long the other side wants to be left alone.
        after: Option<Duration>,
    },
    /// It will work once somebody has mended something: try again, slowly.
    #[error("{detail}{}", if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") })]
    Misconfigured {
        /// What is wrong.
        detail: String,
        /// The likely fix.
        hint: String,
    },
    /// What was written before must be committed first; then at once again.
    #[error("a commit is due first")]
    Commit,
    /// It will not work again in this run.
    #[error("{0}")]
    Fatal(String),
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopped,
}

impl SinkError {
    /// It may work later.
    pub fn retry(detail: impl Into<String>) -> SinkError {
        SinkError::Retry { detail: detail.into(), after: None }
    }

    /// A file cannot be written: it may work later, and asking often costs nobody anything.
    pub fn of_disk(file: &str, error: &io::Error) -> SinkError {
        let detail = format!("{file}: {error}{}", disk_hint(error));
        SinkError::Retry { detail, after: Some(DISK_AGAIN) }
    }
}

/// A place that events are written to.
pub trait Sink: Send {
    /// Writes the events of a batch. Blocks, but not beyond `job.stop`. When it returns `Ok`, each
    /// line is handed on or noted as refused; after an error, `progress` tells how far it came, and is
    /// to be given to the next try.
    ///
    /// # Errors
    /// What to do about it.
    fn write(&mut self, job: &Job<'_>, progress: &mut Progress) -> Result<(), SinkError>;
}

/// A sink as pipelines share it.
#[derive(Clone)]
pub struct SharedSink {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The place it writes to. Held until a batch is in it, tries included, so that batches of several
    /// pipelines stay whole, and who is asked to wait is asked by none of them.
    pub place: Arc<Mutex<Place>>,
    /// Which of the settings that the place has had are this sink's.
    version: u64,
    kind: Arc<SinkKind>,
    /// Where it is kept how far files were written, so that they are exact across crashes.
    store: Option<Arc<Store>>,
    /// Why it takes nothing at the moment.
    pub trouble: SharedTrouble,
    /// Cancelled once the configuration has it no more: what drains into it does so while it works, and
    /// does not wait for it.
    pub retired: CancellationToken,
    /// Whether it looks at the lines, or just counts.
    pub wants_lines: bool,
    types: Arc<[Pattern]>,
    /// What is measured of it.
    pub meter: Arc<SinkMeter>,
}

/// Why a sink takes nothing at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The pipeline that tries again, and waits.
    pub pipeline: String,
    /// What is wrong, with a hint behind it where there is one.
    pub detail: String,
}

/// The trouble a sink has, as those see it who share it.
#[derive(Debug, Clone, Default)]
pub struct SharedTrouble(Arc<StdMutex<Option<Trouble>>>);

impl SharedTrouble {
    /// What it is now, if there is any.
    pub fn now(&self) -> Option<Trouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why the sink takes nothing, or that nobody waits for it any more.
    pub fn set(&self, trouble: Option<Trouble>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// Where a sink writes: one file, one server. Settings may change while it is written to; only one
/// version of them is ever open.
pub struct Place {
    version: u64,
    /// `None` while the next version is not open yet.
    sink: Option<Box<dyn Sink>>,
}

/// A place has newer settings than the sink that it was asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outdated;

impl SharedSink {
    /// Whether two are the same in all.
    pub fn is(&self, other: &SharedSink) -> bool {
        Arc::ptr_eq(&self.name, &other.name)
    }

    /// Whether a batch of which a part is in this one can go on in the other.
    pub fn can_go_on_in(&self, other: &SharedSink) -> bool {
        self.is_same_place(other) && self.types == other.types
    }

    /// Whether both write to the same place.
    pub fn is_same_place(&self, other: &SharedSink) -> bool {
        Arc::ptr_eq(&self.place, &other.place)
    }

    /// Whether what is so configured writes to its place.
    pub fn is_for(&self, kind: &SinkKind) -> bool {
        self.kind.is_same_place(kind)
    }

    /// Whether its settings are the first of its place.
    pub fn is_first(&self) -> bool {
        self.version == 0
    }

    /// Has the place take over its settings, if they are newer. Blocks while another writes there; to be
    /// called where a runtime is.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open_in_place(&self) -> Result<(), SinkError> {
        match self.within(&mut self.place.blocking_lock()) {
            Ok(Err(error)) => Err(error),
            // Where others have newer settings, these are not wanted any more.
            Ok(Ok(_)) | Err(Outdated) => Ok(()),
        }
    }

    /// The sink within its place; opens it where others settings were open before, which are closed
    /// first.
    ///
    /// # Errors
    /// `Outdated` when others have opened it with newer settings, else why it cannot be opened.
    pub fn within<'a>(
        &self,
        place: &'a mut Place,
    ) -> Result<Result<&'a mut dyn Sink, SinkError>, Outdated> {
        if place.version > self.version {
            return Err(Outdated);
        }
        if place.version < self.version || place.sink.is_none() {
            place.sink = None;
            place.version = self.version;
            match open_kind(&self.name, &self.kind, self.store.as_ref()) {
                Ok(sink) => place.sink = Some(sink),
                Err(error) => return Ok(Err(SinkError::retry(error))),
            }
        }
        match &mut place.sink {
            Some(sink) => Ok(Ok(&mut **sink)),
            None => Ok(Err(SinkError::retry("it is not open"))),
        }
    }

    /// Whether it takes all types of events.
    pub fn wants_all(&self) -> bool {
        self.types.is_empty()
    }

    /// Whether it takes events of a type.
    pub fn wants(&self, ty: &str) -> bool {
        self.wants_all() || self.types.iter().any(|pattern| pattern.matches(ty))
    }
}

/// Opens a sink. To be called where a runtime is.
///
/// # Errors
/// Why it cannot be opened.
pub fn open(config: &SinkConfig, store: Option<&Arc<Store>>) -> Result<SharedSink, String> {
    let sink = open_kind(&config.name, &config.kind, store)?;
    let place = Place { version: 0, sink: Some(sink) };
    Ok(SharedSink {
        name: config.name.as_str().into(),
        place: Arc::new(Mutex::new(place)),
        version: 0,
        store: store.cloned(),
        wants_lines: !matches!(config.kind, SinkKind::Null),
        kind: Arc::new(config.kind.clone()),
        types: config.types.clone().into(),
        trouble: SharedTrouble::default(),
        retired: CancellationToken::new(),
        meter: Arc::default(),
    })
}

/// A sink with other settings in the place of one that is open. It is opened anew, when a batch comes
/// and the other is done with its own, unless it differs in nothing but name and types.
pub fn succeed(before: &SharedSink, config: &SinkConfig) -> SharedSink {
    let is_kept = *before.kind == config.kind;
    SharedSink {
        name: config.name.as_str().into(),
        version: before.version + u64::from(!is_kept),
        store: before.store.clone(),
        wants_lines: !matches!(config.kind, SinkKind::Null),
        kind: Arc::new(config.kind.clone()),
        types: config.types.clone().into(),
        trouble: SharedTrouble::default(),
        retired: CancellationToken::new(),
        place: Arc::clone(&before.place),
        meter: Arc::clone(&before.meter),
    }
}

fn open_kind(
    name: &str,
    kind: &SinkKind,
    store: Option<&Arc<Store>>,
) -> Result<Box<dyn Sink>, String> {
    let named = |what: String| format!("sink.{name}: {what}");
    Ok(match kind {
        SinkKind::Stdout => Box::new(StdoutSink),
        SinkKind::Null => Box::new(NullSink),
        SinkKind::File { path, rotation } => Box::new(
            FileSink::open(path, rotation.as_ref(), store)
                .map_err(|error| named(format!("cannot open {}: {error}", path.display())))?,
        ),
        SinkKind::Http(http) => Box::new(HttpSink::new(name, http).map_err(named)?),
    })
}
