//! `trommel gaps`: when nobody knows what was sent, and why; read from the store's files, whether a host
//! runs or not. Key type: [`GapsArgs`].

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use clap::Args;

use super::out::Out;
use super::screen::{Paint, counted, records as numbered, span};
use super::when::when;
use super::{ConfigArgs, Exit};
use crate::gap::{BEGIN, Gap};
use crate::store::ReadStore;
use crate::timestamp::{Timestamp, format_time, now_micros};

/// Arguments of `trommel gaps`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trommel gaps\n  trommel gaps --stream ap-events --since 1d\n  \
    trommel gaps --json | jq 'select(.replayed == false)'\n\n\
    Reads the data directory; a host may run meanwhile."
)]
pub(super) struct GapsArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only those of this source; may be given more than once, or with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    source: Vec<String>,
    /// Only those of this stream; may be given more than once, or with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    stream: Vec<String>,
    /// Only those that lasted until then: a time (2026-01-31T12:00:00Z), a date, or how long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = when)]
    since: Option<u64>,
    /// Print JSON, a line each
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &GapsArgs) -> Result<(), Exit> {
    let data_dir = args.config.data_dir()?;
    let store = data_dir.join("store");
    if !store.is_dir() {
        return Err(Exit::run_time(format!(
            "{} has no store\nhint: a host that ran with journal = true leaves one; data_dir names the directory",
            data_dir.display()
        )));
    }
    let store = ReadStore::open(&store).map_err(Exit::environment)?;
    if let Some(trouble) = store.trouble() {
        eprintln!("trommel: {trouble}");
    }
    let now = now_micros();
    let gaps: Vec<&Gap> = store.gaps().iter().filter(|gap| args.wants(gap, now)).collect();
    let text = match args.json {
        true => gaps.iter().map(|gap| json(gap, now) + "\n").collect(),
        false => table(&gaps, now, Paint::new(std::io::stdout().is_terminal())),
    };
    let mut out = Out::stdout();
    out.write(text.as_bytes())?;
    out.flush()
}

impl GapsArgs {
    fn wants(&self, gap: &Gap, now: u64) -> bool {
        let is = |wanted: &[String], name: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)
        };
        gap.reason != BEGIN
            && is(&self.source, &gap.source)
            && is(&self.stream, &gap.stream)
            && gap.to.unwrap_or(now) >= self.since.unwrap_or(0)
    }
}

fn time(micros: u64) -> String {
    format_time(Timestamp::from_micros(micros))
}

fn json(gap: &Gap, now: u64) -> String {
    serde_json::json!({
        "number": gap.number,
        "source": gap.source,
        "stream": gap.stream,
        "from": time(gap.from),
        "to": gap.to.map(time),
        "seconds": gap.to.unwrap_or(now).saturating_sub(gap.from) as f64 / 1e6,
        "reason": gap.reason,
        "detail": gap.detail,
        "last_id": gap.last_id,
        "first_id": gap.first_id,
        "replayed": gap.replayed,
        "records": gap.records,
    })
    .to_string()
}

fn table(gaps: &[&Gap], now: u64, paint: Paint) -> String {
    if gaps.is_empty() {
        return "no gaps\n".to_owned();
    }
    let name = |gap: &&Gap| match &*gap.source {
        "" => "-".to_owned(),
        source => format!("{source}/{}", gap.stream),
    };
    let names: Vec<String> = gaps.iter().map(name).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(6);
    let head = format!(
        "{:width$}  {:<27}  {:>14}  {:<12}  {:<8}  DETAIL",
        "STREAM", "FROM", "LASTED", "REASON", "REPLAYED"
    );
    let mut out = format!("{}\n", paint.dim(&head));
    for (gap, name) in gaps.iter().zip(&names) {
        let lasted = span(gap.to.unwrap_or(now).saturating_sub(gap.from));
        let lasted = format!("{lasted:>14}");
        let lasted = if gap.to.is_none() { paint.red(&lasted) } else { lasted };
        let replayed = match (gap.to, gap.replayed) {
            (None, _) => "lasts",
            (_, Some(true)) => "yes",
            (_, Some(false)) => "no",
            (_, None) => "perhaps",
        };
        let _ = writeln!(
            out,
            "{name:width$}  {:<27}  {lasted}  {:<12}  {replayed:<8}  {}",
            time(gap.from),
            gap.reason,
            gap.detail
        );
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:4}{}", "", paint.dim(&between(gap)));
    }
    let lasting = gaps.iter().filter(|gap| gap.to.is_none()).count();
    let lasting = if lasting == 0 { String::new() } else { format!(", {lasting} of them lasting") };
    let _ = writeln!(out, "\n{}{lasting}", counted(gaps.len(), "gap"));
    out
}

/// Which events are on both sides.
fn between(gap: &Gap) -> String {
    let or_dash = |id: &str| if id.is_empty() { "-".to_owned() } else { id.to_owned() };
    let records = gap.records.map_or_else(String::new, |(first, last)| {
        format!("; {} of the journal", numbered(&(first..last.saturating_add(1))))
    });
    format!("after {}, before {}{records}", or_dash(&gap.last_id), or_dash(&gap.first_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_how_long_and_why() {
        let over = Gap {
            source: "hq".into(),
            stream: "wids".into(),
            from: 1_000_000,
            to: Some(4_500_000),
            reason: "disconnected".into(),
            detail: "the connection ended".into(),
            last_id: "a".into(),
            first_id: "b".into(),
            replayed: Some(false),
            ..Gap::default()
        };
        let lasts = Gap { from: 9_000_000, to: None, reason: "crash".into(), ..Gap::default() };
        let text = table(&[&over, &lasts], 10_000_000, Paint::new(false));
        for part in ["hq/wids", "3.5 s", "disconnected", "after a, before b", "1.0 s", "2 gaps, 1"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json: serde_json::Value = serde_json::from_str(&json(&over, 0)).unwrap();
        assert_eq!((&json["seconds"], &json["replayed"]), (&3.5.into(), &false.into()));
        assert_eq!(table(&[], 0, Paint::new(false)), "no gaps\n");
    }
}
