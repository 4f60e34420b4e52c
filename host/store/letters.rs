//! Dead letters as they lie in the store. Key type: [`Letters`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use super::TAG;
use super::records::{Letter, LetterId, Record};
use super::select::Select;
use crate::seglog::Reader;

/// Records are read in pieces of about this size.
const READ: usize = 1 << 20;

/// A dead letter with what tells it from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its id.
    pub id: LetterId,
    /// The pipeline.
    pub pipeline: String,
    /// Itself.
    pub letter: Letter,
}

/// Dead letters that nobody is done with, the oldest first.
pub struct Letters {
    reader: Reader,
    /// Records that hold some.
    records: BTreeMap<u64, u32>,
    settled: BTreeSet<LetterId>,
    ready: VecDeque<Stored>,
}

impl Letters {
    pub(super) fn new(
        reader: Reader,
        records: BTreeMap<u64, u32>,
        settled: BTreeSet<LetterId>,
    ) -> Letters {
        Letters { reader, records, settled, ready: VecDeque::new() }
    }

    /// Only those of the records that these are in.
    #[must_use]
    pub fn among(mut self, ids: &BTreeSet<LetterId>) -> Letters {
        let has = |record: u64| {
            let first = LetterId { record, place: 0 };
            ids.range(first..).next().is_some_and(|id| id.record == record)
        };
        self.records.retain(|record, _| has(*record));
        self
    }

    /// Those that are meant.
    pub fn that_fit(self, select: &Select) -> impl Iterator<Item = io::Result<Stored>> {
        let ids: BTreeSet<LetterId> = select.ids.iter().copied().collect();
        let letters = if ids.is_empty() { self } else { self.among(&ids) };
        letters.filter(|stored| stored.as_ref().map_or(true, |stored| select.fits(stored)))
    }

    /// Reads on until there is one, or there are no more.
    fn fill(&mut self) -> io::Result<()> {
        while self.ready.is_empty() {
            // Straight to the next record that holds some.
            let Some((next, _)) = self.records.range(self.reader.position()..).next() else {
                return Ok(());
            };
            self.reader.seek(*next);
            let block = self.reader.read(1, READ)?;
            if block.is_empty() {
                return Ok(());
            }
            for record in block.records {
                if record.tag != TAG || !self.records.contains_key(&record.seq) {
                    continue;
                }
                let Ok(Record::Commit(commit)) = postcard::from_bytes(&record.payload) else {
                    continue;
                };
                for (letter, place) in commit.letters.into_iter().zip(0..) {
                    let id = LetterId { record: record.seq, place };
                    if !self.settled.contains(&id) {
                        let pipeline = commit.pipeline.clone();
                        self.ready.push_back(Stored { id, pipeline, letter });
                    }
                }
            }
        }
        Ok(())
    }
}

impl Iterator for Letters {
    type Item = io::Result<Stored>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.fill() {
            Ok(()) => self.ready.pop_front().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}
