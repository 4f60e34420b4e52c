//! From frames to lines on standard output. Key type: [`Feed`].

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::human::Human;
use super::select::Select;
use crate::batch::{Batch, RowId};
use crate::columns::Fields;
use crate::decode::{Decoder, Registry};
use crate::frame::Chunk;
use crate::pipeline::Intake;

/// Most that is decoded and printed at once.
const MAX_EVENTS: usize = 256;
const MAX_BYTES: usize = 1 << 20;

/// Why there will be no more events.
#[derive(Debug)]
pub(super) enum End {
    /// Enough were shown.
    Count,
    /// The time is up.
    Time,
    /// Somebody said so, or whoever reads has read enough.
    Told,
    /// Standard output takes no more.
    Broken(String),
}

/// What came in so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub events: AtomicU64,
    pub shown: AtomicU64,
    pub broken: AtomicU64,
}

/// Takes frames, and prints what is wanted of them.
pub(super) struct Feed {
    intake: Intake,
    decoder: Decoder,
    select: Select,
    /// How events are shown to a person; `None` for JSON.
    human: Option<Human>,
    /// How many are still to be shown.
    left: Option<u64>,
    seen: Arc<Seen>,
}

/// What is looked at of an event's line.
#[derive(Debug, Deserialize)]
pub(super) struct Shown<'a> {
    #[serde(rename = "type", borrow)]
    pub ty: std::borrow::Cow<'a, str>,
    #[serde(default, borrow)]
    pub time: std::borrow::Cow<'a, str>,
    #[serde(default, borrow)]
    pub stream: std::borrow::Cow<'a, str>,
    #[serde(default)]
    pub data: Value,
}

impl Feed {
    pub fn new(
        intake: Intake,
        select: Select,
        human: Option<Human>,
        count: Option<u64>,
    ) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let decoder = Decoder::new(Arc::new(Registry::built_in()));
        (Feed { intake, decoder, select, human, left: count, seen: Arc::clone(&seen) }, seen)
    }

    /// Prints until enough is shown, or nobody reads it, or it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> End {
        loop {
            match stop.run_until_cancelled(self.intake.wait()).await {
                Some(true) => {}
                Some(false) | None => return End::Told,
            }
            let chunks = self.intake.take(MAX_EVENTS, MAX_BYTES).chunks;
            let printed = tokio::task::block_in_place(|| {
                let text = self.text(chunks);
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            });
            match printed {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return End::Told,
                Err(error) => return End::Broken(format!("standard output: {error}")),
                Ok(()) if self.left == Some(0) => return End::Count,
                Ok(()) => {}
            }
        }
    }

    /// What is printed of some frames.
    fn text(&mut self, chunks: Vec<Chunk>) -> String {
        let mut batch = Batch::default();
        for chunk in chunks {
            for frame in chunk.frames {
                let length = frame.bytes.len();
                if let Err(error) = self.decoder.decode(&chunk.origin.stream, frame, &mut batch) {
                    self.not_decoded(&chunk.origin.stream, length, &error.to_string());
                }
            }
        }
        self.seen.events.fetch_add(batch.live().len() as u64, Ordering::Relaxed);
        let mut rows = batch.live_of(|ty| self.select.has_type(ty));
        for (row, why) in batch.prepare(&rows, Fields::WHOLE, &self.decoder) {
            rows.retain(|other| *other != row);
            let frame = batch.frame(batch.frame_of(row));
            self.not_decoded(batch.id(row), frame.bytes.len(), &why);
        }
        if let Some(human) = &mut self.human {
            human.measure();
        }
        let mut out = String::new();
        for row in rows {
            if self.left == Some(0) {
                break;
            }
            if self.print(&batch, row, &mut out) {
                self.left = self.left.map(|left| left - 1);
                self.seen.shown.fetch_add(1, Ordering::Relaxed);
            }
        }
        out
    }

    /// Prints an event, if it is wanted.
    fn print(&mut self, batch: &Batch, row: RowId, out: &mut String) -> bool {
        let lines = batch.lines_of(&[row]).into_text();
        if self.human.is_none() && !self.select.has_conditions() {
            out.push_str(&lines.text);
            return true;
        }
        let shown: Shown<'_> = match serde_json::from_str(&lines.text) {
            Ok(shown) => shown,
            Err(error) => {
                self.not_decoded(batch.id(row), lines.text.len(), &error.to_string());
                return false;
            }
        };
        if !self.select.has_data(&shown.data) {
            return false;
        }
        match &mut self.human {
            Some(human) => human.push(&shown, out),
            None => out.push_str(&lines.text),
        }
        true
    }

    fn not_decoded(&self, what: &str, length: usize, why: &str) {
        self.seen.broken.fetch_add(1, Ordering::Relaxed);
        eprintln!("{what}: {length} bytes that cannot be decoded: {why}");
    }
}
