//! The last step: a batch into a sink, tried again for as long as it takes. While one waits, its
//! pipeline waits. Key function: `Run::sink`.

use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;

use super::halving::Stopped;
use super::links::Links;
use super::stages::Run;
use crate::backoff::Backoff;
use crate::batch::RowId;
use crate::columns::Fields;
use crate::runner::Reason;
use crate::sink::{Job, Progress, Refused, SharedSink, Sink, SinkError};

/// Waits between tries.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// The same where somebody must mend something first.
const LEAST_SLOW_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(30);
/// How often the log says that a sink still fails.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// The tries of one batch at one sink that fails.
struct Tries<'a> {
    pipeline: &'a str,
    sink: &'a SharedSink,
    backoff: Backoff,
    slow: Backoff,
    told: Option<Instant>,
}

impl Run<'_> {
    /// Writes what is left to a sink, as far as the sink wants it, until each event is in it or
    /// refused.
    pub fn sink(&mut self, links: &mut Links, sink: &SharedSink) -> Result<(), Stopped> {
        let rows = if sink.wants_all() {
            self.batch.live().to_vec()
        } else {
            self.batch.live_of(|ty| sink.wants(ty))
        };
        let rows = if sink.wants_lines { self.prepare(rows, Fields::WHOLE) } else { rows };
        if rows.is_empty() {
            return Ok(());
        }
        let mut held = self.hold(sink)?;
        let mut progress = Progress::default();
        let mut tries = Tries::new(self.pipeline, sink);
        loop {
            let lines = self.batch.lines_of(if sink.wants_lines { &rows } else { &[] });
            let job = Job { pipeline: self.pipeline, lines: &lines, stop: &self.shared.stop };
            let before = progress.reached();
            let timer = sink.meter.start();
            let written = held.write(&job, &mut progress);
            drop(timer);
            if progress.reached() > before {
                tries.came_further();
            }
            drop(lines);
            self.refused_by(sink, &rows, std::mem::take(&mut progress.refused));
            let wait = match written {
                Ok(()) => {
                    tries.succeeded();
                    return Ok(());
                }
                Err(SinkError::Stopped) => return Err(Stopped),
                Err(SinkError::Fatal(error)) => {
                    (self.shared.on_fatal)(&format!("sink.{}: {error}", sink.name));
                    return Err(Stopped);
                }
                Err(error) => tries.failed(&error),
            };
            // The wait may be long, or the last.
            self.write_letters(links)?;
            self.rest(wait)?;
        }
    }

    /// Takes a sink for as long as the batch needs it; another pipeline may have it.
    fn hold<'a>(&self, sink: &'a SharedSink) -> Result<MutexGuard<'a, dyn Sink>, Stopped> {
        if let Ok(held) = sink.sink.try_lock() {
            return Ok(held);
        }
        self.shared.runtime.block_on(async {
            tokio::select! {
                () = self.shared.stop.cancelled() => Err(Stopped),
                held = sink.sink.lock() => Ok(held),
            }
        })
    }

    /// Notes what a sink will never take; others still get it.
    fn refused_by(&mut self, sink: &SharedSink, rows: &[RowId], refused: Vec<Refused>) {
        let Some(first) = refused.first() else { return };
        tracing::warn!(
            pipeline = self.pipeline,
            sink = &*sink.name,
            events = refused.len(),
            detail = first.detail,
            "events refused"
        );
        for Refused { line, detail } in refused {
            let row = rows[line];
            let detail = format!("sink.{}: {detail}", sink.name);
            if self.batch.refuse(row) {
                self.letter(row, None, Reason::Refused, detail);
            } else {
                let id = self.batch.id(row);
                tracing::warn!(pipeline = self.pipeline, id, detail, "refused here too");
            }
        }
    }

    /// Waits, for as long as the host does not stop.
    fn rest(&self, wait: Duration) -> Result<(), Stopped> {
        self.shared.runtime.block_on(async {
            tokio::select! {
                () = self.shared.stop.cancelled() => Err(Stopped),
                () = tokio::time::sleep(wait) => Ok(()),
            }
        })
    }
}

impl<'a> Tries<'a> {
    fn new(pipeline: &'a str, sink: &'a SharedSink) -> Self {
        let backoff = Backoff::new(LEAST_WAIT, MOST_WAIT);
        let slow = Backoff::new(LEAST_SLOW_WAIT, MOST_WAIT);
        Tries { pipeline, sink, backoff, slow, told: None }
    }

    /// Tells of a failure, unless it was told just now, and how long to wait.
    fn failed(&mut self, error: &SinkError) -> Duration {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
            self.told = Some(Instant::now());
            let (pipeline, sink) = (self.pipeline, &*self.sink.name);
            tracing::error!(pipeline, sink, %error, "sink fails; its pipeline waits");
        }
        self.sink.meter.retry();
        self.sink.set_trouble(Some(error.to_string()));
        match error {
            SinkError::Retry { after: Some(wait), .. } => *wait,
            SinkError::Misconfigured { .. } => self.slow.next_wait(),
            _ => self.backoff.next_wait(),
        }
    }

    /// It works, if not for long: waits begin anew.
    fn came_further(&mut self) {
        self.backoff.reset();
        self.slow.reset();
    }

    fn succeeded(&self) {
        if self.told.is_some() {
            let (pipeline, sink) = (self.pipeline, &*self.sink.name);
            tracing::info!(pipeline, sink, "sink works again");
            self.sink.set_trouble(None);
        }
    }
}
