//! Frames through the plugins of a pipeline and no further: nothing is delivered, kept or told. Key
//! type: [`Rehearsal`].

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::chain::Held;
use super::links::Links;
use super::stages::Run;
use super::{Shared, Wiring};
use crate::alert::{Alert, Board};
use crate::batch::{Batch, Ends, RowId};
use crate::columns::Fields;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::decode::Decoder;
use crate::frame::{Frame, Origin};
use crate::meter::PipelineMeter;
use crate::outcome::Verdicts;
use crate::runner::{Failure, Plugins};

/// The plugins of a pipeline that is not there: filters, transforms and alert plugins, each with a
/// memory that is empty at the beginning. Export plugins are passed by.
pub struct Rehearsal {
    name: String,
    shared: Shared,
    links: Links,
    spare: Batch,
    /// So that nobody takes them for gone.
    _senders: (watch::Sender<Arc<Plugins>>, watch::Sender<Arc<Wiring>>),
}

/// What some frames came to.
#[derive(Debug, Default)]
pub struct Passed {
    /// How they ended: delivered are those that would have been.
    pub ends: Ends,
    /// How many events were left in the end.
    pub events: u64,
    /// Those that would have been dead letters.
    pub letters: Vec<DeadLetter>,
    /// Alerts that would have been told.
    pub alerts: Vec<Alert>,
}

/// Chooses among the events of a batch: those that are to go on.
pub type Choose<'a> = &'a mut dyn FnMut(&Batch) -> Vec<RowId>;

impl Rehearsal {
    /// Of these plugins: those named, or all of them.
    ///
    /// # Errors
    /// Why the pipeline would not run.
    pub fn new(
        name: &str,
        through: Option<Vec<String>>,
        is_built_in: bool,
        plugins: Plugins,
        decoder: Decoder,
        runtime: &Handle,
    ) -> Result<Rehearsal, String> {
        let (publish, plugins) = watch::channel(Arc::new(plugins));
        let (rewire, wiring) = watch::channel(Arc::new(Wiring { through, sinks: Vec::new() }));
        // Never written to: dead letters are handed to whoever asked.
        let nowhere = DeadLetters::open(Path::new("/dev/null")).map_err(|e| e.to_string())?;
        let shared = Shared {
            decoder,
            plugins: plugins.clone(),
            dead_letters: Arc::new(nowhere),
            board: Arc::new(Board::default()),
            announce: Arc::new(|_, _| true),
            on_fatal: Arc::new(|_| {}),
            runtime: runtime.clone(),
            leave: CancellationToken::new(),
            stop: CancellationToken::new(),
        };
        let mut links = Links::new(wiring, is_built_in, plugins, Arc::<PipelineMeter>::default());
        links.refresh();
        if let Err(Held(why)) = &links.chain {
            return Err(why.join("; "));
        }
        let _senders = (publish, rewire);
        Ok(Rehearsal { name: name.to_owned(), shared, links, spare: Batch::default(), _senders })
    }

    /// Whether there is a plugin for which time passes.
    pub fn has_time(&self) -> bool {
        self.links.has_time()
    }

    /// Takes frames through the plugins, as if it were that time; the lines of what is left in the end
    /// are appended. To be called where a runtime is entered.
    pub fn pass(
        &mut self,
        frames: Vec<(Arc<Origin>, Frame)>,
        now: u64,
        choose: Choose<'_>,
        lines: &mut Vec<u8>,
    ) -> Passed {
        let (shared, name) = (self.shared.clone(), self.name.clone());
        let mut run = Run {
            shared: &shared,
            pipeline: &name,
            batch: std::mem::take(&mut self.spare),
            now,
            letters: Vec::new(),
            origins: Vec::new(),
            wrote: Vec::new(),
            is_stored: false,
            settled: Vec::new(),
        };
        for (origin, frame) in frames {
            let number = run.batch.frame_count() as u32;
            run.origins.push((number + 1, Arc::clone(&origin)));
            if let Err(error) = shared.decoder.decode(&origin.stream, frame, &mut run.batch) {
                run.frame_letter(number, error.reason(), error.to_string());
            }
        }
        let mut passed = Passed::default();
        let left_out = leave_out(&mut run.batch, choose);
        for place in self.links.inner_places() {
            let Some((link, state)) = self.links.get(place) else { continue };
            let info = Arc::clone(link.runner.info());
            // It is stopped by nobody.
            let signals = run.stage(link, state).unwrap_or_default();
            passed.alerts.extend(shared.board.take(&name, &info, signals).news);
        }
        let rows = run.batch.live().to_vec();
        let rows = run.prepare(rows, Fields::WHOLE);
        lines.extend_from_slice(&run.batch.lines_of(&rows).bytes);
        passed.events = rows.len() as u64;
        passed.ends = run.batch.finish();
        passed.ends.filtered -= left_out;
        passed.letters = run.letters;
        run.batch.clear();
        self.spare = run.batch;
        passed
    }

    /// Lets time pass for alert plugins. What they could not do comes back in words.
    pub fn tick(&mut self, now: u64) -> (Vec<Alert>, Vec<String>) {
        let (mut alerts, mut failures) = (Vec::new(), Vec::new());
        for place in self.links.inner_places() {
            let Some((info, answer)) = self.links.tick(place, now) else { continue };
            match answer {
                Ok(signals) => {
                    alerts.extend(self.shared.board.take(&self.name, &info, signals).news);
                }
                Err(Failure::Failed(reason, detail)) => {
                    failures.push(format!("{}: tick: {}: {detail}", info.name, reason.name()));
                }
                Err(Failure::Stopped) => {}
            }
        }
        self.links.expire(now);
        (alerts, failures)
    }
}

/// Ends the way of events that are not chosen; says how many.
fn leave_out(batch: &mut Batch, choose: Choose<'_>) -> u64 {
    let chosen = choose(batch);
    let all = batch.live().to_vec();
    if chosen.len() == all.len() {
        return 0;
    }
    let chosen: std::collections::HashSet<RowId> = chosen.into_iter().collect();
    let keep: Vec<u8> = all.iter().map(|row| u8::from(chosen.contains(row))).collect();
    batch.filter(&all, &Verdicts { keep, faults: Vec::new() });
    batch.settle();
    (all.len() - chosen.len()) as u64
}
