//! How a pipeline makes durable how far it came: what its batches came to is gathered, and a thread of
//! its own commits it while the pipeline goes on. Key type: [`Keeping`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::draft::{Draft, Ready};
use super::halving::Stopped;
use crate::alert::Told;
use crate::state::State;
use crate::store::{AppendError, Record, Saved, Store};
use crate::text::now_micros;

/// How much of dead letters may wait for a commit.
const MAX_LETTERS: usize = 8 << 20;

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
    begun: Option<Instant>,
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
        saved: &Saved,
        store: &Arc<Store>,
        every: Duration,
        shared: &Shared,
    ) -> std::io::Result<Self> {
        let news = saved.news.last().map_or(0, |news| news.number);
        Ok(Keeping {
            draft: Draft::new(cursor),
            store: Arc::clone(store),
            pipeline: pipeline.to_owned(),
            every,
            // One of the same name may have gone on after this one was made.
            number: store.number(pipeline),
            news: news.max(store.told(pipeline)),
            begun: None,
            committer: Committer::start(pipeline, store, shared)?,
        })
    }

    /// Where it is kept.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Alerts with the numbers that tell them from others.
    pub fn number_news(&mut self, alerts: Vec<crate::alert::Alert>) -> Vec<Told> {
        let mut number = || {
            self.news += 1;
            self.news
        };
        alerts.into_iter().map(|alert| Told { number: number(), alert }).collect()
    }

    /// At the end of a batch: takes over what plugins remember.
    pub fn boundary<'a>(
        &mut self,
        states: impl Iterator<Item = (&'a String, &'a mut State)>,
        raised: impl FnOnce() -> Vec<crate::store::Raised>,
    ) {
        // It is asked once for each commit.
        if self.draft.is_empty() && self.store.wants_whole(&self.pipeline, now_micros()) {
            self.draft.whole(states, raised());
        } else {
            self.draft.states(states);
        }
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

    /// Begins a commit if one is due and none is under way; waits for room where dead letters take
    /// too much.
    ///
    /// # Errors
    /// When the host stops meanwhile.
    pub fn step(&mut self, shared: &Shared) -> Result<(), Stopped> {
        if self.draft.letter_bytes() > MAX_LETTERS {
            self.wait_idle(shared)?;
        }
        let is_due = self.due().is_some_and(|due| Instant::now() >= due);
        let is_pressed = self.draft.letter_bytes() > MAX_LETTERS;
        if (is_due || is_pressed) && !self.committer.is_busy() {
            self.begin();
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.number += 1;
        self.begun = Some(Instant::now());
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

impl Committer {
    fn start(pipeline: &str, store: &Arc<Store>, shared: &Shared) -> std::io::Result<Self> {
        let (work, todo) = sync_channel(1);
        let state = Arc::new(CommitterState::default());
        let commits = Commits {
            pipeline: pipeline.to_owned(),
            store: Arc::clone(store),
            shared: shared.clone(),
            state: Arc::clone(&state),
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
        for (handle, _) in &ready.files {
            // What was not durable then may be gone from memory too: only a restart, which goes back to
            // the last commit, can mend that.
            if let Err(error) = handle.sync() {
                let path = handle.id.path.display();
                (self.shared.on_fatal)(&format!(
                    "{path}: what was written cannot be made durable: {error}"
                ));
                return Err(AppendError::Stopped);
            }
        }
        self.store.write(Record::Commit(ready.commit), &give_up)?;
        for (handle, bytes) in &ready.files {
            handle.committed(*bytes);
        }
        if let Some(last) = ready.news.last().map(|told| told.number) {
            (self.shared.announce)(&self.pipeline, ready.news);
            let pipeline = self.pipeline.clone();
            self.store.write(Record::Told { pipeline, upto: last }, &give_up)?;
        }
        Ok(())
    }
}
