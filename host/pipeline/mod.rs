//! A pipeline: takes batches, runs plugins, delivers, accounts. One thread each, so that what one
//! plugin does to its pipeline it does to no other. Knows traits for plugins and sinks, no wasm.
//! Key types: [`Pipeline`], [`Input`].

mod backlog;
mod chain;
mod deliver;
mod draft;
mod halving;
mod input;
mod into_sink;
mod keeping;
mod links;
mod memory;
mod pause;
mod predecessor;
mod queue;
mod redrive;
mod redriving;
mod rehearsal;
mod stages;
mod telling;
mod worker;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use chain::{Held, resolve};
pub use input::{Close, Gone, Input, Intake, Outputs, Queue, channel};
pub use links::Wiring;
pub use predecessor::Predecessor;
pub use redrive::{Progress, Redriven, Redriver, Stay};
pub use rehearsal::{Choose, Passed, Rehearsal};

use crate::alert::{Board, Told};
use crate::config::{BUILT_IN_SOURCE, PipelineConfig};
use crate::dead_letter::DeadLetters;
use crate::decode::Decoder;
use crate::histogram::Histogram;
use crate::journal::Journal;
use crate::meter::PipelineMeter;
use crate::runner::Plugins;
use crate::sink::SharedSink;
use crate::store::{Saved, Store};
use crate::tally::Tally;

/// What all pipelines share.
#[derive(Clone)]
pub struct Shared {
    /// Decodes frames.
    pub decoder: Decoder,
    /// The plugins, told anew with every change.
    pub plugins: watch::Receiver<Arc<Plugins>>,
    /// Where dead letters go.
    pub dead_letters: Arc<DeadLetters>,
    /// Which alerts are raised.
    pub board: Arc<Board>,
    /// Tells of a pipeline's alerts. Blocks while there is no room for them; false when the host ends
    /// before they are told.
    pub announce: Announce,
    /// Called when a sink will never work again.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
    /// Where waiting is done.
    pub runtime: Handle,
    /// The host is stopping: a pipeline that is held waits no longer.
    pub leave: CancellationToken,
    /// Ends all waiting at once: what is on its way stays in flight.
    pub stop: CancellationToken,
}

/// Tells of a pipeline's alerts.
pub type Announce = Arc<dyn Fn(&str, &[Told]) -> bool + Send + Sync>;

/// What was kept of a pipeline, and where what becomes of it is kept.
pub struct Kept {
    /// Where.
    pub store: Arc<Store>,
    /// What there was, or what it begins with.
    pub saved: Saved,
    /// Whether it takes nothing of what is in the journal by now.
    pub begins_later: bool,
    /// Whether another of its name drains, and what is kept is that one's until then.
    pub is_heir: bool,
    /// How often it commits.
    pub every: Duration,
}

/// A pipeline that has its way in, and is about to start.
pub struct Pending {
    config: PipelineConfig,
    sinks: Vec<SharedSink>,
    predecessors: Vec<Predecessor>,
    intake: input::Intake,
    queue: Queue,
    tally: Arc<Tally>,
    kept: Option<Kept>,
}

impl Pending {
    /// Gives a pipeline a way out of the journal, from a record on, and what was kept of it.
    pub fn from_journal(
        config: PipelineConfig,
        sinks: Vec<SharedSink>,
        journal: &Arc<Journal>,
        kept: Kept,
    ) -> (Pending, Close) {
        let tally = Arc::new(Tally::default());
        // One that begins with what comes takes nothing until it is told from where on.
        let sources = if kept.begins_later { &[][..] } else { &config.from };
        let mut feed = journal.feed(kept.saved.cursor, sources, &tally);
        let close = Close::Feed {
            end: feed.end(),
            interests: Arc::clone(feed.interests()),
            journal: Arc::clone(journal),
        };
        let queue = Queue::Feed(Arc::clone(&tally), feed.taken());
        let intake = Intake::Feed(Box::new(feed));
        let (predecessors, kept) = (Vec::new(), Some(kept));
        (Pending { config, sinks, predecessors, intake, queue, tally, kept }, close)
    }

    /// Makes the way into a pipeline where there is no journal.
    pub fn new(config: PipelineConfig, sinks: Vec<SharedSink>) -> (Pending, Close) {
        let tally = Arc::new(Tally::default());
        let (front, back) = queue::channel(Arc::clone(&tally));
        let (queue, intake) = (Queue::Room(front.room()), Intake::Queue(back));
        let close = Close::Queue(Input::Queue(front));
        let predecessors = Vec::new();
        (Pending { config, sinks, predecessors, intake, queue, tally, kept: None }, close)
    }

    /// Shows how full the way into it is.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Has it begin only when these have drained.
    #[must_use]
    pub fn after(mut self, predecessors: Vec<Predecessor>) -> Self {
        self.predecessors = predecessors;
        self
    }

    /// Starts the pipeline's thread, which does nothing before [`Pipeline::go`] and ends where the pipeline is
    /// dropped instead. It ends when all inputs are gone and what was in it is delivered.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(self, shared: Shared) -> std::io::Result<Pipeline> {
        let PipelineConfig { name, from, through, .. } = self.config;
        let is_built_in = from.iter().any(|source| source == BUILT_IN_SOURCE);
        let held = Arc::new(Mutex::new(backlog::why(&self.intake)));
        let pauses = Arc::new(Histogram::new(crate::histogram::SHORT));
        let meter = Arc::new(PipelineMeter::default());
        let ended = CancellationToken::new();
        let has_begun = Arc::new(AtomicBool::new(false));
        let (rewire, wiring) = watch::channel(Arc::new(Wiring { through, sinks: self.sinks }));
        let is_over = ended.clone().drop_guard();
        let (redriver, orders) = Redriver::new(&name);
        let is_kept = self.kept.is_some();
        let (go, may_go) = oneshot::channel();
        let worker = worker::Worker {
            pauses: pause::Pauses::new(&name, Arc::clone(&pauses)),
            links: links::Links::new(
                wiring,
                is_built_in,
                shared.plugins.clone(),
                Arc::clone(&meter),
            ),
            intake: self.intake,
            kept: self.kept,
            keeping: None,
            predecessors: self.predecessors,
            may_go: Some(may_go),
            has_begun: Arc::clone(&has_begun),
            redriving: redriving::Redriving::new(orders),
            tally: Arc::clone(&self.tally),
            held: Arc::clone(&held),
            meter: Arc::clone(&meter),
            name: name.clone(),
            shared,
            spare: crate::batch::Batch::default(),
        };
        let thread_name = format!("p:{name}");
        let thread = std::thread::Builder::new().name(thread_name).spawn(move || {
            // However the thread ends, by a panic too.
            let _is_over = is_over;
            worker.run();
        })?;
        let Pending { queue, tally, .. } = self;
        Ok(Pipeline {
            name,
            is_built_in,
            is_kept,
            tally,
            held,
            pauses,
            meter,
            queue,
            ended,
            has_begun,
            redriver,
            rewire,
            go: Some(go),
            thread,
        })
    }
}

/// A pipeline that runs.
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// Whether it takes from the source `trommel`, and so ends after all others.
    pub is_built_in: bool,
    /// Whether it is kept how far it came.
    pub is_kept: bool,
    /// What became of its events.
    pub tally: Arc<Tally>,
    /// Why it is held, if it is.
    pub held: Arc<Mutex<Option<String>>>,
    /// How long it stood still each time a new version of a plugin took effect.
    pub pauses: Arc<Histogram>,
    /// What is measured in it.
    pub meter: Arc<PipelineMeter>,
    /// What waits before it.
    pub queue: Queue,
    /// Cancelled once its thread has ended, however it did.
    pub ended: CancellationToken,
    /// Whether it waits no longer for others to drain.
    has_begun: Arc<AtomicBool>,
    /// The way to have it take dead letters again.
    pub redriver: Redriver,
    rewire: watch::Sender<Arc<Wiring>>,
    /// Until it is told to go.
    go: Option<oneshot::Sender<()>>,
    thread: JoinHandle<()>,
}

impl Pipeline {
    /// Has it begin.
    pub fn go(&mut self) {
        // Should its thread have died, that shows where it is looked after.
        let _ = self.go.take().map(|go| go.send(()));
    }

    /// Gives it other plugins and sinks, from the next batch on; one that waits for a plugin or a sink
    /// looks at once. Its queue, its instances and what plugins remember stay.
    pub fn rewire(&self, wiring: Wiring) {
        self.rewire.send_replace(Arc::new(wiring));
    }

    /// What its events pass through, and where they go.
    pub fn wiring(&self) -> Arc<Wiring> {
        Arc::clone(&self.rewire.borrow())
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end. False when it panicked.
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }
}
