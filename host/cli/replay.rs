//! `trommel replay`: what the journal holds once more through plugins, at full speed, to standard
//! output. Nothing is delivered, and no pipeline knows of it. Key type: [`ReplayArgs`].

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use super::out::Out;
use super::range::{Range, RangeArgs};
use super::{ConfigArgs, Exit, plugin, runtime};
use crate::alert::Alert;
use crate::batch::{Batch, RowId};
use crate::config::{BUILT_IN_SOURCE, PipelineConfig};
use crate::decode::{Decoder, Registry};
use crate::frame::{Frame, Origin};
use crate::journal::KeptFrame;
use crate::pattern::Pattern;
use crate::pipeline::{Outputs, Passed, Rehearsal};
use crate::plugin::{Compiler, Engine, Loader, load_file};
use crate::runner::{Plugins, Role};
use crate::source::BuiltIn;

/// Largest batch, as in pipelines.
const MAX_EVENTS: usize = 512;
const MAX_BYTES: usize = 4 << 20;
/// How often time passes for alert plugins, in microseconds.
const TICK: u64 = 1_000_000;
/// So many events that would be dead letters are told one by one.
const TOLD: u64 = 10;

/// Arguments of `trommel replay`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  trommel replay --from 2h --stream ap-events\n  \
    trommel replay --from 2026-11-21T09:00 --to 2026-11-21T10:00 --pipeline main > events.jsonl\n  \
    trommel replay --plugin new/10-filter.wasm --plugin-config new/10-filter.toml --count\n  \
    trommel replay --pipeline main --alerts\n\n\
    It reads the journal, also while the host runs, and changes nothing: cursors, what plugins remember\n\
    and sinks stay as they are. Plugins begin with an empty memory, at the time of the events; export\n\
    plugins are passed by. Without --pipeline and --plugin events come as they were received.")]
pub(super) struct ReplayArgs {
    /// Through the plugins of this pipeline as they are now, from its sources
    #[arg(long, value_name = "NAME", conflicts_with = "plugin")]
    pipeline: Option<String>,
    /// Through this one plugin, a file
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// What the plugin is given, instead of the .toml beside it
    #[arg(long, value_name = "FILE", requires = "plugin")]
    plugin_config: Option<PathBuf>,
    #[command(flatten)]
    range: RangeArgs,
    /// From the event with this id on
    #[arg(long, value_name = "ID", help_heading = "Which part")]
    from_id: Option<String>,
    /// Up to the event with this id, with it
    #[arg(long, value_name = "ID", help_heading = "Which part")]
    to_id: Option<String>,
    /// Events of these types only, * for any run of characters
    #[arg(long, value_name = "TYPE,...", value_delimiter = ',', help_heading = "Which part")]
    types: Vec<String>,
    /// Print the alerts that would be told, instead of events
    #[arg(long, conflicts_with = "count")]
    alerts: bool,
    /// Print how many there are, instead of events
    #[arg(long)]
    count: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), Exit> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let registry = Arc::new(Registry::built_in());
    let decoder = Decoder::new(Arc::clone(&registry));
    let (rehearsal, sources) = rehearsal(args, decoder, &runtime)?;
    let range = args.range.clone().or_sources(&sources).open(&args.config.data_dir()?)?;
    let mut replay = Replay {
        args,
        rehearsal,
        choice: Choice::new(args),
        source: BuiltIn::new(Outputs::default(), registry),
        out: Out::stdout(),
        next_tick: None,
        lines: Vec::new(),
        counts: Counts::default(),
    };
    replay.run(range)
}

/// The plugins, and the sources that are meant; none for all.
fn rehearsal(
    args: &ReplayArgs,
    decoder: Decoder,
    runtime: &Runtime,
) -> Result<(Rehearsal, Vec<String>), Exit> {
    let handle = runtime.handle();
    let make = |name: &str, through, is_built_in, plugins| {
        Rehearsal::new(name, through, is_built_in, plugins, decoder.clone(), handle)
    };
    if let Some(name) = &args.pipeline {
        let config = args.config.load()?;
        let known = || config.pipelines.iter().map(|pipeline| pipeline.name.as_str());
        let PipelineConfig { name, from, through, .. } =
            config.pipelines.iter().find(|pipeline| pipeline.name == *name).ok_or_else(|| {
                let known = known().collect::<Vec<_>>().join(", ");
                Exit::usage(format!("there is no pipeline {name:?}\nhint: known: {known}"))
            })?;
        let plugins = plugin::load_files(&config, runtime)?;
        let is_built_in = from.iter().any(|source| source == BUILT_IN_SOURCE);
        let made = make(name, through.clone(), is_built_in, plugins);
        let made = made.map_err(|why| Exit::usage(format!("pipeline {name:?}: {why}")))?;
        return Ok((made, from.clone()));
    }
    let plugins = one_plugin(args, handle)?;
    make("replay", None, false, plugins).map(|made| (made, Vec::new())).map_err(Exit::usage)
}

fn one_plugin(args: &ReplayArgs, runtime: &Handle) -> Result<Plugins, Exit> {
    let Some(file) = &args.plugin else { return Ok(Plugins::default()) };
    let engine = Engine::new().map_err(|error| Exit::environment(format!("{error:#}")))?;
    let loader = Loader {
        compiler: Compiler::new(engine, None),
        runtime: runtime.clone(),
        stop: CancellationToken::new(),
    };
    let plugins = load_file(file, args.plugin_config.as_deref(), &loader).map_err(Exit::usage)?;
    let exports = |entry: &crate::runner::Entry| {
        entry.serving.as_ref().is_some_and(|factory| factory.info().role == Role::Export)
    };
    if plugins.entries.values().any(exports) {
        return Err(Exit::usage(format!(
            "{}: an export plugin sends events elsewhere\n\
             hint: replay takes filter, transform and alert plugins",
            file.display()
        )));
    }
    Ok(plugins)
}

struct Replay<'a> {
    args: &'a ReplayArgs,
    rehearsal: Rehearsal,
    choice: Choice,
    source: BuiltIn,
    out: Out,
    next_tick: Option<u64>,
    lines: Vec<u8>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    events: u64,
    filtered: u64,
    dead_lettered: u64,
    alerts: u64,
    told: u64,
}

impl Replay<'_> {
    fn run(&mut self, mut range: Range) -> Result<(), Exit> {
        let mut batch: Vec<KeptFrame> = Vec::new();
        let mut bytes = 0;
        while let Some(frames) = range.next_piece()? {
            for kept in frames {
                let size = kept.read.frame.bytes.len();
                let is_full = batch.len() == MAX_EVENTS || bytes + size > MAX_BYTES;
                if is_full || self.next_tick.is_some_and(|tick| kept.time >= tick) {
                    self.pass(std::mem::take(&mut batch))?;
                    bytes = 0;
                }
                self.pass_time(kept.time)?;
                bytes += size;
                batch.push(kept);
            }
            if self.choice.is_over {
                break;
            }
        }
        self.pass(batch)?;
        self.end(&range)
    }

    fn pass(&mut self, batch: Vec<KeptFrame>) -> Result<(), Exit> {
        let Some(now) = batch.last().map(|kept| kept.time) else { return Ok(()) };
        let frames: Vec<(Arc<Origin>, Frame)> =
            batch.into_iter().map(|kept| (kept.read.origin, kept.read.frame)).collect();
        self.lines.clear();
        let choice = &mut self.choice;
        let passed =
            self.rehearsal.pass(frames, now, &mut |batch| choice.of(batch), &mut self.lines);
        let Passed { ends, events, letters, alerts } = passed;
        self.counts.events += events;
        self.counts.filtered += ends.filtered;
        self.counts.dead_lettered += ends.dead_lettered;
        for letter in &letters {
            self.counts.told += 1;
            if self.counts.told <= TOLD {
                let (reason, detail) = (letter.reason.name(), letter.detail.lines().next());
                let plugin = &letter.plugin;
                let detail = detail.unwrap_or_default();
                eprintln!("trommel: would be a dead letter: {plugin} {reason}: {detail}");
            }
        }
        self.alerts(alerts)?;
        match self.args.count || self.args.alerts {
            true => Ok(()),
            false => self.out.write(&self.lines),
        }
    }

    /// Lets time pass for alert plugins, up to when a frame was received.
    fn pass_time(&mut self, time: u64) -> Result<(), Exit> {
        if !self.rehearsal.has_time() {
            return Ok(());
        }
        let Some(tick) = self.next_tick else {
            self.next_tick = Some(time + TICK);
            return Ok(());
        };
        if time < tick {
            return Ok(());
        }
        // A long silence is one tick at its beginning and one at its end.
        let ends = [tick, time];
        for now in if time - tick < TICK { &ends[1..] } else { &ends[..] } {
            let (alerts, failures) = self.rehearsal.tick(*now);
            failures.iter().for_each(|failure| eprintln!("trommel: {failure}"));
            self.alerts(alerts)?;
        }
        self.next_tick = Some(time + TICK);
        Ok(())
    }

    fn alerts(&mut self, alerts: Vec<Alert>) -> Result<(), Exit> {
        self.counts.alerts += alerts.len() as u64;
        if self.args.alerts {
            for alert in alerts {
                let frame = self.source.event(None, "trommel.alert", &alert.subject, &alert.data);
                self.out.write(self.source.line(&frame).as_bytes())?;
            }
        }
        Ok(())
    }

    fn end(&mut self, range: &Range) -> Result<(), Exit> {
        let Counts { events, filtered, dead_lettered, alerts, .. } = self.counts;
        let counts = format!(
            "replay read={} events={events} filtered={filtered} dead_lettered={dead_lettered} alerts={alerts}",
            range.read
        );
        if self.args.count {
            self.out.line(&counts)?;
        }
        self.out.flush()?;
        let is_whole = range.tell_lost();
        if !self.args.count {
            eprintln!("{counts}");
        }
        match self.choice.missing() {
            Some(id) => Err(Exit::run_time(format!("no event with the id {id:?} was found"))),
            None => is_whole,
        }
    }
}

/// Which events are meant: by type, and from one id to another.
struct Choice {
    types: Vec<Pattern>,
    /// The id that it begins with, until that came.
    from: Option<String>,
    to: Option<String>,
    is_over: bool,
}

impl Choice {
    fn new(args: &ReplayArgs) -> Self {
        Choice {
            types: args.types.iter().map(Pattern::new).collect(),
            from: args.from_id.clone(),
            to: args.to_id.clone(),
            is_over: false,
        }
    }

    fn of(&mut self, batch: &Batch) -> Vec<RowId> {
        let fits = |ty: &str| self.types.is_empty() || self.types.iter().any(|t| t.matches(ty));
        let wanted = batch.live_of(fits);
        if self.from.is_none() && self.to.is_none() {
            return wanted;
        }
        let within: std::collections::HashSet<RowId> =
            batch.live().iter().copied().filter(|row| self.is_within(batch.id(*row))).collect();
        wanted.into_iter().filter(|row| within.contains(row)).collect()
    }

    /// Asked of each event in order.
    fn is_within(&mut self, id: &str) -> bool {
        if self.is_over {
            return false;
        }
        if self.from.as_deref() == Some(id) {
            self.from = None;
        }
        let is_within = self.from.is_none();
        self.is_over = is_within && self.to.as_deref() == Some(id);
        is_within
    }

    /// The id that never came.
    fn missing(&self) -> Option<&str> {
        match &self.from {
            Some(from) => Some(from),
            None => self.to.as_deref().filter(|_| !self.is_over),
        }
    }
}
