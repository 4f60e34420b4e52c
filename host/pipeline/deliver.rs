//! The end of the way: export plugins, tried again for as long as it takes. While one waits, its
//! pipeline waits, and a new version of the plugin is tried at once.

use std::time::Duration;

use super::halving::Stopped;
use super::keeping::{Keeping, while_committing};
use super::links::Links;
use super::stages::Run;
use crate::backoff::Backoff;
use crate::batch::RowId;
use crate::dead_letter::DeadLetter;
use crate::outcome::{Answer, Delivery, Fault};
use crate::runner::{Failure, Info, Reason};

/// How often a call that fails as a whole is tried before the batch is halved.
const TRIES: usize = 3;
/// Waits between tries.
const LEAST_WAIT: Duration = Duration::from_millis(100);
const MOST_WAIT: Duration = Duration::from_secs(30);
/// The same where a file cannot be written.
const MOST_DISK_WAIT: Duration = Duration::from_secs(1);
/// The longest wait that a plugin may ask for.
const MOST_ASKED: Duration = Duration::from_secs(300);

/// What one try came to.
enum Try {
    Done,
    Again(Option<Duration>),
    /// It fails as a whole; the single event is at fault, or the batch is to be halved.
    Broken(Reason, String),
}

impl Run<'_> {
    /// Gives the batch to an export plugin, until all of it is settled.
    pub fn export(
        &mut self,
        links: &mut Links,
        name: &str,
        keeping: &mut Option<Keeping>,
    ) -> Result<(), Stopped> {
        let Some((link, _)) = links.place_of(name).and_then(|place| links.get(place)) else {
            return Ok(());
        };
        let info = std::sync::Arc::clone(link.runner.info());
        let rows = self.rows_for(&info);
        let mut todo = vec![rows];
        // The whole batch is tried several times, for the fault may pass; its halves once each.
        let mut tries = TRIES;
        while let Some(part) = todo.pop() {
            if part.is_empty() {
                continue;
            }
            if let Some((reason, detail)) = self.export_part(links, name, &part, tries, keeping)? {
                tries = 1;
                if let [row] = part[..] {
                    self.refuse(&info, row, reason, detail);
                } else {
                    let (first, second) = part.split_at(part.len() / 2);
                    todo.push(second.to_vec());
                    todo.push(first.to_vec());
                }
            }
        }
        Ok(())
    }

    /// Tries until the part is settled, or has failed too often; then why.
    fn export_part(
        &mut self,
        links: &mut Links,
        name: &str,
        rows: &[RowId],
        most_failures: usize,
        keeping: &mut Option<Keeping>,
    ) -> Result<Option<(Reason, String)>, Stopped> {
        let mut backoff = Backoff::new(LEAST_WAIT, MOST_WAIT);
        let mut failures = 0;
        let mut tries = 0;
        loop {
            tries += 1;
            let wait = match self.export_once(links, name, rows)? {
                Try::Done => return Ok(None),
                Try::Again(wait) => wait,
                Try::Broken(reason, detail) => {
                    failures += 1;
                    if failures >= most_failures {
                        return Ok(Some((reason, detail)));
                    }
                    None
                }
            };
            if tries == TRIES {
                tracing::warn!(
                    pipeline = self.pipeline,
                    plugin = name,
                    "export waits for the other side"
                );
            }
            let wait = wait.unwrap_or_else(|| backoff.next_wait());
            self.pause(links, wait, keeping)?;
        }
    }

    fn export_once(
        &mut self,
        links: &mut Links,
        name: &str,
        rows: &[RowId],
    ) -> Result<Try, Stopped> {
        links.refresh();
        let Some(place) = links.place_of(name) else {
            // Left by the operator while it waited: held by name, or no longer asked for.
            return Ok(if links.chain.is_ok() { Try::Done } else { Try::Again(None) });
        };
        let Some((link, state)) = links.get(place) else { return Ok(Try::Again(None)) };
        let info = std::sync::Arc::clone(link.runner.info());
        let ready = self.prepare(rows.to_vec(), info.wants.fields);
        let columns = self.batch.columns(&ready, info.wants.fields);
        let now = crate::timestamp::now_micros();
        let result = link.run(&columns, now, state);
        drop(columns);
        match result {
            Ok(Answer::Delivery(Delivery::Retry(wait))) => {
                Ok(Try::Again(Some(wait.min(MOST_ASKED)).filter(|wait| !wait.is_zero())))
            }
            Ok(Answer::Delivery(Delivery::Rejected(faults))) => {
                for Fault { index, reason } in faults {
                    self.refuse(&info, ready[index as usize], Reason::Refused, reason);
                }
                Ok(Try::Done)
            }
            Ok(_) => Ok(Try::Done),
            Err(Failure::Failed(reason, detail)) => Ok(Try::Broken(reason, detail)),
            Err(Failure::Stopped) => Err(Stopped),
        }
    }

    /// Notes that an export plugin will never take an event; others still get it.
    fn refuse(&mut self, info: &Info, row: RowId, reason: Reason, detail: String) {
        self.batch.refuse(row);
        self.letter(row, Some(info), reason, detail);
    }

    /// Waits; a change of plugins ends the wait.
    fn pause(
        &self,
        links: &mut Links,
        wait: Duration,
        keeping: &mut Option<Keeping>,
    ) -> Result<(), Stopped> {
        let over = async {
            tokio::select! {
                () = self.shared.stop.cancelled() => Err(Stopped),
                () = links.changed() => Ok(()),
                () = tokio::time::sleep(wait) => Ok(()),
            }
        };
        self.shared.runtime.block_on(while_committing(keeping, over))
    }

    /// Writes the dead letters there are, until they are written.
    pub fn write_letters(
        &mut self,
        links: &mut Links,
        keeping: &mut Option<Keeping>,
    ) -> Result<(), Stopped> {
        let mut backoff = Backoff::new(LEAST_WAIT, MOST_DISK_WAIT);
        while !self.letters.is_empty() {
            match self.shared.dead_letters.write(&self.letters) {
                Ok(()) => {
                    if self.is_stored {
                        self.settled.extend(self.letters.iter().map(DeadLetter::to_stored));
                    }
                    self.letters.clear();
                }
                // The file tells of it.
                Err(_) => self.pause(links, backoff.next_wait(), keeping)?,
            }
        }
        Ok(())
    }
}
