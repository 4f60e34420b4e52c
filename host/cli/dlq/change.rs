//! `trommel dlq drop` and `trommel dlq redrive`: by the host where one runs; dropped without one too.
//! Key functions: [`drop_letters`], [`redrive`].

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{ChangeArgs, known, store_dir, unreadable};
use crate::app::{StartError, own_data_dir};
use crate::cli::ask::{AskError, tell};
use crate::cli::screen::{counted, grouped};
use crate::cli::{Exit, runtime};
use crate::control::{Begun, Dropped};
use crate::pipeline::{Redriven, Stay};
use crate::store::{LetterId, Select, Store};

/// How often the host is asked how far it came.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long a host may take from locking its data directory until it answers.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take until people are told that something is going on.
const QUIET: Duration = Duration::from_secs(2);
/// How long the store may take to be written.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// A request without a body.
const NOTHING: Option<&()> = None;

pub(super) fn drop_letters(args: &ChangeArgs) -> Result<(), Exit> {
    let select = args.selected()?;
    let data_dir = args.config.data_dir()?;
    let dropped = match lock(&data_dir)? {
        Some(lock) => {
            let dropped = drop_here(&data_dir, &select)?;
            drop(lock);
            dropped
        }
        None => {
            let told = async {
                wait_for_host(&data_dir).await?;
                tell(&data_dir, "/api/v1/dead-letters/drop", Some(&select)).await
            };
            runtime()?.block_on(told).map_err(asked)?
        }
    };
    match args.json {
        true => print_json(&dropped)?,
        false => println!("{} dropped", counted(dropped.dropped as usize, "dead letter")),
    }
    known(&dropped.unknown)
}

pub(super) fn redrive(args: &ChangeArgs) -> Result<(), Exit> {
    let select = args.selected()?;
    let data_dir = args.config.data_dir()?;
    if lock(&data_dir)?.is_some() {
        return Err(Exit::run_time(format!(
            "no host is running with the data directory {}\n\
             hint: the host takes dead letters again while it runs: trommel run",
            data_dir.display()
        )));
    }
    let (unknown, redriven) = runtime()?.block_on(follow(&data_dir, &select)).map_err(asked)?;
    match args.json {
        true => print_json(&RedrivenAll { pipelines: &redriven, unknown: &unknown })?,
        false => print_all(&redriven),
    }
    known(&unknown)?;
    let all_well = redriven.iter().all(|one| one.dead_lettered == 0 && one.stay.is_empty());
    if all_well { Ok(()) } else { Err(Exit { code: 1, message: String::new() }) }
}

/// What `--json` says of a redrive.
#[derive(serde::Serialize)]
struct RedrivenAll<'a> {
    pipelines: &'a [Redriven],
    /// Ids that were named, and are of no dead letter.
    unknown: &'a [LetterId],
}

impl ChangeArgs {
    fn selected(&self) -> Result<Select, Exit> {
        let select = self.select.to_select();
        if select.is_all() && !self.all {
            return Err(Exit::usage(
                "which dead letters?\nhint: name ids or filters, or --all; trommel dlq list shows what there is",
            ));
        }
        Ok(select)
    }
}

/// The data directory for this process, or `None` where a host has it.
fn lock(data_dir: &Path) -> Result<Option<File>, Exit> {
    store_dir(data_dir)?;
    match own_data_dir(data_dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(StartError::Environment { source, .. })
            if source.kind() == std::io::ErrorKind::WouldBlock =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn drop_here(data_dir: &Path, select: &Select) -> Result<Dropped, Exit> {
    let (store, loaded) = Store::open(&store_dir(data_dir)?).map_err(Exit::environment)?;
    for note in &loaded.notes {
        eprintln!("trommel: {note}");
    }
    let mut ids: Vec<LetterId> = Vec::new();
    for stored in store.letters().that_fit(select) {
        ids.push(stored.map_err(unreadable)?.id);
    }
    let unknown = select.ids.iter().filter(|id| !store.is_open(**id)).copied().collect();
    let deadline = Instant::now() + WRITE_WITHIN;
    let settled = store.settle(&ids, &|| Instant::now() >= deadline);
    let closed = store.close(WRITE_WITHIN);
    settled.map_err(Exit::environment)?;
    closed.map_err(Exit::environment)?;
    Ok(Dropped { dropped: ids.len() as u64, unknown })
}

/// A host that is just starting answers in a moment.
async fn wait_for_host(data_dir: &Path) -> Result<(), AskError> {
    let deadline = Instant::now() + START_WITHIN;
    loop {
        // Of a request that nobody made.
        match tell::<Vec<Redriven>>(data_dir, "/api/v1/dead-letters/redrive/0", NOTHING).await {
            Ok(_) | Err(AskError::Refused(404, _)) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(ASK_EVERY).await,
        }
    }
}

/// Asks the host, and then how far it came, until it is done.
async fn follow(
    data_dir: &Path,
    select: &Select,
) -> Result<(Vec<LetterId>, Vec<Redriven>), AskError> {
    wait_for_host(data_dir).await?;
    let path = "/api/v1/dead-letters/redrive";
    let Begun { job, unknown } = tell(data_dir, path, Some(select)).await?;
    let path = format!("{path}/{job}");
    let begun = Instant::now();
    let shows = std::io::stderr().is_terminal();
    let mut is_shown = false;
    loop {
        let redriven: Vec<Redriven> = tell(data_dir, &path, NOTHING).await?;
        let is_over = redriven.iter().all(|one| one.is_over);
        if shows && (is_shown || begun.elapsed() >= QUIET) && !is_over {
            is_shown = true;
            let done: u64 = redriven.iter().map(Redriven::done).sum();
            let asked: u64 = redriven.iter().map(|one| one.asked).sum();
            eprint!("\r{} of {} dead letters", grouped(done), grouped(asked));
            // A terminal that is gone is no reason to stop.
            let _ = std::io::stderr().flush();
        }
        if is_over {
            if is_shown {
                eprintln!();
            }
            return Ok((unknown, redriven));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn print_all(redriven: &[Redriven]) {
    if redriven.is_empty() {
        println!("no dead letters");
    }
    for Redriven { pipeline, asked, delivered, filtered, dead_lettered, gone, stay, .. } in redriven
    {
        let asked = counted(*asked as usize, "dead letter");
        let staying = stay.iter().map(|stay| stay.count).sum();
        let ends = [
            (*delivered, "delivered"),
            (*filtered, "filtered"),
            (
                *dead_lettered,
                if *dead_lettered == 1 { "dead letter again" } else { "dead letters again" },
            ),
            (*gone, "done with by somebody else"),
            (staying, if staying == 1 { "stays" } else { "stay" }),
        ];
        let ends: Vec<String> = ends
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", grouped(*count)))
            .collect();
        println!("{pipeline}: {asked}: {}", ends.join(", "));
        for Stay { why, count, first } in stay {
            let others = if *count > 1 { " and others" } else { "" };
            let stay = if *count == 1 { "stays" } else { "stay" };
            let why = why.replace('\n', "\n  ");
            println!("  {} {stay} ({first}{others}): {why}", grouped(*count));
        }
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Exit> {
    println!("{}", serde_json::to_string(value).map_err(Exit::run_time)?);
    Ok(())
}

fn asked(error: AskError) -> Exit {
    match error {
        AskError::NoKey(_) => Exit::environment(error),
        error => Exit::run_time(error),
    }
}
