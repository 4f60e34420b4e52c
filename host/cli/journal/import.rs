//! `trommel journal import`: exported frames into the journal of a host that does not run. Key
//! function: [`run`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::ImportArgs;
use super::line::Line;
use crate::app::{StartError, own_data_dir};
use crate::cli::Exit;
use crate::cli::screen::{counted, grouped, records};
use crate::config::Config;
use crate::dir::sync_dir;
use crate::journal::{Journal, Read};
use crate::store::{Commit, ReadStore, Record, Store};
use crate::timestamp::now_micros;

/// Longest line: the largest frame there may be, in base64, and the rest.
const MAX_LINE: u64 = 128 << 20;
/// Frames are appended in pieces of about this size.
const PIECE: usize = 1 << 20;
/// What a frame takes besides its bytes, at the least.
const OVERHEAD: usize = 64;
/// How long the disk may take over one of them, and in the end.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(args: &ImportArgs) -> Result<(), Exit> {
    let config = args.config.load()?;
    let no_journal = || Exit::usage("journal = false: this configuration has no journal");
    let settings = config.journal.as_ref().ok_or_else(no_journal)?;
    let mut input = open(&args.file)?;
    let lock = own_data_dir(&config.data_dir).map_err(running)?;
    let (certified, is_known) = kept(&config.data_dir)?;
    let dir = part(&config.data_dir, "journal")?;
    let journal = Journal::open_to_import(&dir, settings, certified).map_err(Exit::environment)?;
    if !is_known && journal.next_seq() == 1 {
        begin(&config)?;
    }
    let imported = import(&mut *input, &journal);
    let closed = journal.close(WRITE_WITHIN).map_err(Exit::environment);
    drop(lock);
    let seqs = imported.and_then(|seqs| closed.map(|()| seqs))?;
    let frames = counted((seqs.end - seqs.start) as usize, "frame");
    match seqs.is_empty() {
        true => eprintln!("there are no frames in it"),
        false => eprintln!("{frames} imported: {}", records(&seqs)),
    }
    Ok(())
}

/// A directory below that of the data, durable once it is made.
fn part(data_dir: &Path, name: &str) -> Result<PathBuf, Exit> {
    let dir = data_dir.join(name);
    std::fs::create_dir_all(&dir)
        .and_then(|()| sync_dir(data_dir))
        .map_err(|error| Exit::environment(format!("cannot make {}: {error}", dir.display())))?;
    Ok(dir)
}

/// Notes, where no host has run, that each pipeline begins with the first record.
fn begin(config: &Config) -> Result<(), Exit> {
    let (store, _) = Store::open(&part(&config.data_dir, "store")?).map_err(Exit::environment)?;
    let deadline = Instant::now() + WRITE_WITHIN;
    for pipeline in &config.pipelines {
        let commit = Commit {
            pipeline: pipeline.name.clone(),
            number: 1,
            cursor: 1,
            time: now_micros(),
            is_whole: true,
            ..Commit::default()
        };
        let noted = store.write(Record::Commit(commit), &|| Instant::now() >= deadline);
        noted.map_err(|error| {
            let trouble = store.trouble().unwrap_or_default();
            Exit::environment(format!("the store cannot be written: {error} {trouble}"))
        })?;
    }
    store.close(WRITE_WITHIN).map_err(Exit::environment)
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

/// What is known to have been durable of the journal that is there, and whether a pipeline is known.
fn kept(data_dir: &Path) -> Result<(u64, bool), Exit> {
    let dir = data_dir.join("store");
    if !dir.is_dir() {
        return Ok((0, false));
    }
    let store = ReadStore::open(&dir).map_err(Exit::environment)?;
    Ok((store.certified(), store.knows_pipelines()))
}

/// Appends all frames; says as which records.
fn import(input: &mut dyn BufRead, journal: &Journal) -> Result<Range<u64>, Exit> {
    let first = journal.next_seq();
    let mut lines = Lines { input, number: 0 };
    // The line that the next piece begins with.
    let mut from = 1;
    loop {
        let (piece, wrong) = lines.piece();
        let appended = append(journal, &piece);
        let seqs = first..journal.next_seq();
        let stopped = |mut exit: Exit, line: u64| {
            let joint = if exit.message.contains("\nhint: ") { "; " } else { "\nhint: " };
            exit.message += &format!("{joint}{}", rest(&seqs, line));
            exit
        };
        appended.map_err(|exit| stopped(exit, from))?;
        from = lines.number + 1;
        match wrong {
            Some(why) => {
                let number = lines.number;
                return Err(stopped(Exit::run_time(format!("line {number}: {why}")), number));
            }
            None if piece.is_empty() => return Ok(seqs),
            None => {}
        }
    }
}

/// What of the file is in the journal, and how to go on.
fn rest(seqs: &Range<u64>, line: u64) -> String {
    match seqs.end - seqs.start {
        0 => "nothing of it is in the journal".to_owned(),
        1 => format!(
            "the frame before it is in the journal, as {}; import the rest from line {line} on",
            records(seqs)
        ),
        count => format!(
            "the {} frames before it are in the journal, as {}; import the rest from line {line} on",
            grouped(count),
            records(seqs)
        ),
    }
}

/// The input, and the number of the line that was read last.
struct Lines<'a> {
    input: &'a mut dyn BufRead,
    number: u64,
}

impl Lines<'_> {
    /// The next frames, none at the end; and what is wrong with the line after them, if something is.
    fn piece(&mut self) -> (Vec<(u64, Read)>, Option<String>) {
        let (mut piece, mut bytes): (Vec<(u64, Read)>, usize) = (Vec::new(), 0);
        while bytes < PIECE {
            match self.next_frame() {
                Ok(Some(read)) => {
                    bytes += read.1.frame.bytes.len() + OVERHEAD;
                    piece.push(read);
                }
                Ok(None) => break,
                Err(why) => return (piece, Some(why)),
            }
        }
        (piece, None)
    }

    fn next_frame(&mut self) -> Result<Option<(u64, Read)>, String> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        let line: Line<'_> = serde_json::from_slice(&line).map_err(|error| {
            // It is a line of its own.
            error.to_string().replace(" at line 1 column ", " at column ")
        })?;
        line.read().map(Some)
    }

    /// The next line without its end; `None` at the end of the input. Empty lines are passed over.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            self.number += 1;
            let mut line = Vec::new();
            let read = (&mut *self.input).take(MAX_LINE).read_until(b'\n', &mut line);
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
