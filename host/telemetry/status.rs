//! How the host is doing, in one piece: what `/api/v1/status` answers, `trommel status` shows and
//! systemd is told. Key type: [`StatusReport`].

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::{DurableView, PipelineView, PluginRow, SinkView, View, plugin_rows};
use crate::source::Status;

/// The host at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the program.
    pub version: String,
    /// When it was started, in microseconds since 1970.
    pub started: u64,
    /// The streams of all sources.
    pub sources: Vec<Status>,
    /// The pipelines.
    pub pipelines: Vec<PipelineRow>,
    /// The sinks.
    #[serde(default)]
    pub sinks: Vec<SinkRow>,
    /// Files of the data directory that cannot be written at the moment.
    #[serde(default)]
    pub disk: Vec<DiskRow>,
    /// The plugins.
    pub plugins: Vec<PluginRow>,
    /// How many alerts are raised.
    pub alerts_raised: u64,
    /// The journal; null without one.
    #[serde(default)]
    pub journal: Option<JournalRow>,
}

/// The journal at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JournalRow {
    /// Its size on disk.
    pub bytes: u64,
    /// The size that it may have.
    #[serde(default)]
    pub limit: u64,
    /// The oldest record it holds.
    pub first: u64,
    /// The record that comes next.
    pub next: u64,
    /// Why nothing more is received, a line for each reason; empty while something is.
    pub troubles: Vec<String>,
}

/// A pipeline at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PipelineRow {
    /// Its name.
    pub name: String,
    /// Why it is held; null if it is not.
    pub held: Option<String>,
    /// Frames that came in.
    pub received: u64,
    /// Those that everybody took.
    pub delivered: u64,
    /// Those that a plugin ended.
    pub filtered: u64,
    /// Those that are dead letters.
    pub dead_lettered: u64,
    /// Those on their way.
    pub in_flight: u64,
    /// Frames that wait before it.
    pub queue_events: u64,
    /// What they hold, in bytes, rounded up to 1 KiB per read of a source.
    pub queue_bytes: u64,
}

/// A sink at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SinkRow {
    /// Its name.
    pub name: String,
    /// Why it takes nothing, with a hint where there is one; null if it does.
    pub trouble: Option<String>,
    /// The pipeline that waits for it meanwhile.
    pub waiting: Option<String>,
    /// Writes so far, failed ones too.
    pub writes: u64,
    /// Writes that failed and were tried again.
    pub retries: u64,
}

/// A file that cannot be written at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskRow {
    /// Its name.
    pub what: String,
    /// Why, with a hint where there is one.
    pub trouble: String,
}

impl StatusReport {
    /// The host as it is now.
    pub fn new(view: &View) -> Self {
        let plugins = view.plugins.borrow().clone();
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: view.started,
            sources: view.streams.now().iter().map(|status| status.get()).collect(),
            pipelines: view.pipelines.now().iter().map(pipeline_row).collect(),
            sinks: view.sinks.now().iter().map(sink_row).collect(),
            disk: disk_rows(view),
            plugins: plugin_rows(&plugins),
            alerts_raised: view.board.len() as u64,
            journal: view.durable.as_ref().map(journal_row),
        }
    }

    /// All pipelines together; the name is empty.
    pub fn total(&self) -> PipelineRow {
        self.pipelines.iter().fold(PipelineRow::default(), |all, one| PipelineRow {
            name: String::new(),
            held: None,
            received: all.received + one.received,
            delivered: all.delivered + one.delivered,
            filtered: all.filtered + one.filtered,
            dead_lettered: all.dead_lettered + one.dead_lettered,
            in_flight: all.in_flight + one.in_flight,
            queue_events: all.queue_events + one.queue_events,
            queue_bytes: all.queue_bytes + one.queue_bytes,
        })
    }

    /// All of it in a line.
    pub fn headline(&self) -> String {
        let up = self.sources.iter().filter(|status| status.state.is_up()).count();
        let total = self.total();
        let held = self.pipelines.iter().filter(|pipeline| pipeline.held.is_some()).count();
        let failing = self.sinks.iter().filter(|sink| sink.trouble.is_some()).count();
        let told = |count, what| match count {
            0 => String::new(),
            count => format!(", {count} {what}"),
        };
        let sinks = if failing == 1 { "sink fails" } else { "sinks fail" };
        let (held, failing) = (told(held, "held"), told(failing, sinks));
        let waits = self.journal.as_ref().is_some_and(|journal| !journal.troubles.is_empty());
        let waits = if waits { ", the journal waits" } else { "" };
        let what: Vec<&str> = self.disk.iter().map(|row| &*row.what).collect();
        let disk = match what.is_empty() {
            true => String::new(),
            false => format!(", cannot write {}", what.join(", ")),
        };
        format!(
            "{up} of {} streams up{held}{failing}{waits}{disk}; received {}, delivered {}, filtered {}, dead letters {}",
            self.sources.len(),
            total.received,
            total.delivered,
            total.filtered,
            total.dead_lettered,
        )
    }
}

fn pipeline_row(view: &PipelineView) -> PipelineRow {
    let counts = view.tally.counts();
    PipelineRow {
        name: view.name.clone(),
        held: view.held.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        received: counts.received,
        delivered: counts.delivered,
        filtered: counts.filtered,
        dead_lettered: counts.dead_lettered,
        in_flight: counts.in_flight(),
        queue_events: view.queue.events(),
        queue_bytes: view.queue.bytes(),
    }
}

fn journal_row(view: &DurableView) -> JournalRow {
    JournalRow {
        bytes: view.journal.bytes(),
        limit: view.journal_limit,
        first: view.journal.first_seq(),
        next: view.journal.next_seq(),
        troubles: view.troubles(),
    }
}

fn disk_rows(view: &View) -> Vec<DiskRow> {
    let row = |(what, trouble): (&str, Option<String>)| {
        Some(DiskRow { what: what.to_owned(), trouble: trouble? })
    };
    super::health::files(view).into_iter().filter_map(row).collect()
}

fn sink_row(view: &SinkView) -> SinkRow {
    let (waiting, trouble) =
        view.trouble.now().map(|trouble| (trouble.pipeline, trouble.detail)).unzip();
    SinkRow {
        name: view.name.to_string(),
        trouble,
        waiting,
        writes: view.meter.seconds.count(),
        retries: view.meter.retries(),
    }
}
