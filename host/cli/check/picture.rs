//! The pipelines of a configuration as a small picture. Key functions: [`rows`], [`text`].

use std::fmt::Write as _;

use serde::Serialize;

use super::Report;
use crate::cli::screen::counted;
use crate::config::{BUILT_IN_SOURCE, PipelineConfig};
use crate::config::{Config, SinkConfig, SinkKind, SourceConfig, SourceKind, WhenFull};
use crate::pipeline::resolve;
use crate::runner::{Info, Plugins, Role};

/// A pipeline: what flows into it, through it and out of it.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub name: String,
    pub from: Vec<String>,
    pub through: Vec<Step>,
    pub to: Vec<String>,
    pub delivery: Vec<Delivery>,
}

/// What delivery to a sink, or an export plugin, really is.
#[derive(Debug, Serialize)]
pub(super) struct Delivery {
    pub to: String,
    pub is: String,
}

/// A plugin of a pipeline.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub plugin: String,
    /// Null if it has not loaded.
    pub role: Option<&'static str>,
    pub version: Option<String>,
}

/// The pipelines, with the plugins that they would run by now.
pub(super) fn rows(config: &Config, plugins: &Plugins) -> Vec<Row> {
    config.pipelines.iter().map(|pipeline| row(config, pipeline, plugins)).collect()
}

fn row(config: &Config, pipeline: &PipelineConfig, plugins: &Plugins) -> Row {
    let is_built_in = pipeline.from.iter().any(|source| source == BUILT_IN_SOURCE);
    let through: Vec<Step> = match resolve(plugins, pipeline.through.as_deref(), is_built_in) {
        Ok(chain) => chain.iter().map(|factory| step(factory.info())).collect(),
        // It would be held; what is wrong stands among the problems.
        Err(_) => pipeline.through.iter().flatten().map(|name| not_loaded(name)).collect(),
    };
    let mut delivery: Vec<Delivery> = Vec::new();
    let has_journal = config.journal.is_some();
    let but = exceptions(config, pipeline);
    for step in through.iter().filter(|step| step.role == Some(Role::Export.name())) {
        let is = if has_journal { AT_LEAST_ONCE } else { IN_MEMORY };
        delivery.push(Delivery { to: step.plugin.clone(), is: format!("{is}{but}") });
    }
    for sink in pipeline.to.iter().filter_map(|to| config.sinks.iter().find(|s| s.name == *to)) {
        let is = delivery_to(sink, has_journal);
        let but = if is == COUNTED { "" } else { &*but };
        delivery.push(Delivery { to: sink.name.clone(), is: format!("{is}{but}") });
    }
    let (name, from, to) = (pipeline.name.clone(), pipeline.from.clone(), pipeline.to.clone());
    Row { name, from, through, to, delivery }
}

/// What becomes of what was received when the process, or the machine, goes down.
const EXACT: &str = "exact: each event once, also after a crash";
const AT_LEAST_ONCE: &str = "at least once: the last events may come twice after a crash";
const AT_LEAST_ONCE_KEYED: &str =
    "at least once: a request may come twice, with the same Idempotency-Key while it is the same";
const IN_MEMORY: &str = "in order; what is in memory is lost with the process (journal = false)";

const COUNTED: &str = "counted only";

/// What of a pipeline's events comes more often, or not at all, wherever they go.
fn exceptions(config: &Config, pipeline: &PipelineConfig) -> String {
    let is_replay = |source: &&SourceConfig| matches!(source.kind, SourceKind::Replay { .. });
    let replays = config.sources.iter().filter(is_replay);
    let has_replay = replays.filter(|source| pipeline.from.contains(&source.name)).count() > 0;
    let when_full = config.journal.as_ref().map(|journal| journal.when_full);
    let mut but = String::new();
    if has_replay {
        but.push_str("; a replay brings them anew with each start");
    }
    if when_full == Some(WhenFull::DropOldest) {
        but.push_str("; not what is given up when the journal is full (drop-oldest)");
    }
    but
}

fn delivery_to(sink: &SinkConfig, has_journal: bool) -> &'static str {
    match &sink.kind {
        _ if !has_journal => IN_MEMORY,
        SinkKind::File { .. } => EXACT,
        SinkKind::Http(_) => AT_LEAST_ONCE_KEYED,
        SinkKind::Stdout => AT_LEAST_ONCE,
        SinkKind::Null => COUNTED,
    }
}

fn step(info: &Info) -> Step {
    let (role, version) = (Some(info.role.name()), Some(info.version.clone()));
    Step { plugin: info.name.clone(), role, version }
}

fn not_loaded(name: &str) -> Step {
    Step { plugin: name.to_owned(), role: None, version: None }
}

/// What `trommel check` prints when nothing is wrong.
pub(super) fn text(config: &Config, plugins: &Plugins, report: &Report) -> String {
    let streams: usize = config.sources.iter().map(|source| streams_of(source).len()).sum();
    // Writing to a String cannot fail, here and below.
    let mut out = format!(
        "{}: ok: {} with {}, {}, {}, {}\n",
        config.file.display(),
        counted(config.sources.len(), "source"),
        counted(streams, "stream"),
        counted(plugins.entries.len(), "plugin"),
        counted(config.pipelines.len(), "pipeline"),
        counted(config.sinks.len(), "sink"),
    );
    for row in &report.pipelines {
        let _ = writeln!(out, "\n{}", row.name);
        draw(&mut out, config, row);
    }
    if let Some(streams) = &report.streams {
        let name = |row: &super::online::Row| format!("{}/{}", row.source, row.stream);
        let width = streams.iter().map(|row| name(row).chars().count()).max().unwrap_or(0);
        let _ = writeln!(out, "\nonline");
        for row in streams {
            let said = if row.ok { "ok" } else { &row.detail };
            let _ = writeln!(out, "  {:width$}  {said}", name(row));
            if !row.hint.is_empty() {
                let _ = writeln!(out, "  {:width$}  hint: {}", "", row.hint);
            }
        }
    }
    if !report.warnings.is_empty() {
        out.push('\n');
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

fn draw(out: &mut String, config: &Config, row: &Row) {
    let source = |name: &str| config.sources.iter().find(|source| source.name == name);
    let from = row.from.iter().map(|name| (name, source(name).map(streams_of).unwrap_or_default()));
    let through = row.through.iter().map(|step| {
        let role = step.role.unwrap_or("not loaded");
        (&step.plugin, format!("{role} {}", step.version.as_deref().unwrap_or_default()))
    });
    let sink = |name: &str| config.sinks.iter().find(|sink| sink.name == name).map(place_of);
    let lines: Vec<(&str, &String, String)> = from
        .map(|(name, streams)| ("from", name, streams.join(", ")))
        .chain(through.map(|(name, what)| ("  ↓", name, what)))
        .chain(row.to.iter().map(|name| ("to", name, sink(name).unwrap_or_default())))
        .collect();
    let width = lines.iter().map(|(_, name, _)| name.chars().count()).max().unwrap_or(0);
    let mut said = "";
    for (mark, name, what) in lines {
        // Said once of several; an arrow for each plugin.
        let shown = if mark == said && !mark.contains('↓') { "" } else { mark };
        said = mark;
        let _ = writeln!(out, "{}", format!("  {shown:<4}  {name:width$}  {what}").trim_end());
    }
    for Delivery { to, is } in &row.delivery {
        let _ = writeln!(out, "  delivery to {to}: {is}");
    }
}

fn streams_of(source: &SourceConfig) -> Vec<&str> {
    match &source.kind {
        SourceKind::Central(central) => central.streams.iter().map(|s| s.name.as_str()).collect(),
        SourceKind::Replay { stream, .. } => vec![stream],
    }
}

fn place_of(sink: &SinkConfig) -> String {
    match &sink.kind {
        SinkKind::File { path, .. } => format!("file {}", path.display()),
        // Not all of the URL: there may be a secret in it.
        SinkKind::Http(http) => http.url.origin().ascii_serialization(),
        SinkKind::Stdout => "standard output".to_owned(),
        SinkKind::Null => "nowhere".to_owned(),
    }
}
