//! A part of the journal, as commands are told it. Key types: [`RangeArgs`], [`Range`].

use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use super::screen::counted;
use super::when::when;
use crate::journal::{Archive, Frames, KeptFrame};

/// Which part of the journal is meant; all of it where nothing is said.
#[derive(Debug, Clone, Args)]
pub(super) struct RangeArgs {
    /// Received at this time or later: 2026-11-21T09:30:00Z, a date, or how long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = when, help_heading = "Which part")]
    from: Option<u64>,
    /// Received before this time
    #[arg(long, value_name = "TIME", value_parser = when, help_heading = "Which part")]
    to: Option<u64>,
    /// From this record of the journal on
    #[arg(long, value_name = "N", help_heading = "Which part")]
    from_seq: Option<u64>,
    /// Up to this record, with it
    #[arg(long, value_name = "N", help_heading = "Which part")]
    to_seq: Option<u64>,
    /// From this source; may be given more than once, or with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Which part")]
    source: Vec<String>,
    /// From this stream; may be given more than once, or with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Which part")]
    stream: Vec<String>,
}

/// The journal of a data directory, and the part of it that is meant.
pub(super) struct Range {
    args: RangeArgs,
    frames: Frames,
    last: u64,
    /// Records that were read.
    pub read: u64,
    /// Records that cannot be read.
    pub lost: u64,
}

impl RangeArgs {
    /// Opens the journal at the beginning of the part that is meant.
    pub fn open(&self, data_dir: &Path) -> Result<Range, Exit> {
        let archive = Archive::open(&journal_dir(data_dir)?).map_err(Exit::environment)?;
        let by_time = self.from.map_or(0, |from| archive.before(from));
        let first = self.from_seq.unwrap_or(0).max(by_time);
        // What comes while it is read is not asked for.
        let by_time = self.to.map_or(u64::MAX, |to| archive.after(to));
        let last = self.to_seq.unwrap_or(u64::MAX).min(archive.last_seq()).min(by_time);
        let frames = archive.frames(first);
        Ok(Range { args: self.clone(), frames, last, read: 0, lost: 0 })
    }

    /// Takes from these sources only, unless others were named.
    pub fn or_sources(mut self, sources: &[String]) -> Self {
        if self.source.is_empty() {
            self.source = sources.to_vec();
        }
        self
    }

    fn has(&self, kept: &KeptFrame) -> bool {
        let named = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|other| other == name)
        };
        self.from.is_none_or(|from| kept.time >= from)
            && self.to.is_none_or(|to| kept.time < to)
            && named(&self.source, &kept.read.origin.source)
            && named(&self.stream, &kept.read.origin.stream)
    }
}

impl Range {
    /// What comes next of it; `None` at its end.
    pub fn next_piece(&mut self) -> Result<Option<Vec<KeptFrame>>, Exit> {
        let cannot = |error| Exit::environment(format!("the journal cannot be read: {error}"));
        let piece = self.frames.next_piece().map_err(cannot)?;
        if piece.is_empty() {
            return Ok(None);
        }
        let lost =
            piece.lost.iter().map(|lost| lost.end.min(self.last + 1).saturating_sub(lost.start));
        self.lost += lost.sum::<u64>();
        let is_last = piece.frames.last().is_some_and(|kept| kept.seq >= self.last);
        let mut frames = piece.frames;
        frames.retain(|kept| kept.seq <= self.last && self.args.has(kept));
        self.read += frames.len() as u64;
        if is_last {
            self.last = 0;
        }
        if is_last && frames.is_empty() { Ok(None) } else { Ok(Some(frames)) }
    }

    /// Says what could not be read, if anything.
    ///
    /// # Errors
    /// Nothing more to be said, when something could not: the command has not done all of it.
    pub fn tell_lost(&self) -> Result<(), Exit> {
        if self.lost == 0 {
            return Ok(());
        }
        let lost = counted(self.lost as usize, "record");
        eprintln!("trommel: {lost} cannot be read\nhint: trommel journal verify says where");
        Err(Exit { code: 1, message: String::new() })
    }
}

/// Where the journal of a host lies, if there is one.
pub(super) fn journal_dir(data_dir: &Path) -> Result<PathBuf, Exit> {
    let dir = data_dir.join("journal");
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(Exit::run_time(format!(
        "there is no journal in {}: no host with one has run there\n\
         hint: data_dir of the configuration names it",
        data_dir.display()
    )))
}
