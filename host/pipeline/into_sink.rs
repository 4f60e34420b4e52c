//! The last step: a batch into a sink, tried again for as long as it takes. While one waits, its
//! pipeline waits. Key function: `Run::sink`.

use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;

use super::halving::Stopped;
use super::keeping::{Keeping, while_committing};
use super::links::Links;
use super::stages::Run;
use crate::backoff::Backoff;
use crate::batch::RowId;
use crate::columns::Fields;
use crate::runner::Reason;
use crate::sink::{Job, Outdated, Place, Progress, Refused, SharedSink, SinkError, Trouble};

/// Waits between tries.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// The same where somebody must mend something first.
const LEAST_SLOW_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(30);
/// How often, and after how long, it is looked whether others have committed what they wrote.
const MOST_COMMITS: u32 = 25;
const COMMIT_AGAIN: Duration = Duration::from_millis(20);
/// How often the log says that a sink still fails.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// The tries of one batch, or of one commit, at one sink that fails.
pub(super) struct Tries<'a> {
    pipeline: &'a str,
    sink: &'a SharedSink,
    backoff: Backoff,
    slow: Backoff,
    told: Option<Instant>,
}

impl Run<'_> {
    /// Writes what is left to a sink, as far as the sink wants it, until each event is in it or
    /// refused. Where the configuration changes meanwhile, it goes on in the one that takes its place.
    pub fn sink(
        &mut self,
        links: &mut Links,
        mut sink: SharedSink,
        keeping: &mut Option<Keeping>,
    ) -> Result<(), Stopped> {
        let mut progress = Progress::default();
        while !self.fill(links, &sink, &mut progress, keeping)? {
            let next = links.successor(&sink);
            let is_left = |next: &SharedSink| next.is(&sink) && sink.retired.is_cancelled();
            let Some(next) = next.filter(|next| !is_left(next)) else {
                let (pipeline, sink) = (self.pipeline, &*sink.name);
                tracing::warn!(pipeline, sink, "a batch that waited for it goes on without it");
                return Ok(());
            };
            if next.is(&sink) {
                // Others were told before of what has taken its place.
                self.await_successor(links, &sink)?;
                continue;
            }
            if !sink.can_go_on_in(&next) {
                progress = Progress::default();
            }
            sink = next;
        }
        Ok(())
    }

    /// Tries until the batch is in the sink; false when the pipeline is not to write to it any more.
    fn fill(
        &mut self,
        links: &mut Links,
        sink: &SharedSink,
        progress: &mut Progress,
        keeping: &mut Option<Keeping>,
    ) -> Result<bool, Stopped> {
        let rows = if sink.wants_all() {
            self.batch.live().to_vec()
        } else {
            self.batch.live_of(|ty| sink.wants(ty))
        };
        let rows = if sink.wants_lines { self.prepare(rows, Fields::WHOLE) } else { rows };
        if rows.is_empty() {
            return Ok(true);
        }
        let Some(mut place) = self.hold(links, sink, keeping)? else { return Ok(false) };
        let mut tries = Tries::new(self.pipeline, sink);
        let mut commits = 0;
        loop {
            let before = progress.reached();
            let Ok(written) = self.write(sink, &mut place, &rows, progress) else {
                return Ok(false);
            };
            if progress.reached() > before {
                tries.came_further();
            }
            self.refused_by(sink, &rows, std::mem::take(&mut progress.refused));
            self.wrote.extend(progress.wrote.drain(..).map(|wrote| (sink.clone(), wrote)));
            let wait = match written {
                Ok(()) => {
                    tries.succeeded();
                    return Ok(true);
                }
                Err(SinkError::Stopped) => return Err(Stopped),
                Err(SinkError::Commit) => {
                    self.commit_first(commits, keeping)?;
                    commits += 1;
                    progress.is_committed = commits > MOST_COMMITS;
                    continue;
                }
                Err(SinkError::Fatal(error)) => {
                    (self.shared.on_fatal)(&format!("sink.{}: {error}", sink.name));
                    return Err(Stopped);
                }
                Err(error) => tries.failed(&error),
            };
            // The wait may be long, or the last.
            self.write_letters(links, keeping)?;
            if !self.rest(links, sink, wait, keeping)? {
                return Ok(false);
            }
        }
    }

    /// Commits what is written already: what batches before this one came to. Lines of other pipelines are
    /// committed by these, which takes a moment.
    fn commit_first(&self, before: u32, keeping: &mut Option<Keeping>) -> Result<(), Stopped> {
        match keeping {
            Some(keeping) if before == 0 => keeping.flush(self.shared),
            _ => {
                let wait = self.shared.stop.run_until_cancelled(tokio::time::sleep(COMMIT_AGAIN));
                self.shared.runtime.block_on(wait).ok_or(Stopped)
            }
        }
    }

    fn write(
        &self,
        sink: &SharedSink,
        place: &mut Place,
        rows: &[RowId],
        progress: &mut Progress,
    ) -> Result<Result<(), SinkError>, Outdated> {
        let open = match sink.within(place)? {
            Ok(open) => open,
            Err(error) => return Ok(Err(error)),
        };
        let lines = self.batch.lines_of(if sink.wants_lines { rows } else { &[] });
        let job = Job { pipeline: self.pipeline, lines: &lines, stop: &self.shared.stop };
        let _timer = sink.meter.start();
        Ok(open.write(&job, progress))
    }

    /// Takes a sink's place for as long as the batch needs it; another pipeline may have it. `None` when
    /// the pipeline is not to write to it any more.
    fn hold<'a>(
        &self,
        links: &mut Links,
        sink: &'a SharedSink,
        keeping: &mut Option<Keeping>,
    ) -> Result<Option<MutexGuard<'a, Place>>, Stopped> {
        if let Ok(held) = sink.place.try_lock() {
            return Ok(Some(held));
        }
        let held = async {
            tokio::select! {
                () = self.shared.stop.cancelled() => Err(Stopped),
                held = sink.place.lock() => Ok(Some(held)),
                () = links.replaced(sink) => Ok(None),
            }
        };
        self.shared.runtime.block_on(while_committing(keeping, held))
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
            self.batch.refuse(row);
            self.letter(row, None, Reason::Refused, detail);
            if let Some(letter) = self.letters.last_mut() {
                (letter.sink, letter.went_on) = (sink.name.to_string(), true);
            }
        }
    }

    /// Waits until the pipeline is told what has taken the place of a sink.
    fn await_successor(&self, links: &mut Links, sink: &SharedSink) -> Result<(), Stopped> {
        self.shared.runtime.block_on(async {
            tokio::select! {
                () = self.shared.stop.cancelled() => Err(Stopped),
                () = links.replaced(sink) => Ok(()),
            }
        })
    }

    /// Waits, for as long as the host does not stop; false when the pipeline is not to write to the sink
    /// any more.
    fn rest(
        &self,
        links: &mut Links,
        sink: &SharedSink,
        wait: Duration,
        keeping: &mut Option<Keeping>,
    ) -> Result<bool, Stopped> {
        let over = async {
            tokio::select! {
                () = self.shared.stop.cancelled() => Err(Stopped),
                () = links.replaced(sink) => Ok(false),
                () = sink.retired.cancelled() => Ok(false),
                () = tokio::time::sleep(wait) => Ok(true),
            }
        };
        self.shared.runtime.block_on(while_committing(keeping, over))
    }
}

impl<'a> Tries<'a> {
    pub fn new(pipeline: &'a str, sink: &'a SharedSink) -> Self {
        let backoff = Backoff::new(LEAST_WAIT, MOST_WAIT);
        let slow = Backoff::new(LEAST_SLOW_WAIT, MOST_WAIT);
        Tries { pipeline, sink, backoff, slow, told: None }
    }

    /// Tells of a failure, unless it was told just now, and how long to wait.
    pub fn failed(&mut self, error: &SinkError) -> Duration {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
            self.told = Some(Instant::now());
            let (pipeline, sink) = (self.pipeline, &*self.sink.name);
            tracing::error!(pipeline, sink, %error, "sink fails; its pipeline waits");
        }
        self.sink.meter.retry();
        let (pipeline, detail) = (self.pipeline.to_owned(), error.to_string());
        self.sink.trouble.set(Some(Trouble { pipeline, detail }));
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

    pub fn succeeded(&self) {
        if self.told.is_some() {
            let (pipeline, sink) = (self.pipeline, &*self.sink.name);
            tracing::info!(pipeline, sink, "sink works again");
        }
    }
}

impl Drop for Tries<'_> {
    /// However they end: the pipeline waits no longer.
    fn drop(&mut self) {
        if self.told.is_some() {
            self.sink.trouble.set(None);
        }
    }
}
