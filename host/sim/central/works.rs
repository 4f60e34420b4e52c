//! The simulator's threads: a clock for each stream, and a ledger where one is asked for. None ends
//! without being heard. Key type: [`Works`].

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle as Thread;

use tokio::sync::mpsc;

use super::SimError;
use super::audience::MAX_BACKLOG;
use super::clock::Clock;
use super::hub::Hub;
use super::ledger::{self, LedgerFile};
use super::options::Options;
use super::sent::SentLog;
use super::tokens::Tokens;

/// The threads: a clock for each stream, and a ledger where one is asked for.
pub(super) struct Works {
    /// Where connections meet the clocks, one for each stream.
    pub hubs: Vec<Arc<Hub>>,
    /// Where connections write down what they sent.
    pub log: Option<Arc<SentLog>>,
    threads: Vec<Thread<()>>,
}

/// Tells how a thread ended, even if it panicked.
struct Alarm {
    name: &'static str,
    result: Option<Result<(), SimError>>,
    tell: mpsc::Sender<Result<(), SimError>>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or(Err(SimError::Stopped(self.name)));
        // There is room for one word from each thread; nobody listens only once all is over.
        let _ = self.tell.try_send(result);
    }
}

/// How threads ended, one word from each.
pub(super) type Ended = mpsc::Receiver<Result<(), SimError>>;

impl Works {
    /// Starts them all.
    pub fn start(options: &Options, tokens: &Arc<Tokens>) -> Result<(Self, Ended), SimError> {
        let (tell, ended) = mpsc::channel(2 * options.streams.len() + 1);
        let log = options.sent.as_deref().map(|path| SentLog::create(path, tell.clone()));
        let log = log.transpose()?.map(Arc::new);
        let mut works = Works { hubs: Vec::new(), log, threads: Vec::new() };
        let file = options.ledger.as_deref().map(LedgerFile::create).transpose()?.map(Arc::new);
        // Twice what waits for a connection: else a slow ledger would slow down everyone.
        // Besides there is room for what faults keep unsettled.
        let kept = options.faults.duplicates.map_or(0, |events| events.get() as usize)
            + options.faults.redeliver.map_or(0, |_| MAX_BACKLOG);
        let depth = 2 * options.rate.queue() + kept;
        for (index, stream) in options.streams.iter().copied().enumerate() {
            let hub = Arc::new(Hub::default());
            works.hubs.push(Arc::clone(&hub));
            let ledger = file.clone().map(|file| {
                let (sender, receiver) = sync_channel(depth);
                let run = move || ledger::run(stream, &receiver, &file);
                works.spawn("ledger", tell.clone(), run).map(|()| sender)
            });
            let clock = Clock::new(index, options, hub, Arc::clone(tokens), ledger.transpose()?)?;
            let run = move || {
                clock.run();
                Ok(())
            };
            works.spawn("clock", tell.clone(), run)?;
        }
        Ok((works, ended))
    }

    /// Waits for all of them, once the clocks have been stopped.
    pub fn join(mut self) -> Result<(), SimError> {
        let panicked = std::mem::take(&mut self.threads).into_iter().any(|t| t.join().is_err());
        if panicked { Err(SimError::Stopped("clock")) } else { Ok(()) }
    }

    fn spawn(
        &mut self,
        name: &'static str,
        tell: mpsc::Sender<Result<(), SimError>>,
        run: impl FnOnce() -> Result<(), SimError> + Send + 'static,
    ) -> Result<(), SimError> {
        let mut alarm = Alarm { name, result: None, tell };
        let run = move || {
            alarm.result = Some(run());
            drop(alarm);
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        self.threads.push(thread.map_err(SimError::Thread)?);
        Ok(())
    }
}

impl Drop for Works {
    /// Also when the start fails half way, or the task is thrown away: no thread is left behind.
    fn drop(&mut self) {
        self.hubs.iter().for_each(|hub| hub.stop());
    }
}
