//! `trommel journal`: exported to a plain file, imported from one, and looked at record by record. Key
//! type: [`JournalCommand`].

mod import;
mod line;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use self::line::Line;
use super::out::Out;
use super::range::RangeArgs;
use super::screen::counted;
use super::{ConfigArgs, Exit};

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    /// Writes frames as lines of JSON, also while the host runs
    #[command(after_help = "Examples:\n  trommel journal export frames.jsonl\n  \
        trommel journal export --from 1h --stream ap-events | zstd > frames.jsonl.zst\n\n\
        A line is {seq, time, source, stream, kind, size?, frame}: kind is binary, text or too-large,\n\
        size that of a frame over max_frame, of which there is only the beginning; frame is base64.")]
    Export(ExportArgs),
    /// Appends exported frames to the journal of a host that does not run; it delivers them when it starts
    #[command(after_help = "Examples:\n  trommel journal import frames.jsonl\n  \
        zstd -dc frames.jsonl.zst | trommel journal import -")]
    Import(ImportArgs),
    /// Looks at every record of journal and store; the exit code is 1 when something is damaged
    #[command(after_help = "Examples:\n  trommel journal verify\n  \
        trommel journal verify --json | jq '.journal.damage'")]
    Verify(VerifyArgs),
}

/// Arguments of `trommel journal export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// A new file to write to; standard output where there is none, or -
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    range: RangeArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Arguments of `trommel journal import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Arguments of `trommel journal verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(command: &JournalCommand) -> Result<(), Exit> {
    match command {
        JournalCommand::Export(args) => export(args),
        JournalCommand::Import(args) => import::run(args),
        JournalCommand::Verify(args) => verify::run(args),
    }
}

fn export(args: &ExportArgs) -> Result<(), Exit> {
    let mut range = args.range.open(&args.config.data_dir()?)?;
    let mut out = Out::to(args.file.as_deref().filter(|file| *file != Path::new("-")))?;
    while let Some(frames) = range.next_piece()? {
        for kept in &frames {
            out.json(&Line::from(kept))?;
        }
    }
    out.flush()?;
    let is_whole = range.tell_lost();
    if args.file.is_some() {
        eprintln!("{} exported", counted(range.read as usize, "frame"));
    }
    is_whole
}
