//! How a pipeline makes durable how far it came: what its batches came to is gathered, and a thread of
//! its own commits it while the pipeline goes on. Key type: [`Keeping`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::draft::{Draft, Ready, Touched};
use super::halving::Stopped;
use super::into_sink::Tries;
use super::telling::Teller;
use super::{Kept, Shared};
use crate::alert::{Alert, Taken, Told};
use crate::sink::SinkError;
use crate::state::State;
use crate::store::{AppendError, News, Raised, Record, Store};
use crate::timestamp::now_micros;

/// How much of dead letters and alerts may wait for a commit.
const MAX_LETTERS: usize = 8 << 20;
/// So much written to files is committed before its time: a file keeps a copy of what is not durable, and
/// once that is large its pipelines wait.
const EARLY: u64 = 4 << 20;

/// What a pipeline with a journal has besides.
pub(super) struct Keeping {
    pub draft: Draft,
    store: Arc<Store>,
    pipeline: String,
    every: Duration,
    /// Number of the commit before.
    number: u64,
    /// Number of the last alert to be told.
    news: u64,
    /// Where it was at the last two commits that were whole: the journal is kept from the older one on.
    wholes: [u64; 2],
    begun: Option<Instant>,
    /// Whether the store was asked for this commit whether it is to be whole.
    has_asked: bool,
    committer: Committer,
}

/// The thread that commits, from outside.
struct Committer {
    work: Option<SyncSender<Ready>>,
    state: Arc<CommitterState>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct CommitterState {
    is_busy: AtomicBool,
    idle: Notify,
}

impl Keeping {
    /// Goes on where the pipeline was.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        pipeline: &str,
        cursor: u64,
        kept: &Kept,
        shared: &Shared,
    ) -> std::io::Result<Self> {
        let Kept { store, saved, every, is_heir, .. } = kept;
        let untold: Vec<Told> = saved.news.iter().map(told).collect();
        let last = untold.last().map_or(0, |told| told.number);
        let mut keeping = Keeping {
            draft: Draft::new(cursor),
            store: Arc::clone(store),
            pipeline: pipeline.to_owned(),
            every: *every,
            // One of the same name may have gone on after this one was made.
            number: store.number(pipeline),
            news: last_told(last.max(store.told(pipeline)), now_micros()),
            wholes: [0; 2],
            begun: None,
            has_asked: false,
            committer: Committer::start(pipeline, untold, store, shared)?,
        };
        if *is_heir {
            // What the one before remembered is not this one's.
            keeping.draft.whole(std::iter::empty(), Vec::new());
        }
        Ok(keeping)
    }

    /// Where it is kept.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// At the end of a batch: notes what signals came to. Alerts get the numbers that tell them from
    /// others.
    pub fn signals(&mut self, taken: Vec<Taken>) {
        for Taken { news, changes } in taken {
            let mut number = || {
                self.news += 1;
                self.news
            };
            let news = news.into_iter().map(|alert| Told { number: number(), alert }).collect();
            self.draft.news(news);
            self.draft.alerts(changes);
        }
    }

    /// At the end of a batch: takes over what plugins remember.
    pub fn boundary<'a>(
        &mut self,
        states: impl Iterator<Item = (&'a String, &'a mut State)>,
        raised: impl FnOnce() -> Vec<Raised>,
    ) {
        // It is asked once for each commit; where there is nothing new there is none, unless the journal
        // is kept for it from further back than it has to be.
        let asks = (!self.draft.is_empty() || self.holds_back()) && !self.has_asked;
        // A draft that stays empty is not committed, and so is asked for again.
        self.has_asked |= asks && !self.draft.is_empty();
        if asks && self.store.wants_whole(&self.pipeline) {
            self.draft.whole(states, raised());
        } else {
            self.draft.states(states);
        }
    }

    /// Whether it holds back more of the journal than it has to, so that it is to commit though nothing
    /// more comes: where the journal is full nothing will, until it does.
    pub fn holds_back(&self) -> bool {
        self.wholes[1] < self.draft.cursor
    }

    /// When the next commit is due, if there is anything to commit.
    pub fn due(&self) -> Option<Instant> {
        if self.draft.is_empty() {
            return None;
        }
        Some(self.begun.map_or_else(Instant::now, |begun| begun + self.every))
    }

    /// Waits until a commit is due and can begin.
    pub async fn wait_due(&self) {
        let Some(due) = self.due() else { return std::future::pending().await };
        tokio::time::sleep_until(due.into()).await;
        self.committer.idle().await;
    }

    /// Begins a commit if one is due, or much is to be committed, and none is under way; waits for room
    /// where dead letters take too much.
    ///
    /// # Errors
    /// When the host stops meanwhile.
    pub fn step(&mut self, shared: &Shared) -> Result<(), Stopped> {
        if self.draft.letter_bytes() > MAX_LETTERS {
            self.wait_idle(shared)?;
        }
        let is_due = self.due().is_some_and(|due| Instant::now() >= due);
        let is_pressed = self.draft.letter_bytes() > MAX_LETTERS || self.draft.file_bytes() > EARLY;
        if (is_due || is_pressed) && !self.committer.is_busy() {
            self.begin();
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.number += 1;
        (self.begun, self.has_asked) = (Some(Instant::now()), false);
        if self.draft.is_whole() {
            self.wholes = [self.draft.cursor, self.wholes[0]];
        }
        let ready = self.draft.take(&self.pipeline, self.number, now_micros());
        self.committer.begin(ready);
    }

    /// Commits all there is, and returns when that is durable.
    ///
    /// # Errors
    /// When the host stops meanwhile.
    pub fn flush(&mut self, shared: &Shared) -> Result<(), Stopped> {
        self.wait_idle(shared)?;
        if !self.draft.is_empty() {
            self.begin();
            self.wait_idle(shared)?;
        }
        Ok(())
    }

    fn wait_idle(&self, shared: &Shared) -> Result<(), Stopped> {
        let idle = shared.stop.run_until_cancelled(self.committer.idle());
        shared.runtime.block_on(idle).ok_or(Stopped)
    }
}

/// Waits, and commits meanwhile what batches before came to.
pub(super) async fn while_committing<T>(
    keeping: &mut Option<Keeping>,
    wait: impl Future<Output = T>,
) -> T {
    tokio::pin!(wait);
    loop {
        tokio::select! {
            biased;
            done = &mut wait => return done,
            () = due(keeping.as_ref()) => keeping.iter_mut().for_each(Keeping::begin),
        }
    }
}

/// Waits until a commit is due.
pub(super) async fn due(keeping: Option<&Keeping>) {
    match keeping {
        Some(keeping) => keeping.wait_due().await,
        None => std::future::pending().await,
    }
}

/// The number of the last alert before those of this pipeline. One that nothing is known of may have had
/// others, in its name or before the store was lost: no number comes twice.
fn last_told(known: u64, now: u64) -> u64 {
    if known == 0 { now } else { known }
}

fn told(news: &News) -> Told {
    let data = serde_json::from_str(&news.data).unwrap_or_default();
    Told { number: news.number, alert: Alert { subject: news.subject.clone(), data } }
}

impl Committer {
    fn start(
        pipeline: &str,
        untold: Vec<Told>,
        store: &Arc<Store>,
        shared: &Shared,
    ) -> std::io::Result<Self> {
        let (work, todo) = sync_channel(1);
        let state = Arc::new(CommitterState::default());
        let teller = Teller::start(pipeline, store, shared)?;
        if !untold.is_empty() {
            teller.tell(untold);
        }
        let commits = Commits {
            pipeline: pipeline.to_owned(),
            store: Arc::clone(store),
            shared: shared.clone(),
            state: Arc::clone(&state),
            teller,
        };
        let builder = std::thread::Builder::new().name(format!("c:{pipeline}"));
        let thread = builder.spawn(move || commits.run(&todo))?;
        Ok(Committer { work: Some(work), state, thread: Some(thread) })
    }

    fn is_busy(&self) -> bool {
        self.state.is_busy.load(Ordering::Acquire)
    }

    fn begin(&self, ready: Ready) {
        self.state.is_busy.store(true, Ordering::Release);
        // One at a time, so there is room; a thread that died shows at once.
        if self.work.as_ref().is_none_or(|work| work.try_send(ready).is_err()) {
            tracing::error!("the thread that commits is gone");
        }
    }

    async fn idle(&self) {
        loop {
            let told = self.state.idle.notified();
            if !self.is_busy() {
                return;
            }
            told.await;
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that commits had died of a fault of the host's");
        }
    }
}

/// The thread that commits, from inside.
struct Commits {
    pipeline: String,
    store: Arc<Store>,
    shared: Shared,
    state: Arc<CommitterState>,
    teller: Teller,
}

/// Nobody waits for ever for a thread that has died.
impl Drop for Commits {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = format!("pipeline {:?}: the thread that commits has died", self.pipeline);
            (self.shared.on_fatal)(&why);
        }
    }
}

impl Commits {
    fn run(&self, todo: &Receiver<Ready>) {
        while let Ok(ready) = todo.recv() {
            if let Err(error) = self.commit(ready) {
                let pipeline = &self.pipeline;
                tracing::warn!(
                    pipeline,
                    "not committed; it is done again after a restart: {error}"
                );
            }
            self.state.is_busy.store(false, Ordering::Release);
            self.state.idle.notify_waiters();
        }
    }

    fn commit(&self, ready: Ready) -> Result<(), AppendError> {
        let stop: &CancellationToken = &self.shared.stop;
        let give_up = || stop.is_cancelled();
        for file in &ready.files {
            self.make_durable(file)?;
        }
        self.store.write(Record::Commit(ready.commit), &give_up)?;
        for Touched { handle, bytes, .. } in &ready.files {
            handle.committed(*bytes);
        }
        // Only now: they are not raised again after a restart.
        if !ready.news.is_empty() && !self.teller.tell(ready.news) && !give_up() {
            let pipeline = &self.pipeline;
            tracing::warn!(pipeline, "alerts are told after the next start only");
        }
        Ok(())
    }

    /// Tries until what was written to a file is durable, or the host stops.
    fn make_durable(&self, Touched { handle, sink, .. }: &Touched) -> Result<(), AppendError> {
        let mut tries = Tries::new(&self.pipeline, sink);
        while let Err(error) = handle.sync() {
            let path = handle.id.path.display();
            let what = format!("{path}: what was written cannot be made durable");
            let wait = tries.failed(&SinkError::of_disk(&what, &error));
            // A timer is to be made where the runtime is.
            let rest = async { tokio::time::sleep(wait).await };
            let rested = self.shared.stop.run_until_cancelled(rest);
            self.shared.runtime.block_on(rested).ok_or(AppendError::Stopped)?;
        }
        tries.succeeded();
        Ok(())
    }
}
