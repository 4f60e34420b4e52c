//! A batch through the filters, transforms and alert plugins of a pipeline. Key type: [`Run`].

use std::sync::Arc;

use super::Shared;
use super::halving::{self, Part, Stopped};
use super::links::Link;
use crate::batch::{Batch, RowId};
use crate::columns::Fields;
use crate::dead_letter::DeadLetter;
use crate::frame::Origin;
use crate::outcome::{Answer, Fault, Signal};
use crate::runner::{Info, Reason, Role};
use crate::sink::{SharedSink, Wrote};
use crate::state::State;
use crate::store::Letter;

/// One batch on its way, and what is to be told of it.
pub(super) struct Run<'a> {
    pub shared: &'a Shared,
    pub pipeline: &'a str,
    pub batch: Batch,
    /// Microseconds since 1970: the time of all calls with this batch.
    pub now: u64,
    pub letters: Vec<DeadLetter>,
    /// Where the frames come from: the number of the first that does not, in order.
    pub origins: Vec<(u32, Arc<Origin>)>,
    /// What was written to files, by which sinks.
    pub wrote: Vec<(SharedSink, Wrote)>,
    /// Whether dead letters are committed, besides being written.
    pub is_stored: bool,
    /// Those that are to be.
    pub settled: Vec<Letter>,
}

impl Run<'_> {
    /// Runs one plugin on the events it wants. Its signals come back.
    pub fn stage(&mut self, link: &mut Link, state: &mut State) -> Result<Vec<Signal>, Stopped> {
        let info = Arc::clone(link.runner.info());
        let rows = self.rows_for(&info);
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let (batch, now) = (&self.batch, self.now);
        let parts = halving::run(&rows, &mut |part: &[RowId]| {
            link.run(&batch.columns(part, info.wants.fields), now, state)
        })?;
        let mut signals = Vec::new();
        for part in parts {
            signals.extend(self.apply(&info, part));
        }
        self.batch.settle();
        Ok(signals)
    }

    /// The events that a plugin wants, with the columns it wants of them made.
    pub fn rows_for(&mut self, info: &Info) -> Vec<RowId> {
        let rows = self.batch.live_of(|ty| info.wants.has_type(ty));
        self.prepare(rows, info.wants.fields)
    }

    /// Makes columns; gives up the events whose payload is not what it should be.
    pub fn prepare(&mut self, mut rows: Vec<RowId>, fields: Fields) -> Vec<RowId> {
        let failed = self.batch.prepare(&rows, fields, &self.shared.decoder);
        if failed.is_empty() {
            return rows;
        }
        for (row, detail) in failed {
            self.letter(row, None, Reason::Decode, detail);
            self.batch.give_up(row);
            rows.retain(|other| *other != row);
        }
        self.batch.settle();
        rows
    }

    fn apply(&mut self, info: &Info, part: Part<RowId>) -> Vec<Signal> {
        let rows = &part.items;
        match part.result {
            Ok(Answer::Verdicts(verdicts)) => {
                self.batch.filter(rows, &verdicts);
                self.faults(info, rows, &verdicts.faults);
            }
            Ok(Answer::Outcomes(outcomes)) => {
                self.batch.transform(rows, &outcomes);
                self.faults(info, rows, &outcomes.faults);
            }
            Ok(Answer::Findings(findings)) => {
                self.faults(info, rows, &findings.faults);
                return findings.signals;
            }
            // Export plugins are not run here.
            Ok(Answer::Delivery(_)) => {}
            Err((reason, detail)) => {
                for row in rows {
                    self.fail(info, *row, reason, detail.clone());
                }
            }
        }
        Vec::new()
    }

    fn faults(&mut self, info: &Info, rows: &[RowId], faults: &[Fault]) {
        for fault in faults {
            self.fail(info, rows[fault.index as usize], Reason::Fault, fault.reason.clone());
        }
    }

    /// Writes a dead letter. An event that an alert plugin could not look at goes on all the same.
    fn fail(&mut self, info: &Info, row: RowId, reason: Reason, detail: String) {
        self.letter(row, Some(info), reason, detail);
        if info.role != Role::Alert {
            self.batch.give_up(row);
        }
    }

    /// Where a frame comes from.
    fn origin(&self, frame: u32) -> Option<Arc<Origin>> {
        let place = self.origins.partition_point(|(end, _)| *end <= frame);
        self.origins.get(place).map(|(_, origin)| Arc::clone(origin))
    }

    /// A dead letter of an event.
    pub fn letter(&mut self, row: RowId, plugin: Option<&Info>, reason: Reason, detail: String) {
        let frame = self.batch.frame(self.batch.frame_of(row)).clone();
        let letter = DeadLetter {
            plugin: plugin.map(|info| info.name.clone()).unwrap_or_default(),
            version: plugin.map(|info| info.version.clone()).unwrap_or_default(),
            went_on: plugin.is_some_and(|info| matches!(info.role, Role::Alert | Role::Export)),
            origin: self.origin(self.batch.frame_of(row)),
            event: self.batch.line_of(row, &self.shared.decoder),
            frame: Some(frame),
            ..DeadLetter::new(self.pipeline, reason, detail)
        };
        self.letters.push(letter);
    }

    /// A dead letter of frames that are not there any more.
    pub fn lost_letter(&mut self, detail: String) {
        self.letters.push(DeadLetter::new(self.pipeline, Reason::Lost, detail));
    }

    /// A dead letter of a frame that holds no event.
    pub fn frame_letter(&mut self, frame: u32, reason: Reason, detail: String) {
        self.batch.give_up_frame(frame);
        self.letters.push(DeadLetter {
            origin: self.origin(frame),
            frame: Some(self.batch.frame(frame).clone()),
            ..DeadLetter::new(self.pipeline, reason, detail)
        });
    }
}
