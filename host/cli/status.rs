//! `trommel status`: how a running host is doing, in one screen. Key type: [`StatusArgs`].

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::ask::ask;
use super::screen::{Paint, counted, grouped, span};
use super::signals::Signals;
use super::{ConfigArgs, Exit, runtime};
use crate::source::{State, Status};
use crate::telemetry::{DiskRow, JournalRow, PipelineRow, PluginRow, SinkRow, StatusReport};
use crate::timestamp::now_micros;

/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `trommel status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  trommel status\n  trommel status --watch\n  \
    trommel status --json | jq '.sources[] | select(.state != \"streaming\")'\n\n\
    The exit code is 1 when no host answers.")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON, a line each time
    #[arg(long)]
    json: bool,
    /// Look again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(args: &StatusArgs) -> Result<(), Exit> {
    let data_dir = args.config.data_dir()?;
    runtime()?.block_on(async {
        if !args.watch {
            return look(&data_dir, args.json, false).await;
        }
        let mut signals = Signals::new()?;
        let mut clock = tokio::time::interval(LOOK_EVERY);
        let is_screen = std::io::stdout().is_terminal() && !args.json;
        loop {
            tokio::select! {
                _ = signals.first() => return Ok(()),
                _ = clock.tick() => look(&data_dir, args.json, is_screen).await?,
            }
        }
    })
}

async fn look(data_dir: &Path, as_json: bool, clears: bool) -> Result<(), Exit> {
    let report: StatusReport = ask(data_dir, "/api/v1/status").await.map_err(Exit::run_time)?;
    let mut text = match as_json {
        true => serde_json::to_string(&report).map_err(Exit::run_time)? + "\n",
        false => table(&report, now_micros(), Paint::new(std::io::stdout().is_terminal())),
    };
    if clears {
        // To the top, and nothing left of the time before.
        text.insert_str(0, "\x1b[H\x1b[2J");
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Exit::run_time(error)),
        _ => Ok(()),
    }
}

fn table(report: &StatusReport, now: u64, paint: Paint) -> String {
    let mut out = String::new();
    let up = span(now.saturating_sub(report.started));
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "{}  up {up}", paint.bold(&format!("trommel {}", report.version)));
    streams(&mut out, &report.sources, now, paint);
    pipelines(&mut out, report, paint);
    sinks(&mut out, &report.sinks, paint);
    disk(&mut out, &report.disk, paint);
    plugins(&mut out, &report.plugins, paint);
    if let Some(row) = &report.journal {
        journal(&mut out, row, paint);
    }
    if report.alerts_raised > 0 {
        let raised = counted(report.alerts_raised as usize, "alert");
        let _ = writeln!(out, "\n{}", paint.red(&format!("{raised} raised")));
    }
    out
}

/// The widest of some texts, and of the head above them.
fn widest<'a>(head: &str, texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0).max(head.len())
}

fn streams(out: &mut String, streams: &[Status], now: u64, paint: Paint) {
    if streams.is_empty() {
        return;
    }
    let names: Vec<String> = streams.iter().map(|s| format!("{}/{}", s.source, s.stream)).collect();
    let width = widest("STREAM", names.iter().map(String::as_str));
    let head = format!(
        "{:width$}  {:<10}  {:>11}  {:>12}  {:>11}  {:>10}  {:>8}",
        "STREAM", "STATE", "SINCE", "EVENTS", "LAST EVENT", "DUPLICATES", "OWN GAPS"
    );
    let _ = writeln!(out, "\n{}", paint.dim(&head));
    for (status, name) in streams.iter().zip(&names) {
        let state = format!("{:<10}", status.state.name());
        let state = match status.state {
            State::Streaming | State::Renewing => paint.green(&state),
            State::Waiting | State::Failing => paint.red(&state),
            State::Connecting | State::Stopped => state,
        };
        let last = match status.last_frame {
            0 => "-".to_owned(),
            last => format!("{} ago", span(now.saturating_sub(last))),
        };
        let _ = writeln!(
            out,
            "{name:width$}  {state}  {:>11}  {:>12}  {last:>11}  {:>10}  {:>8}",
            span(now.saturating_sub(status.since)),
            grouped(status.frames),
            grouped(status.duplicates),
            grouped(status.gaps),
        );
        for line in status.detail.lines() {
            let _ = writeln!(out, "{:4}{line}", "");
        }
        if !status.hint.is_empty() {
            let _ = writeln!(out, "{:4}hint: {}", "", status.hint);
        }
    }
}

fn pipelines(out: &mut String, report: &StatusReport, paint: Paint) {
    let width = widest("PIPELINE", report.pipelines.iter().map(|row| row.name.as_str()));
    let head = format!(
        "{:width$}  {:>11}  {:>11}  {:>11}  {:>13}  {:>9}  {:>7}",
        "PIPELINE", "RECEIVED", "DELIVERED", "FILTERED", "DEAD-LETTERED", "IN FLIGHT", "QUEUED"
    );
    let _ = writeln!(out, "\n{}", paint.dim(&head));
    let mut row = |name: &str, row: &PipelineRow| {
        let letters = format!("{:>13}", grouped(row.dead_lettered));
        let letters = if row.dead_lettered > 0 { paint.red(&letters) } else { letters };
        let _ = writeln!(
            out,
            "{name:width$}  {:>11}  {:>11}  {:>11}  {letters}  {:>9}  {:>7}",
            grouped(row.received),
            grouped(row.delivered),
            grouped(row.filtered),
            grouped(row.in_flight),
            grouped(row.queue_events),
        );
        for line in row.held.iter().flat_map(|why| why.lines()) {
            let _ = writeln!(out, "{:4}{}", "", paint.red(&format!("held: {line}")));
        }
    };
    for pipeline in &report.pipelines {
        row(&pipeline.name, pipeline);
    }
    if report.pipelines.len() > 1 {
        row("total", &report.total());
    }
}

fn sinks(out: &mut String, rows: &[SinkRow], paint: Paint) {
    if rows.is_empty() {
        return;
    }
    let width = widest("SINK", rows.iter().map(|row| row.name.as_str()));
    let head = format!("{:width$}  {:>11}  {:>11}", "SINK", "WRITES", "RETRIES");
    let _ = writeln!(out, "\n{}", paint.dim(&head));
    for row in rows {
        let (writes, retries) = (grouped(row.writes), grouped(row.retries));
        let _ = writeln!(out, "{:width$}  {writes:>11}  {retries:>11}", row.name);
        if let Some(pipeline) = &row.waiting {
            let fails = format!("fails, and pipeline {pipeline:?} waits:");
            let _ = writeln!(out, "{:4}{}", "", paint.red(&fails));
        }
        for line in row.trouble.iter().flat_map(|why| why.lines()) {
            let _ = writeln!(out, "{:4}{line}", "");
        }
    }
}

fn journal(out: &mut String, row: &JournalRow, paint: Paint) {
    let head = format!(
        "{:<11}  {:>14}  {:>14}  {:>13}  {:>13}",
        "JOURNAL", "BYTES", "LIMIT", "FIRST RECORD", "NEXT RECORD"
    );
    let _ = writeln!(out, "\n{}", paint.dim(&head));
    let state = if row.troubles.is_empty() { "written" } else { "waiting" };
    let (bytes, limit) = (grouped(row.bytes), grouped(row.limit));
    let (first, next) = (grouped(row.first), grouped(row.next));
    let _ = writeln!(out, "{state:<11}  {bytes:>14}  {limit:>14}  {first:>13}  {next:>13}");
    for line in row.troubles.iter().flat_map(|why| why.lines()) {
        let _ = writeln!(out, "{:4}{}", "", paint.red(line));
    }
}

fn disk(out: &mut String, rows: &[DiskRow], paint: Paint) {
    for DiskRow { what, trouble } in rows {
        let waits = format!("\n{what} cannot be written, and what is to be written waits:");
        let _ = writeln!(out, "{}", paint.red(&waits));
        for line in trouble.lines() {
            let _ = writeln!(out, "{:4}{line}", "");
        }
    }
}

/// A table of plugins, as `trommel plugin list` shows it too.
pub(super) fn plugins(out: &mut String, rows: &[PluginRow], paint: Paint) {
    if rows.is_empty() {
        return;
    }
    let width = widest("PLUGIN", rows.iter().map(|row| row.name.as_str()));
    let head =
        format!("{:width$}  {:<9}  {:<10}  {:<9}  SHA-256", "PLUGIN", "ROLE", "VERSION", "STATE");
    let _ = writeln!(out, "\n{}", paint.dim(&head));
    for row in rows {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let state = format!("{:<9}", row.state);
        let state = if row.error.is_some() { paint.red(&state) } else { state };
        let _ = writeln!(
            out,
            "{:width$}  {:<9}  {:<10}  {state}  {}",
            row.name,
            or_dash(&row.role),
            or_dash(&row.version),
            row.sha256.get(..12).unwrap_or("-")
        );
        for line in row.error.iter().flat_map(|error| error.lines()) {
            let _ = writeln!(out, "{:4}{line}", "");
        }
    }
}
