//! Dead letters as people and scripts read them. Key types: [`Row`], [`Whole`], [`Table`].

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cli::Exit;
use crate::cli::out::Out;
use crate::cli::screen::{Paint, columns, counted, grouped};
use crate::excerpt::excerpt;
use crate::frame::Kind;
use crate::store::{Letter, Stage, Stored};
use crate::timestamp::{Timestamp, format_time};

/// So many rows decide how wide the columns of a table are.
const MEASURED: usize = 1_000;

/// A dead letter without what it carries.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    id: String,
    time: String,
    pipeline: &'a str,
    stage: &'static str,
    plugin: Option<&'a str>,
    version: Option<&'a str>,
    sink: Option<&'a str>,
    reason: &'static str,
    detail: &'a str,
    source: &'a str,
    stream: &'a str,
    went_on: bool,
    event_id: Option<String>,
    event_type: Option<String>,
}

/// A dead letter with all of it.
#[derive(Debug, Serialize)]
pub(super) struct Whole<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    event: Option<Box<RawValue>>,
    /// What the frame was on the wire.
    frame: Option<&'static str>,
    raw: Option<String>,
}

/// What of an event's line stands in rows.
#[derive(Debug, Default, Deserialize)]
struct Head {
    id: String,
    #[serde(rename = "type")]
    ty: String,
}

impl<'a> Row<'a> {
    pub fn new(stored: &'a Stored) -> Self {
        let Letter { time, reason, detail, stage, version, went_on, source, stream, .. } =
            &stored.letter;
        let (stage, plugin, sink) = match stage {
            Stage::Decode => ("decode", None, None),
            Stage::Plugin(name) => ("plugin", Some(name.as_str()), None),
            Stage::Sink(name) => ("sink", None, Some(name.as_str())),
        };
        let head = stored.letter.event.as_deref().map(serde_json::from_str::<Head>);
        let head = head.and_then(Result::ok);
        let (event_id, event_type) = head.map(|head| (head.id, head.ty)).unzip();
        Row {
            id: stored.id.to_string(),
            time: format_time(Timestamp::from_micros(*time)),
            pipeline: &stored.pipeline,
            stage,
            plugin,
            version: plugin.map(|_| version.as_str()),
            sink,
            reason: reason.name(),
            detail,
            source,
            stream,
            went_on: *went_on,
            event_id,
            event_type,
        }
    }

    fn place(&self) -> &str {
        self.plugin.or(self.sink).unwrap_or(self.stage)
    }
}

impl<'a> Whole<'a> {
    pub fn new(stored: &'a Stored) -> Self {
        let event = stored.letter.event.clone();
        Whole {
            row: Row::new(stored),
            event: event.and_then(|event| RawValue::from_string(event).ok()),
            frame: stored.letter.raw.as_ref().map(|_| kind(stored)),
            raw: stored.letter.raw.as_ref().map(|raw| BASE64_STANDARD.encode(raw)),
        }
    }
}

fn kind(stored: &Stored) -> &'static str {
    match stored.letter.kind {
        Kind::Binary => "binary",
        Kind::Text => "text",
        Kind::TooLarge(_) => "too-large",
    }
}

/// A dead letter for people, with all that is known of it.
pub(super) fn text(stored: &Stored) -> String {
    let row = Row::new(stored);
    let paint = Paint::new(std::io::stdout().is_terminal());
    let mut out = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(out, "{}", paint.bold(&format!("dead letter {}", row.id)));
    let place = match row.plugin {
        Some(plugin) => format!("plugin {plugin} {}", row.version.unwrap_or_default()),
        None => row.sink.map_or_else(|| row.stage.to_owned(), |sink| format!("sink {sink}")),
    };
    let went = if row.went_on { "; all others have it" } else { "" };
    for (name, value) in [
        ("time", row.time.as_str()),
        ("pipeline", row.pipeline),
        ("at", &format!("{place}{went}")),
        ("reason", row.reason),
        ("source", row.source),
        ("stream", row.stream),
    ] {
        let _ = writeln!(out, "  {}  {}", paint.dim(&format!("{name:<8}")), harmless(value));
    }
    for line in row.detail.lines() {
        let _ = writeln!(out, "  {}", harmless(line));
    }
    if let Some(event) = &stored.letter.event {
        let value = serde_json::from_str::<serde_json::Value>(event);
        let pretty = value.and_then(|value| serde_json::to_string_pretty(&value));
        for line in pretty.as_deref().unwrap_or(event).lines() {
            let _ = writeln!(out, "    {}", harmless(line));
        }
    }
    if let Some(raw) = &stored.letter.raw {
        let bytes = grouped(raw.len() as u64);
        let _ = writeln!(
            out,
            "  {} frame of {bytes} bytes: trommel dlq export {} has it",
            kind(stored),
            row.id
        );
    }
    out
}

/// Without what would steer a terminal, and yet whole.
fn harmless(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

const HEADS: [&str; 7] = ["ID", "TIME", "PIPELINE", "AT", "REASON", "STREAM", "EVENT"];

/// A table of dead letters. Columns are as wide as those of the first rows need them.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<[String; 8]>,
    widths: Option<[usize; 7]>,
    count: usize,
}

impl Table {
    pub fn add(&mut self, stored: &Stored, out: &mut Out) -> Result<(), Exit> {
        let row = Row::new(stored);
        let line = |text: &str| excerpt(text.as_bytes());
        self.count += 1;
        self.rows.push([
            row.id.clone(),
            row.time.get(..19).unwrap_or(&row.time).to_owned(),
            line(row.pipeline),
            line(row.place()),
            row.reason.to_owned(),
            line(row.stream),
            line(row.event_id.as_deref().unwrap_or("-")),
            line(&first_line(row.detail)),
        ]);
        if self.rows.len() >= MEASURED { self.print(out) } else { Ok(()) }
    }

    /// Prints what is left, and how many there are.
    pub fn end(mut self, out: &mut Out) -> Result<(), Exit> {
        self.print(out)?;
        match self.count {
            0 => out.line("no dead letters"),
            count => out.line(&counted(count, "dead letter")),
        }
    }

    fn print(&mut self, out: &mut Out) -> Result<(), Exit> {
        let paint = Paint::new(std::io::stdout().is_terminal());
        let is_first = self.widths.is_none();
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let widths = *self.widths.get_or_insert_with(|| widths(&rows));
        if is_first {
            let head = line(&HEADS.map(str::to_owned), &widths) + "  DETAIL";
            out.line(&paint.dim(&head))?;
        }
        for row in &rows {
            out.line(&(line(&row[..7], &widths) + "  " + &row[7]))?;
        }
        Ok(())
    }
}

/// What a detail says first. Where that says only where it happened, what happened is in the next line.
fn first_line(detail: &str) -> String {
    let mut lines = detail.lines();
    let first = lines.next().unwrap_or_default();
    match lines.next() {
        Some(next) if first.ends_with(':') => format!("{first} {next}"),
        _ => first.to_owned(),
    }
}

fn widths(rows: &[[String; 8]]) -> [usize; 7] {
    let mut widths = HEADS.map(str::len);
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = columns(text).max(*width);
        }
    }
    widths
}

fn line(texts: &[String], widths: &[usize]) -> String {
    let pad = |(text, width): (&String, &usize)| {
        format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
    };
    texts.iter().zip(widths).map(pad).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_in_a_table_says_what_happened() {
        let panicked = "panicked at src/lib.rs:39:27:\nindex out of bounds\nat 1: f";
        assert_eq!(first_line(panicked), "panicked at src/lib.rs:39:27: index out of bounds");
        assert_eq!(["", "one", "one\ntwo", "one:"].map(first_line), ["", "one", "one", "one:"]);
    }
}
