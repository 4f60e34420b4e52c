//! The thread of a pipeline: waits for events, time or changes, and does one thing at a time. Key
//! type: [`Worker`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Shared;
use super::halving::Stopped;
use super::input::Intake;
use super::links::Links;
use super::pause::Pauses;
use super::predecessor::{self, Predecessor};
use super::stages::Run;
use crate::batch::Batch;
use crate::meter::PipelineMeter;
use crate::runner::{Failure, Role};
use crate::tally::Tally;
use crate::text::now_micros;

/// Largest batch. With its frames, table, payloads and lines it stays within a core's second cache, and what a
/// call costs is spread over enough events.
const MAX_EVENTS: usize = 512;
const MAX_BYTES: usize = 4 << 20;
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
    /// What must have drained before this one begins.
    pub predecessors: Vec<Predecessor>,
    /// Set once they have.
    pub has_begun: Arc<AtomicBool>,
    pub shared: Shared,
    /// An empty batch, for its memory and the names it knows.
    pub spare: Batch,
}

/// What is to be done next.
enum Step {
    Batch,
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
        let may_begin =
            runtime.block_on(predecessor::drained(&self.predecessors, &self.held, &self.shared));
        self.predecessors.clear();
        self.has_begun.store(true, Ordering::Release);
        if may_begin {
            self.work(&runtime, &mut clock);
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
                Step::Batch => {
                    if self.batch().is_err() {
                        break;
                    }
                    self.links.drop_replaced();
                    self.pauses.batch_ended(self.intake.has_more());
                }
                Step::End => break,
            }
        }
    }

    async fn next_step(&mut self, clock: &mut Interval) -> Step {
        let is_held = self.links.chain.is_err();
        let has_alerts = self.links.has_alerts();
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => Step::End,
            () = self.links.changed() => Step::Changed,
            _ = clock.tick(), if has_alerts => Step::Tick,
            () = self.shared.leave.cancelled(), if is_held => Step::End,
            is_there = self.intake.wait(), if !is_held => {
                if is_there { Step::Batch } else { Step::End }
            }
        }
    }

    /// Takes over changes of plugins, and tells when the pipeline is held or goes on.
    fn refresh(&mut self) {
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
        for place in self.links.inner_places() {
            let Some((link, state)) = self.links.get(place) else { continue };
            if link.role() != Role::Alert {
                continue;
            }
            let info = Arc::clone(link.runner.info());
            match link.tick(now, state) {
                Ok(signals) => self.announce(&info, signals),
                Err(Failure::Failed(reason, detail)) => {
                    let (plugin, reason) = (&info.name, reason.name());
                    tracing::error!(pipeline = self.name, plugin, reason, detail, "tick failed");
                }
                Err(Failure::Stopped) => return,
            }
        }
    }

    fn announce(&self, plugin: &crate::runner::Info, signals: Vec<crate::outcome::Signal>) {
        let news = self.shared.board.take(&self.name, plugin, signals);
        if !news.is_empty() {
            (self.shared.announce)(news);
        }
    }

    /// One batch from frames to the tally.
    fn batch(&mut self) -> Result<(), Stopped> {
        self.refresh();
        if self.links.chain.is_err() {
            return Ok(());
        }
        self.pauses.over();
        let chunks = self.intake.take(MAX_EVENTS, MAX_BYTES);
        let read: Vec<_> =
            chunks.iter().map(|chunk| (chunk.received, chunk.frames.len() as u64)).collect();
        let (shared, name) = (self.shared.clone(), self.name.clone());
        let mut run = Run {
            shared: &shared,
            pipeline: &name,
            batch: std::mem::take(&mut self.spare),
            now: now_micros(),
            letters: Vec::new(),
        };
        for chunk in chunks {
            for frame in chunk.frames {
                let number = run.batch.frame_count() as u32;
                if let Err(error) =
                    shared.decoder.decode(&chunk.origin.stream, frame, &mut run.batch)
                {
                    run.frame_letter(number, error.reason(), error.to_string());
                }
            }
        }
        for place in self.links.inner_places() {
            let Some((link, state)) = self.links.get(place) else { continue };
            let info = Arc::clone(link.runner.info());
            let signals = run.stage(link, state)?;
            self.announce(&info, signals);
        }
        run.write_letters(&mut self.links)?;
        for name in self.export_names() {
            run.export(&mut self.links, &name)?;
        }
        for sink in self.links.sinks() {
            run.sink(&mut self.links, sink)?;
        }
        run.write_letters(&mut self.links)?;
        self.tally.end(run.batch.finish());
        run.batch.clear();
        self.spare = run.batch;
        self.meter.batch(&read);
        Ok(())
    }

    /// Export plugins by name: places may change while one waits.
    fn export_names(&self) -> Vec<String> {
        let chain = self.links.chain.as_deref().unwrap_or_default();
        let exports = chain.iter().filter(|link| link.role() == Role::Export);
        exports.map(|link| link.name().to_owned()).collect()
    }
}
