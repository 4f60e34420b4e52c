//! `trommel journal verify`: every record of journal and store looked at, and what is damaged told.
//! Key function: [`run`].

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::VerifyArgs;
use crate::cli::Exit;
use crate::cli::range::journal_dir;
use crate::cli::screen::{counted, records};
use crate::journal::{OpenError, Report, verify_journal};
use crate::store::{ReadStore, verify_store};

#[derive(Debug, Serialize)]
struct Verified {
    ok: bool,
    journal: Part,
    /// Null where there is none.
    store: Option<Part>,
}

/// A log.
#[derive(Debug, Serialize)]
struct Part {
    segments: u64,
    records: u64,
    bytes: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    damage: Vec<Damage>,
    /// Where the last write was not whole: no damage.
    torn_tail: Option<TornTail>,
}

#[derive(Debug, Serialize)]
struct Damage {
    file: String,
    offset: u64,
    /// Records that are lost by it; null where none is.
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    what: String,
}

#[derive(Debug, Serialize)]
struct TornTail {
    file: String,
    offset: u64,
    bytes: u64,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), Exit> {
    let data_dir = args.config.data_dir()?;
    let mut journal = part("journal", &journal_dir(&data_dir)?, verify_journal)?;
    let dir = data_dir.join("store");
    let store = dir.is_dir().then(|| part("store", &dir, verify_store)).transpose()?;
    if store.is_some() {
        // After the journal: where a host runs, what it lets go of has been taken by then.
        let kept = ReadStore::open(&dir).map_err(Exit::environment)?;
        journal.damage.extend(kept.slowest().and_then(|slowest| missing(&journal, slowest)));
    }
    let damaged = journal.damage.len() + store.as_ref().map_or(0, |store| store.damage.len());
    let verified = Verified { ok: damaged == 0, journal, store };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&verified).map_err(Exit::run_time)?);
    } else {
        print!("{}", text("journal", Some(&verified.journal)));
        print!("{}", text("store", verified.store.as_ref()));
    }
    if verified.ok { Ok(()) } else { Err(Exit { code: 1, message: String::new() }) }
}

/// What a pipeline is to take next, and is older than all there is. No segment says that it was there.
fn missing(journal: &Part, (pipeline, cursor): (&str, u64)) -> Option<Damage> {
    let first = journal.first_seq?;
    let is_told = journal.damage.iter().any(|damage| damage.last_seq == Some(first - 1));
    (0 < cursor && cursor < first && !is_told).then(|| Damage {
        file: "journal".to_owned(),
        offset: 0,
        first_seq: Some(cursor),
        last_seq: Some(first - 1),
        what: format!("older segments are missing, which pipeline \"{pipeline}\" has not taken"),
    })
}

fn part(
    name: &str,
    dir: &Path,
    verify: impl FnOnce(&Path) -> Result<Report, OpenError>,
) -> Result<Part, Exit> {
    let Report { segments, records, bytes, seqs, damage, torn_tail } =
        verify(dir).map_err(Exit::environment)?;
    let file = |file: String| format!("{name}/{file}");
    let damage = damage.into_iter().map(|damage| {
        let lost = (!damage.seqs.is_empty()).then(|| (damage.seqs.start, damage.seqs.end - 1));
        let (first_seq, last_seq) = lost.unzip();
        let (offset, what) = (damage.offset, damage.what);
        Damage { file: file(damage.file), offset, first_seq, last_seq, what }
    });
    let (first_seq, last_seq) = seqs.unzip();
    Ok(Part {
        segments,
        records,
        bytes,
        first_seq,
        last_seq,
        damage: damage.collect(),
        torn_tail: torn_tail.map(|torn| TornTail {
            file: file(torn.file),
            offset: torn.offset,
            bytes: torn.bytes,
        }),
    })
}

fn text(name: &str, part: Option<&Part>) -> String {
    let Some(part) = part else { return format!("{name}: there is none\n") };
    let mut out = format!(
        "{name}: {}, {}, in {}",
        counted(part.records as usize, "good record"),
        counted(part.bytes as usize, "byte"),
        counted(part.segments as usize, "segment")
    );
    // Writing to a String cannot fail, here and below.
    if let (Some(first), Some(last)) = (part.first_seq, part.last_seq) {
        let _ = write!(out, ": {}", records(&(first..last + 1)));
    }
    out.push('\n');
    if let Some(torn) = &part.torn_tail {
        let TornTail { file, offset, bytes } = torn;
        let _ = writeln!(
            out,
            "  {file} at byte {offset}: {} of a write that goes on, or did not end; no damage",
            counted(*bytes as usize, "byte")
        );
    }
    for Damage { file, offset, first_seq, last_seq, what } in &part.damage {
        let lost = match (first_seq, last_seq) {
            (Some(first), Some(last)) => {
                let are = if first == last { "is" } else { "are" };
                format!("{} {are} lost", records(&(*first..last + 1)))
            }
            _ => "no record is lost".to_owned(),
        };
        let _ = writeln!(out, "  {file} at byte {offset}: {what}; {lost}");
    }
    out
}
