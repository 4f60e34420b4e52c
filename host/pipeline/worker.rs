//! The thread of a pipeline: waits for events, time or changes, and does one thing at a time. Key
//! type: [`Worker`].

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Shared;
use super::backlog;
use super::halving::Stopped;
use super::input::Intake;
use super::keeping::{Keeping, due};
use super::links::Links;
use super::pause::Pauses;
use super::predecessor::{self, Predecessor};
use super::redriving::{Redriving, Route};
use super::stages::Run;
use crate::alert::{Taken, Told};
use crate::batch::Batch;
use crate::journal::Taken as Input;
use crate::meter::PipelineMeter;
use crate::outcome::Signal;
use crate::runner::{Failure, Info, Role};
use crate::store::Saved;
use crate::tally::Tally;
use crate::timestamp::now_micros;

/// Largest batch. With its frames, table, payloads and lines it stays within a core's second cache, and what a
/// call costs is spread over enough events.
pub(super) const MAX_EVENTS: usize = 512;
pub(super) const MAX_BYTES: usize = 4 << 20;
/// How often time passes for alert plugins.
const TICK: Duration = Duration::from_secs(1);

/// A pipeline's thread.
pub(super) struct Worker {
    pub name: String,
    pub intake: Intake,
    pub links: Links,
    pub pauses: Pauses,
    pub tally: Arc<Tally>,
    pub held: Arc<Mutex<Option<String>>>,
    pub meter: Arc<PipelineMeter>,
    /// What was kept of it, and where what becomes of it is kept.
    pub kept: Option<super::Kept>,
    /// How far it came, where that is kept.
    pub keeping: Option<Keeping>,
    /// What must have drained before this one begins.
    pub predecessors: Vec<Predecessor>,
    /// Told when it is to begin; nobody is left to tell it where what it is a part of did not come to be.
    pub may_go: Option<oneshot::Receiver<()>>,
    /// Set once they have.
    pub has_begun: Arc<AtomicBool>,
    /// Dead letters that it is to take again.
    pub redriving: Redriving,
    pub shared: Shared,
    /// An empty batch, for its memory and the names it knows.
    pub spare: Batch,
}

/// What is to be done next.
enum Step {
    Batch,
    Redrive,
    Commit,
    Tick,
    Changed,
    End,
}

impl Worker {
    /// Runs until all inputs are gone and what was in them is settled, or until told to stop.
    pub fn run(mut self) {
        let runtime = self.shared.runtime.clone();
        // Guests that wait find the runtime here.
        let _entered = runtime.enter();
        let mut clock = interval_at(Instant::now() + TICK, TICK);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if self.may_go.take().is_some_and(|may_go| runtime.block_on(may_go).is_err()) {
            return;
        }
        backlog::count(&self.name, &mut self.intake, &self.shared);
        let may_begin =
            runtime.block_on(predecessor::drained(&self.predecessors, &self.held, &self.shared));
        self.predecessors.clear();
        self.has_begun.store(true, Ordering::Release);
        if may_begin && self.restore() {
            self.work(&runtime, &mut clock);
        }
        if let Some(keeping) = &mut self.keeping
            && keeping.flush(&self.shared).is_err()
        {
            tracing::warn!(pipeline = self.name, "not all is committed: some comes again");
        }
        let counts = self.tally.counts();
        tracing::info!(pipeline = self.name, "{counts}");
    }

    fn work(&mut self, runtime: &Handle, clock: &mut Interval) {
        self.refresh();
        loop {
            match runtime.block_on(self.next_step(clock)) {
                Step::Changed => self.refresh(),
                Step::Tick => self.tick(),
                Step::Commit => {
                    if self.commit().is_err() {
                        break;
                    }
                }
                Step::Batch => {
                    if self.batch_and_commit().is_err() {
                        break;
                    }
                }
                Step::Redrive => {
                    if self.redrive().is_err() {
                        break;
                    }
                    // What comes in does not wait until all of them are done.
                    if self.intake.has_more() && self.batch_and_commit().is_err() {
                        break;
                    }
                }
                Step::End => break,
            }
        }
    }

    fn batch_and_commit(&mut self) -> Result<(), Stopped> {
        self.batch()?;
        self.links.drop_replaced();
        self.commit()?;
        self.pauses.batch_ended(self.intake.has_more());
        Ok(())
    }

    async fn next_step(&mut self, clock: &mut Interval) -> Step {
        let is_held = self.links.chain.is_err();
        let is_leaving = self.shared.leave.is_cancelled();
        let has_time = self.links.has_time();
        let holds_back = self.keeping.as_ref().is_some_and(Keeping::holds_back);
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => Step::End,
            () = self.links.changed() => Step::Changed,
            _ = clock.tick(), if has_time || (holds_back && !is_held) => Step::Tick,
            () = due(self.keeping.as_ref()) => Step::Commit,
            () = self.shared.leave.cancelled(), if is_held => Step::End,
            // Those that are left stay what they are.
            () = self.redriving.wait(), if !is_leaving => Step::Redrive,
            is_there = self.intake.wait(), if !is_held => {
                if is_there { Step::Batch } else { Step::End }
            }
        }
    }

    /// Takes over changes of plugins, and tells when the pipeline is held or goes on.
    pub(super) fn refresh(&mut self) {
        let begun = std::time::Instant::now();
        self.links.refresh();
        self.pauses.changed(begun, &mut self.links.news);
        if !self.intake.has_more() {
            self.pauses.over();
            self.links.drop_replaced();
        }
        let why = self.links.chain.as_ref().err().map(ToString::to_string);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if *held == why {
            return;
        }
        match &why {
            Some(why) => tracing::warn!(pipeline = self.name, "held: {why}"),
            None => tracing::info!(pipeline = self.name, "goes on"),
        }
        *held = why;
    }

    fn tick(&mut self) {
        let now = now_micros();
        let mut taken = Vec::new();
        for place in self.links.inner_places() {
            let Some((info, answer)) = self.links.tick(place, now) else { continue };
            match answer {
                Ok(signals) => taken.extend(self.heed(&info, signals)),
                Err(Failure::Failed(reason, detail)) => {
                    let (plugin, reason) = (&info.name, reason.name());
                    tracing::error!(pipeline = self.name, plugin, reason, detail, "tick failed");
                }
                Err(Failure::Stopped) => return,
            }
        }
        self.signals(taken);
        self.links.expire(now);
        self.boundary();
    }

    /// What signals come to: told at once, or, where it is kept how far the pipeline came, with the commit
    /// of this batch.
    fn heed(&mut self, plugin: &Info, signals: Vec<Signal>) -> Option<Taken> {
        if signals.is_empty() {
            return None;
        }
        let taken = self.shared.board.take(&self.name, plugin, signals);
        if self.keeping.is_some() {
            return Some(taken);
        }
        if !taken.news.is_empty() {
            let told = taken.news.into_iter().map(|alert| Told { number: 0, alert });
            (self.shared.announce)(&self.name, &told.collect::<Vec<_>>());
        }
        None
    }

    fn signals(&mut self, taken: Vec<Taken>) {
        if let Some(keeping) = &mut self.keeping {
            keeping.signals(taken);
        }
    }

    /// Goes on where it was: false when that is not possible.
    fn restore(&mut self) -> bool {
        let Some(kept) = self.kept.take() else { return true };
        let cursor = match &self.intake {
            Intake::Feed(feed) => feed.cursor(),
            Intake::Queue(_) => 0,
        };
        match Keeping::start(&self.name, cursor, &kept, &self.shared) {
            Ok(keeping) => self.keeping = Some(keeping),
            Err(error) => {
                let why = format!("pipeline {:?}: cannot start a thread: {error}", self.name);
                (self.shared.on_fatal)(&why);
                return false;
            }
        }
        let Saved { states, alerts, .. } = kept.saved;
        self.shared.board.restore(&self.name, alerts);
        self.links.restore(states);
        true
    }

    /// The end of a batch, or of something like it: what plugins remember is that of the cursor.
    fn boundary(&mut self) {
        let Worker { keeping, links, shared, name, .. } = self;
        if let Some(keeping) = keeping {
            keeping.boundary(links.states(), || shared.board.raised(name));
        }
    }

    fn commit(&mut self) -> Result<(), Stopped> {
        match &mut self.keeping {
            Some(keeping) => keeping.step(&self.shared),
            None => Ok(()),
        }
    }

    /// One batch from frames to the tally.
    fn batch(&mut self) -> Result<(), Stopped> {
        self.refresh();
        if self.links.chain.is_err() {
            return Ok(());
        }
        self.pauses.over();
        let Input { chunks, cursor, lost } = self.intake.take(MAX_EVENTS, MAX_BYTES);
        let read: Vec<_> =
            chunks.iter().map(|chunk| (chunk.received, chunk.frames.len() as u64)).collect();
        let (shared, name) = (self.shared.clone(), self.name.clone());
        let mut run = self.begin(&shared, &name);
        let lost = self.lost(&mut run, &lost);
        for chunk in chunks {
            let end = run.batch.frame_count() + chunk.frames.len();
            run.origins.push((end as u32, Arc::clone(&chunk.origin)));
            for frame in chunk.frames {
                let number = run.batch.frame_count() as u32;
                if let Err(error) =
                    shared.decoder.decode(&chunk.origin.stream, frame, &mut run.batch)
                {
                    run.frame_letter(number, error.reason(), error.to_string());
                }
            }
        }
        let taken = self.pass(&mut run, &Route::Whole)?;
        let mut ends = run.batch.finish();
        ends.dead_lettered += lost;
        self.tally.end(ends);
        if let Some(keeping) = &mut self.keeping {
            keeping.draft.came_to(cursor);
        }
        self.end(run, taken);
        self.meter.batch(&read);
        Ok(())
    }

    pub(super) fn begin<'a>(&mut self, shared: &'a Shared, pipeline: &'a str) -> Run<'a> {
        Run {
            shared,
            pipeline,
            batch: std::mem::take(&mut self.spare),
            now: now_micros(),
            letters: Vec::new(),
            origins: Vec::new(),
            wrote: Vec::new(),
            is_stored: self.keeping.is_some(),
            settled: Vec::new(),
        }
    }

    /// A batch through plugins and into sinks, or through a part of them. What signals came to is
    /// committed with the batch, and not with what comes before.
    pub(super) fn pass(&mut self, run: &mut Run<'_>, route: &Route) -> Result<Vec<Taken>, Stopped> {
        let mut taken = Vec::new();
        for place in self.links.inner_places() {
            let Some((link, state)) = self.links.get(place) else { continue };
            let info = Arc::clone(link.runner.info());
            if route.has_plugin(place, &info.name) {
                let signals = run.stage(link, state)?;
                taken.extend(self.heed(&info, signals));
            }
        }
        run.write_letters(&mut self.links, &mut self.keeping)?;
        for name in self.export_names(route) {
            run.export(&mut self.links, &name, &mut self.keeping)?;
        }
        for sink in self.links.sinks() {
            if route.has_sink(&sink.name) {
                run.sink(&mut self.links, sink, &mut self.keeping)?;
            }
        }
        run.write_letters(&mut self.links, &mut self.keeping)?;
        Ok(taken)
    }

    /// The end of a batch that has passed: what it came to is to be committed.
    pub(super) fn end(&mut self, mut run: Run<'_>, taken: Vec<Taken>) {
        if let Some(keeping) = &mut self.keeping {
            keeping.draft.letters(std::mem::take(&mut run.settled));
            keeping.draft.wrote(std::mem::take(&mut run.wrote));
        }
        self.signals(taken);
        self.boundary();
        run.batch.clear();
        self.spare = run.batch;
    }

    /// What was received and cannot be read any more: dead letters without a frame.
    fn lost(&self, run: &mut Run<'_>, lost: &[Range<u64>]) -> u64 {
        for range in lost {
            let (from, to) = (range.start, range.end - 1);
            tracing::error!(pipeline = self.name, from, to, "records of the journal are lost");
            let records = match from == to {
                true => format!("record {from}"),
                false => format!("records {from} to {to}"),
            };
            let detail = format!("{records} of the journal cannot be read any more");
            run.lost_letter(detail);
        }
        lost.iter().map(|range| range.end - range.start).sum()
    }

    /// Export plugins by name: places may change while one waits.
    fn export_names(&self, route: &Route) -> Vec<String> {
        let chain = self.links.chain.as_deref().unwrap_or_default();
        let exports = chain.iter().enumerate().filter(|(_, link)| link.role() == Role::Export);
        let wanted = exports.filter(|(place, link)| route.has_plugin(*place, link.name()));
        wanted.map(|(_, link)| link.name().to_owned()).collect()
    }
}
