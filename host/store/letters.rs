//! Dead letters as they lie in the store, wherever they were carried to. Key type: [`Letters`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use super::TAG;
use super::open::Open;
use super::records::{Letter, LetterId, Record};
use super::select::Select;
use crate::seglog::Reader;

/// Records are read in pieces of about this size.
const READ: usize = 1 << 20;
/// How often, and after what time each, letters are looked for that are just carried elsewhere.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

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

/// Where dead letters lie by now, and which are done with.
pub(super) type Now = (Open, BTreeSet<LetterId>);

/// Dead letters of one record, as they were read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    /// The record that they came with.
    pub record: u64,
    /// The one that they lie in.
    pub at: u64,
    pub pipeline: String,
    /// With their places in the record that they came with.
    pub letters: Vec<(u32, Letter)>,
}

/// Dead letters that nobody is done with, the oldest first.
pub struct Letters {
    reader: Reader,
    /// Records that some came with, and those that these lie in.
    todo: VecDeque<(u64, u64)>,
    settled: BTreeSet<LetterId>,
    /// Asked where what is not found lies by now.
    now: Box<dyn Fn() -> io::Result<Now> + Send>,
    tries: u32,
    /// The record that was read last: its number, and what is in it, by the record that it came with.
    held: (u64, BTreeMap<u64, Read>),
    ready: VecDeque<Stored>,
}

impl Letters {
    pub(super) fn new(
        reader: Reader,
        todo: impl Iterator<Item = (u64, u64)>,
        settled: BTreeSet<LetterId>,
        now: Box<dyn Fn() -> io::Result<Now> + Send>,
    ) -> Letters {
        let (held, ready) = (Default::default(), VecDeque::new());
        Letters { reader, todo: todo.collect(), settled, now, tries: 0, held, ready }
    }

    /// Only those of the records that these came with.
    #[must_use]
    pub fn among(mut self, ids: &BTreeSet<LetterId>) -> Letters {
        let has = |record: u64| {
            let first = LetterId { record, place: 0 };
            ids.range(first..).next().is_some_and(|id| id.record == record)
        };
        self.todo.retain(|(record, _)| has(*record));
        self
    }

    /// Those that are meant.
    pub fn that_fit(self, select: &Select) -> impl Iterator<Item = io::Result<Stored>> {
        let ids: BTreeSet<LetterId> = select.ids.iter().copied().collect();
        let letters = if ids.is_empty() { self } else { self.among(&ids) };
        let fits = move |stored: &Stored| {
            (ids.is_empty() || ids.contains(&stored.id)) && select.fits(stored)
        };
        letters.filter(move |stored| stored.as_ref().map_or(true, &fits))
    }

    /// What comes next, also what was done with since it was written there.
    pub(super) fn next_read(&mut self) -> io::Result<Option<Read>> {
        while let Some((record, at)) = self.todo.front().copied() {
            if self.held.0 != at {
                self.held = (at, self.read(at)?);
            }
            // One that is not to be had yet is looked for again.
            let found = self.held.1.remove(&record);
            if found.is_some() || !self.look_again(record, at)? {
                self.todo.pop_front();
                self.tries = 0;
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What is in a record, by the record that it came with.
    fn read(&mut self, at: u64) -> io::Result<BTreeMap<u64, Read>> {
        self.reader.seek(at);
        let block = self.reader.read(1, READ)?;
        let record = block.records.first().filter(|record| (record.seq, record.tag) == (at, TAG));
        let record = record.and_then(|record| postcard::from_bytes(&record.payload).ok());
        Ok(match record {
            Some(Record::Commit(commit)) => {
                let letters = (0..).zip(commit.letters).collect();
                BTreeMap::from([(at, Read { record: at, at, pipeline: commit.pipeline, letters })])
            }
            Some(Record::Letters(carried)) => {
                let read = |carried: super::records::Carried| Read {
                    record: carried.record,
                    at,
                    pipeline: carried.pipeline,
                    letters: carried.letters,
                };
                carried.into_iter().map(|carried| (carried.record, read(carried))).collect()
            }
            _ => BTreeMap::new(),
        })
    }

    /// What was to be in this record is not: it was carried elsewhere meanwhile, or is done with. False
    /// where it is not to be had.
    fn look_again(&mut self, record: u64, at: u64) -> io::Result<bool> {
        self.held = Default::default();
        let (open, settled) = (self.now)()?;
        self.settled = settled;
        let lying = |record: u64| open.get(record).map(|lying| (record, lying.at));
        let Some((_, now)) = lying(record) else { return Ok(false) };
        // What it came with is not durable yet, or was damaged since.
        if now == at && now == record {
            return Ok(false);
        }
        if now == at {
            self.tries += 1;
            if self.tries > TRIES {
                let text = format!(
                    "dead letters of record {record} are in record {now}, which is not to be read"
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            std::thread::sleep(PAUSE);
        }
        // What is done with by now is passed over; this one, the first, is not.
        self.todo = self.todo.iter().filter_map(|(record, _)| lying(*record)).collect();
        Ok(true)
    }
}

impl Iterator for Letters {
    type Item = io::Result<Stored>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            let Read { record, pipeline, letters, .. } = match self.next_read() {
                Ok(read) => read?,
                Err(error) => return Some(Err(error)),
            };
            for (place, letter) in letters {
                let id = LetterId { record, place };
                if !self.settled.contains(&id) {
                    self.ready.push_back(Stored { id, pipeline: pipeline.clone(), letter });
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
