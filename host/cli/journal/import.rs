//! `trommel journal import`: exported frames into the journal of a host that does not run. Key
//! function: [`run`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::ImportArgs;
use super::line::Line;
use crate::app::{StartError, own_data_dir};
use crate::cli::Exit;
use crate::dir::sync_dir;
use crate::journal::{Journal, Read};
use crate::store::ReadStore;

/// Longest line: the largest frame there may be, in base64, and the rest.
const MAX_LINE: u64 = 128 << 20;
/// Frames are appended in pieces of about this size.
const PIECE: usize = 1 << 20;
/// How long the disk may take over one of them, and in the end.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(args: &ImportArgs) -> Result<(), Exit> {
    let config = args.config.load()?;
    let no_journal = || Exit::usage("journal = false: this configuration has no journal");
    let settings = config.journal.as_ref().ok_or_else(no_journal)?;
    let mut input = open(&args.file)?;
    let lock = own_data_dir(&config.data_dir).map_err(running)?;
    let certified = certified(&config.data_dir)?;
    let dir = config.data_dir.join("journal");
    std::fs::create_dir_all(&dir)
        .and_then(|()| sync_dir(&config.data_dir))
        .map_err(|error| Exit::environment(format!("cannot make {}: {error}", dir.display())))?;
    let journal = Journal::open(&dir, settings, certified).map_err(Exit::environment)?;
    let imported = import(&mut *input, &journal);
    let closed = journal.close(WRITE_WITHIN).map_err(Exit::environment);
    drop(lock);
    let (count, seqs) = imported.and_then(|count| closed.map(|()| count))?;
    match count {
        0 => eprintln!("there are no frames in it"),
        _ => eprintln!("{count} frames imported: records {} to {}", seqs.start, seqs.end - 1),
    }
    Ok(())
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Exit> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file);
    let cannot = |error| Exit::environment(format!("cannot read {}: {error}", file.display()));
    Ok(Box::new(BufReader::with_capacity(64 << 10, opened.map_err(cannot)?)))
}

fn running(error: StartError) -> Exit {
    match error {
        StartError::Environment { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
            Exit::environment("a host runs with this data directory\nhint: stop it first")
        }
        error => error.into(),
    }
}

/// What is known to have been durable of the journal that is there.
fn certified(data_dir: &Path) -> Result<u64, Exit> {
    let dir = data_dir.join("store");
    if !dir.is_dir() {
        return Ok(0);
    }
    ReadStore::open(&dir).map(|store| store.certified()).map_err(Exit::environment)
}

/// Appends all frames; says how many, and as which records.
fn import(input: &mut dyn BufRead, journal: &Journal) -> Result<(u64, std::ops::Range<u64>), Exit> {
    let first = journal.next_seq();
    let (mut piece, mut bytes): (Vec<(u64, Read)>, usize) = (Vec::new(), 0);
    let mut number = 0;
    loop {
        number += 1;
        let wrong = |why: String| {
            let hint = "what came before is in the journal";
            Exit::run_time(format!("line {number}: {why}\nhint: {hint}"))
        };
        let line = next_line(input).map_err(&wrong);
        let read = line.and_then(|line| match line {
            Some(line) => {
                let line: Line<'_> =
                    serde_json::from_slice(&line).map_err(|error| wrong(error.to_string()))?;
                line.read().map(Some).map_err(&wrong)
            }
            None => Ok(None),
        });
        let is_more = matches!(read, Ok(Some(_)));
        let failed = match read {
            Ok(Some(read)) => {
                bytes += read.1.frame.bytes.len();
                piece.push(read);
                None
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if bytes >= PIECE || !is_more {
            append(journal, &piece)?;
            piece.clear();
            bytes = 0;
        }
        match failed {
            Some(error) => return Err(error),
            None if is_more => {}
            None => {
                let next = journal.next_seq();
                return Ok((next - first, first..next.max(first + 1)));
            }
        }
    }
}

fn append(journal: &Journal, piece: &[(u64, Read)]) -> Result<(), Exit> {
    let deadline = Instant::now() + WRITE_WITHIN;
    let appended = journal.import(piece, &|| Instant::now() >= deadline);
    appended.map_err(|error| match journal.trouble() {
        Some(trouble) => Exit::environment(format!("{error}: {trouble}")),
        None => Exit::environment(format!(
            "{error}\nhint: the journal may be full: see journal.max_size"
        )),
    })
}

/// The next line without its end; `None` at the end of the input. Empty lines are passed over.
fn next_line(input: &mut dyn BufRead) -> Result<Option<Vec<u8>>, String> {
    loop {
        let mut line = Vec::new();
        let read = input.take(MAX_LINE).read_until(b'\n', &mut line);
        match read.map_err(|error| error.to_string())? {
            0 => return Ok(None),
            read if read as u64 == MAX_LINE => {
                return Err(format!("it is longer than {MAX_LINE} bytes"));
            }
            _ if line.trim_ascii().is_empty() => {}
            _ => return Ok(Some(line)),
        }
    }
}
