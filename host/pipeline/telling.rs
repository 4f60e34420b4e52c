//! Tells of alerts once they are committed, on a thread of its own: whoever tells may have to wait for
//! room in the journal, and there is room only once more is committed. Key type: [`Teller`].

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::Shared;
use crate::alert::Told;
use crate::store::{Record, Store};

/// Most commits whose alerts wait to be told. So many come only after the journal's floor has moved.
const MAX_WAITING: usize = 1 << 10;

/// The thread, from outside. Dropping it tells what is there still.
pub(super) struct Teller {
    news: Option<SyncSender<Vec<Told>>>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    pub fn start(pipeline: &str, store: &Arc<Store>, shared: &Shared) -> std::io::Result<Self> {
        let (news, todo) = sync_channel(MAX_WAITING);
        let (pipeline, store, shared) = (pipeline.to_owned(), Arc::clone(store), shared.clone());
        let builder = std::thread::Builder::new().name(format!("t:{pipeline}"));
        let thread = builder.spawn(move || run(&pipeline, &store, &shared, &todo))?;
        Ok(Teller { news: Some(news), thread: Some(thread) })
    }

    /// Has these told; false when the thread has died.
    pub fn tell(&self, news: Vec<Told>) -> bool {
        self.news.as_ref().is_some_and(|to| to.send(news).is_ok())
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.news = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that tells of alerts had died of a fault of the host's");
        }
    }
}

fn run(pipeline: &str, store: &Store, shared: &Shared, todo: &Receiver<Vec<Told>>) {
    let give_up = || shared.stop.is_cancelled();
    while let Ok(news) = todo.recv() {
        let Some(upto) = news.last().map(|told| told.number) else { continue };
        if !(shared.announce)(pipeline, &news) {
            tracing::warn!(pipeline, alerts = news.len(), "told after the next start only");
            // What comes after must not be noted either: it would cover these.
            return;
        }
        let told = Record::Told { pipeline: pipeline.to_owned(), upto };
        if let Err(error) = store.write(told, &give_up) {
            tracing::warn!(pipeline, "alerts may be told again after a restart: {error}");
        }
    }
}
