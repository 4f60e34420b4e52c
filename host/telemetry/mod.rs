//! What the host shows of itself: logs, metrics, health, status. Key types: [`View`], [`serve`].

mod connections;
mod health;
pub mod log;
mod metrics;
mod names;
mod process;
mod server;
mod status;

use std::sync::{Arc, Mutex, OnceLock};

use tokio_util::sync::CancellationToken;

pub use server::{PluginRow, plugin_rows, serve};
pub use status::{DiskRow, JournalRow, PipelineRow, SinkRow, StatusReport};

use crate::alert::Board;
use crate::backoff::DISK_HINT;
use crate::dead_letter::{Appender, DeadLetters};
use crate::gap::Ledger;
use crate::histogram::Histogram;
use crate::journal::Journal;
use crate::meter::{PipelineMeter, ReloadMeter, SinkMeter};
use crate::pipeline::{Pipeline, Queue};
use crate::runner::Plugins;
use crate::sink::{SharedSink, SharedTrouble};
use crate::source::SharedStatus;
use crate::store::Store;
use crate::swap::Swap;
use crate::tally::Tally;

/// Everything that is shown, read where it is kept. What comes and goes with the configuration stands
/// in lists that are replaced.
#[derive(Clone)]
pub struct View {
    /// When the host was started, in microseconds since 1970.
    pub started: u64,
    /// The pipelines.
    pub pipelines: Swap<PipelineView>,
    /// The streams of all sources.
    pub streams: Swap<SharedStatus>,
    /// The sinks.
    pub sinks: Swap<SinkView>,
    /// The plugins.
    pub plugins: tokio::sync::watch::Receiver<Arc<Plugins>>,
    /// What became of files in the plugin directory.
    pub reloads: Arc<ReloadMeter>,
    /// The gaps.
    pub gaps: Arc<Ledger>,
    /// The alerts that are raised.
    pub board: Arc<Board>,
    /// Where dead letters are counted.
    pub dead_letters: Arc<DeadLetters>,
    /// Where alerts are written.
    pub alerts: Arc<Appender>,
    /// What survives the process, if anything does.
    pub durable: Option<DurableView>,
    /// Cancelled once the host is about to end in order.
    pub ending: CancellationToken,
    /// What the host cannot go on after, once it has happened.
    pub fatal: Arc<OnceLock<String>>,
}

/// What is shown of what survives.
#[derive(Clone)]
pub struct DurableView {
    /// The journal.
    pub journal: Arc<Journal>,
    /// The most that it may hold, bytes.
    pub journal_limit: u64,
    /// The store beside it.
    pub store: Arc<Store>,
}

impl DurableView {
    /// Why nothing more is received, a line for each reason; none while something is.
    fn troubles(&self) -> Vec<String> {
        let full = self.journal.is_full().then(|| self.full());
        let disk = self.disk_troubles().into_iter().filter_map(|(name, trouble)| {
            Some(format!("the {name} waits for the disk: {}\nhint: {DISK_HINT}", trouble?))
        });
        full.into_iter().chain(disk).collect()
    }

    /// What the disk does not let happen, by what is to be written.
    fn disk_troubles(&self) -> [(&'static str, Option<String>); 2] {
        [("journal", self.journal.disk_trouble()), ("store", self.store.trouble())]
    }

    /// What a full journal is full of, with a hint.
    pub fn full(&self) -> String {
        let (limit, next) = (self.journal_limit, self.journal.next_seq());
        let cursors = self.store.cursors();
        let last = cursors.iter().min_by_key(|(_, cursor)| **cursor);
        let holder = last.map_or_else(String::new, |(pipeline, cursor)| {
            let records = next.saturating_sub((*cursor).max(1));
            format!("; pipeline {pipeline:?} is {records} records behind")
        });
        format!(
            "the journal is full: it may have {limit} bytes (journal.max_size), all of what a pipeline has \
             not taken{holder}\nhint: see why it waits (trommel status), or raise journal.max_size"
        )
    }
}

/// What is shown of a pipeline.
#[derive(Clone)]
pub struct PipelineView {
    /// Its name.
    pub name: String,
    /// What became of its events.
    pub tally: Arc<Tally>,
    /// Why it is held, if it is.
    pub held: Arc<Mutex<Option<String>>>,
    /// What is measured in it.
    pub meter: Arc<PipelineMeter>,
    /// How long it stood still for new versions of plugins.
    pub pauses: Arc<Histogram>,
    /// What waits before it.
    pub queue: Queue,
    /// Cancelled once its thread has ended, however it did.
    pub ended: CancellationToken,
    /// Whether the configuration has it no more, and it ends when what it has is settled.
    pub is_leaving: bool,
}

impl From<&Pipeline> for PipelineView {
    fn from(pipeline: &Pipeline) -> Self {
        PipelineView {
            name: pipeline.name.clone(),
            tally: Arc::clone(&pipeline.tally),
            held: Arc::clone(&pipeline.held),
            meter: Arc::clone(&pipeline.meter),
            pauses: Arc::clone(&pipeline.pauses),
            queue: pipeline.queue.clone(),
            ended: pipeline.ended.clone(),
            is_leaving: false,
        }
    }
}

/// What is shown of a sink.
#[derive(Clone)]
pub struct SinkView {
    /// Its name.
    pub name: Arc<str>,
    /// What is measured of it.
    pub meter: Arc<SinkMeter>,
    /// Why it takes nothing at the moment.
    pub trouble: SharedTrouble,
}

impl From<&SharedSink> for SinkView {
    fn from(sink: &SharedSink) -> Self {
        let SharedSink { name, meter, trouble, .. } = sink.clone();
        SinkView { name, meter, trouble }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::config::PipelineConfig;
    use crate::pipeline::Pending;

    /// The view of a host with one pipeline, `main`, that has nothing to do.
    pub fn view() -> (View, watch::Sender<Arc<Plugins>>) {
        let config = PipelineConfig {
            begin: crate::config::Begin::Now,
            name: "main".to_owned(),
            from: Vec::new(),
            through: None,
            to: Vec::new(),
        };
        let (pending, _) = Pending::new(config, Vec::new());
        let (publish, plugins) = watch::channel(Arc::default());
        let dir = tempfile::tempdir().unwrap();
        let dead_letters = DeadLetters::open(&dir.path().join("dead-letters.jsonl")).unwrap();
        let pipeline = PipelineView {
            name: "main".to_owned(),
            tally: Arc::default(),
            held: Arc::default(),
            meter: Arc::default(),
            pauses: Arc::new(Histogram::new(crate::histogram::SHORT)),
            queue: pending.queue(),
            ended: CancellationToken::new(),
            is_leaving: false,
        };
        let view = View {
            pipelines: vec![pipeline].into(),
            streams: Swap::default(),
            sinks: Swap::default(),
            plugins,
            reloads: Arc::default(),
            gaps: Ledger::start(None, Box::new(|_, _| {})).unwrap(),
            board: Arc::default(),
            dead_letters: Arc::new(dead_letters),
            alerts: Arc::new(Appender::open(&dir.path().join("alerts.jsonl")).unwrap()),
            durable: None,
            started: crate::timestamp::now_micros(),
            ending: CancellationToken::new(),
            fatal: Arc::default(),
        };
        (view, publish)
    }
}
