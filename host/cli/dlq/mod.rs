//! `trommel dlq`: dead letters, listed, shown, exported, dropped, and taken again. Those that only look
//! read the files of the store, also while the host runs. Key type: [`DlqCommand`].

mod change;
mod print;
mod select;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use self::select::SelectArgs;
use super::out::Out;
use super::{ConfigArgs, Exit};
use crate::store::{LetterId, ReadStore, Select};

#[derive(Debug, Subcommand)]
pub(super) enum DlqCommand {
    /// Lists dead letters, the oldest first
    #[command(after_help = "Examples:\n  trommel dlq list\n  \
        trommel dlq list --reason fault,trap --since 2h\n  \
        trommel dlq list --plugin 10-filter --json | jq -r .id")]
    List(ListArgs),
    /// Shows all that is known of some dead letters
    #[command(after_help = "Example:\n  trommel dlq show 812.0")]
    Show(ShowArgs),
    /// Writes dead letters as lines of JSON, with event and frame
    #[command(after_help = "Examples:\n  trommel dlq export --output letters.jsonl\n  \
        trommel dlq export --pipeline main | jq -c .event\n  \
        trommel dlq export 812.0 | jq -r .raw | base64 -d | trommel decode --stream ap-events")]
    Export(ExportArgs),
    /// Has the running host take dead letters again: through today's plugins, the oldest first
    #[command(after_help = "Examples:\n  trommel dlq redrive --plugin 10-filter\n  \
        trommel dlq redrive 812.0 812.1\n  trommel dlq redrive --all\n\n\
        Each goes on from where it died: a frame that could not be decoded from the beginning, an event\n\
        from the plugin that failed on it, or to the sink alone that refused it. `dlq list` with the same\n\
        filters shows which they are. The exit code is 1 when some are dead letters again, or still.")]
    Redrive(ChangeArgs),
    /// Marks dead letters as done with, also when no host runs; their lines in dead-letters.jsonl stay
    #[command(after_help = "Examples:\n  trommel dlq drop 812.0\n  \
        trommel dlq drop --reason refused --until 2026-11-01")]
    Drop(ChangeArgs),
}

/// Arguments of `trommel dlq list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Print JSON, a line each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Arguments of `trommel dlq show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Ids, as `dlq list` has them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<LetterId>,
    /// Print JSON, a line each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Arguments of `trommel dlq export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// A new file to write to, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Arguments of `trommel dlq redrive` and `trommel dlq drop`.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// All there are, where nothing else is said
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(command: &DlqCommand) -> Result<(), Exit> {
    match command {
        DlqCommand::List(args) => list(args),
        DlqCommand::Show(args) => show(args),
        DlqCommand::Export(args) => export(args),
        DlqCommand::Redrive(args) => change::redrive(args),
        DlqCommand::Drop(args) => change::drop_letters(args),
    }
}

fn list(args: &ListArgs) -> Result<(), Exit> {
    let select = args.select.to_select();
    let store = open(&args.config.data_dir()?)?;
    let mut out = Out::stdout();
    let mut table = print::Table::default();
    let mut left = select.ids.clone();
    for stored in store.letters().that_fit(&select) {
        let stored = stored.map_err(unreadable)?;
        left.retain(|id| *id != stored.id);
        match args.json {
            true => out.json(&print::Row::new(&stored))?,
            false => table.add(&stored, &mut out)?,
        }
    }
    if !args.json {
        table.end(&mut out)?;
    }
    out.flush()?;
    known(&of_none(&store, left)?)
}

fn show(args: &ShowArgs) -> Result<(), Exit> {
    let store = open(&args.config.data_dir()?)?;
    let mut out = Out::stdout();
    let mut left = args.ids.clone();
    let select = Select { ids: args.ids.clone(), ..Select::default() };
    for stored in store.letters().that_fit(&select) {
        let stored = stored.map_err(unreadable)?;
        left.retain(|id| *id != stored.id);
        match args.json {
            true => out.json(&print::Whole::new(&stored))?,
            false => out.write(print::text(&stored).as_bytes())?,
        }
    }
    out.flush()?;
    known(&left)
}

fn export(args: &ExportArgs) -> Result<(), Exit> {
    let select = args.select.to_select();
    let store = open(&args.config.data_dir()?)?;
    let mut out = Out::to(args.output.as_deref())?;
    let mut left = select.ids.clone();
    for stored in store.letters().that_fit(&select) {
        let stored = stored.map_err(unreadable)?;
        left.retain(|id| *id != stored.id);
        out.json(&print::Whole::new(&stored))?;
    }
    out.flush()?;
    known(&of_none(&store, left)?)
}

/// Those of some ids that are of no dead letter, and not only of one that does not fit.
fn of_none(store: &ReadStore, mut ids: Vec<LetterId>) -> Result<Vec<LetterId>, Exit> {
    if !ids.is_empty() {
        let select = Select { ids: ids.clone(), ..Select::default() };
        for stored in store.letters().that_fit(&select) {
            let stored = stored.map_err(unreadable)?;
            ids.retain(|id| *id != stored.id);
        }
    }
    Ok(ids)
}

/// Where the store of a host lies, if there is one.
fn store_dir(data_dir: &Path) -> Result<PathBuf, Exit> {
    let dir = data_dir.join("store");
    if dir.is_dir() {
        return Ok(dir);
    }
    Err(Exit::run_time(format!(
        "no dead letters are kept in {}: no host with a journal has run there\n\
         hint: data_dir of the configuration names it; without a journal they are in dead-letters.jsonl alone",
        data_dir.display()
    )))
}

fn open(data_dir: &Path) -> Result<ReadStore, Exit> {
    let store = ReadStore::open(&store_dir(data_dir)?).map_err(Exit::environment)?;
    if let Some(trouble) = store.trouble() {
        eprintln!("trommel: {trouble}");
    }
    Ok(store)
}

fn unreadable(error: std::io::Error) -> Exit {
    Exit::environment(format!("the store cannot be read: {error}"))
}

/// Says which ids are of no dead letter.
fn known(unknown: &[LetterId]) -> Result<(), Exit> {
    if unknown.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = unknown.iter().map(LetterId::to_string).collect();
    let ids = ids.join(", ");
    Err(Exit::run_time(format!(
        "no dead letter: {ids}\nhint: it may be dropped or redriven; trommel dlq list shows what there is"
    )))
}
