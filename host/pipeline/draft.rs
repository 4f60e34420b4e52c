//! What a pipeline came to since its last commit: gathered batch by batch, written as one. Pure. Key
//! type: [`Draft`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::Told;
use crate::sink::{SharedSink, Wrote};
use crate::state::{Change, State};
use crate::store::{Commit, Handle, Letter, LetterId, News, Raised, Ranges, Written};

/// What is to be committed.
#[derive(Default)]
pub(super) struct Draft {
    /// The record of the journal that comes next.
    pub cursor: u64,
    is_whole: bool,
    states: BTreeMap<String, BTreeMap<String, Change>>,
    alerts: BTreeMap<(String, String), Raised>,
    pub news: Vec<Told>,
    letters: Vec<Letter>,
    letter_bytes: usize,
    files: Vec<(Arc<Handle>, Ranges, SharedSink)>,
    file_bytes: u64,
    settled: Vec<LetterId>,
    is_empty: bool,
}

/// What is written, and what goes with it.
pub(super) struct Ready {
    pub commit: Commit,
    /// Files that must be durable before.
    pub files: Vec<Touched>,
    /// Alerts to be told after.
    pub news: Vec<Told>,
}

/// A file that was written to.
pub(super) struct Touched {
    pub handle: Arc<Handle>,
    /// How much of it is new, bytes.
    pub bytes: u64,
    /// One of the sinks that it is of.
    pub sink: SharedSink,
}

impl Draft {
    /// With nothing in it.
    pub fn new(cursor: u64) -> Self {
        Draft { cursor, is_empty: true, ..Draft::default() }
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Bytes of dead letters and alerts in it.
    pub fn letter_bytes(&self) -> usize {
        self.letter_bytes
    }

    /// Bytes that were written to files.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// All before this record is done with.
    pub fn came_to(&mut self, cursor: u64) {
        self.is_empty &= self.cursor == cursor;
        self.cursor = cursor;
    }

    /// Takes over what changed in what plugins remember.
    pub fn states<'a>(&mut self, states: impl Iterator<Item = (&'a String, &'a mut State)>) {
        for (plugin, state) in states {
            let changes = state.changes();
            if changes.is_empty() {
                continue;
            }
            self.is_empty = false;
            let known = self.states.entry(plugin.clone()).or_default();
            known.extend(changes.into_iter().map(|change| (change.key.clone(), change)));
        }
    }

    /// Whether it holds all there is, and not only what changed.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Takes over all that plugins remember, and all alerts that are raised.
    pub fn whole<'a>(
        &mut self,
        states: impl Iterator<Item = (&'a String, &'a mut State)>,
        alerts: Vec<Raised>,
    ) {
        (self.is_empty, self.is_whole) = (false, true);
        self.states.clear();
        self.alerts.clear();
        for (plugin, state) in states {
            state.changes();
            let all = state.whole().into_iter().map(|change| (change.key.clone(), change));
            self.states.insert(plugin.clone(), all.collect());
        }
        self.alerts(alerts);
    }

    /// Notes alerts that were raised or cleared.
    pub fn alerts(&mut self, alerts: Vec<Raised>) {
        for raised in alerts {
            self.is_empty = false;
            self.alerts.insert((raised.plugin.clone(), raised.key.clone()), raised);
        }
    }

    /// Notes alerts that are to be told.
    pub fn news(&mut self, news: Vec<Told>) {
        self.is_empty &= news.is_empty();
        let bytes = |told: &Told| told.alert.subject.len() + told.alert.data.to_string().len();
        self.letter_bytes += news.iter().map(bytes).sum::<usize>();
        self.news.extend(news);
    }

    /// Notes dead letters.
    pub fn letters(&mut self, letters: Vec<Letter>) {
        for letter in letters {
            self.is_empty = false;
            self.letter_bytes += letter.size();
            self.letters.push(letter);
        }
    }

    /// Notes dead letters that were taken again, and are done with.
    pub fn settled(&mut self, ids: Vec<LetterId>) {
        self.is_empty &= ids.is_empty();
        self.settled.extend(ids);
    }

    /// Notes what was written to files.
    pub fn wrote(&mut self, wrote: Vec<(SharedSink, Wrote)>) {
        for (sink, Wrote { handle, from, to }) in wrote {
            self.is_empty = false;
            let place = self.files.iter().position(|(known, ..)| Arc::ptr_eq(known, &handle));
            let place = place.unwrap_or_else(|| {
                self.files.push((handle, Ranges::default(), sink));
                self.files.len() - 1
            });
            self.files[place].1.insert(from, to);
            self.file_bytes += to - from;
        }
    }

    /// What is to be written, in the name of a pipeline. It is empty after that.
    pub fn take(&mut self, pipeline: &str, number: u64, time: u64) -> Ready {
        let draft = std::mem::replace(self, Draft::new(self.cursor));
        let written = |(handle, ranges, _): &(Arc<Handle>, Ranges, SharedSink)| Written {
            file: handle.id.clone(),
            parts: ranges.parts().to_vec(),
        };
        let news = |told: &Told| News {
            number: told.number,
            subject: told.alert.subject.clone(),
            data: told.alert.data.to_string(),
        };
        let commit = Commit {
            pipeline: pipeline.to_owned(),
            number,
            cursor: draft.cursor,
            time,
            is_whole: draft.is_whole,
            states: draft
                .states
                .into_iter()
                .map(|(plugin, changes)| (plugin, changes.into_values().collect()))
                .collect(),
            alerts: draft.alerts.into_values().collect(),
            news: draft.news.iter().map(news).collect(),
            letters: draft.letters,
            files: draft.files.iter().map(written).collect(),
            settled: draft.settled,
        };
        let bytes = |ranges: &Ranges| ranges.parts().iter().map(|(from, to)| to - from).sum();
        let files = draft.files.into_iter().map(|(handle, ranges, sink)| Touched {
            bytes: bytes(&ranges),
            handle,
            sink,
        });
        Ready { commit, files: files.collect(), news: draft.news }
    }
}
