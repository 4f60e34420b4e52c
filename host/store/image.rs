//! What the records of a store come to, in their order. Where some are missing, a pipeline goes back
//! to where its own are whole. Pure. Key types: [`Image`], [`Saved`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::letters::Read;
use super::open::Open;
use super::ranges::Ranges;
use super::records::{
    Base, Carried, Checkpoint, Commit, FileId, Gap, LetterId, News, Record, Written,
};
use crate::outcome::Signal;
use crate::state::Change;

/// Most gaps that are remembered; the oldest that are over are forgotten first.
pub const MAX_GAPS: usize = 10_000;

/// What is stored of a pipeline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Saved {
    /// The next record of the journal that it is to take.
    pub cursor: u64,
    /// Number of its last commit.
    pub number: u64,
    /// When that was, in microseconds since 1970.
    pub time: u64,
    /// What its plugins remember, by plugin and key.
    pub states: BTreeMap<String, BTreeMap<String, Change>>,
    /// The alerts that are raised, by plugin and key.
    pub alerts: BTreeMap<(String, String), Signal>,
    /// Alerts that are to be told still.
    pub news: Vec<News>,
    /// Commits of it that could not be read, so that it went back.
    pub is_set_back: bool,
}

/// What is stored of a file that a sink writes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileImage {
    /// Its device, its number there, and its generation.
    pub id: (u64, u64, u64),
    /// What of it is there to stay.
    pub kept: Ranges,
}

/// All that is stored.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// By name.
    pub pipelines: BTreeMap<String, Saved>,
    /// By path.
    pub files: BTreeMap<PathBuf, FileImage>,
    /// The oldest first.
    pub gaps: Vec<Gap>,
    /// Dead letters that are done with, of records others of which are not.
    pub settled: BTreeSet<LetterId>,
    /// The number of the last alert that was told, by pipeline.
    pub told: BTreeMap<String, u64>,
    /// The records that must stay for each pipeline: its last two whole commits, with their cursors.
    pub wholes: BTreeMap<String, [(u64, u64); 2]>,
    /// The last two checkpoints.
    pub checkpoints: [u64; 2],
    /// Dead letters that are not done with.
    pub letters: Open,
    /// Of records that could not be read: how many, by record.
    pub unread: BTreeMap<u64, u32>,
    /// Pipelines whose chain of commits is broken, until the next whole one.
    broken: BTreeSet<String>,
}

impl Image {
    /// Takes in the next record.
    pub fn apply(&mut self, number: u64, record: Record) {
        match record {
            Record::Commit(commit) => self.commit(number, commit),
            Record::Base(base) => self.base(base),
            Record::Gap(gap) => self.gap(gap),
            Record::Told { pipeline, upto } => self.told(pipeline, upto),
            Record::Settled(ids) => ids.into_iter().for_each(|id| self.settle(id)),
            Record::Released { pipeline } => {
                self.pipelines.remove(&pipeline);
                self.wholes.remove(&pipeline);
                self.told.remove(&pipeline);
            }
            Record::Checkpoint(checkpoint) => self.checkpoint(number, checkpoint),
            Record::Letters(all) => all.iter().for_each(|carried| self.carried(number, carried)),
        }
    }

    fn commit(&mut self, number: u64, commit: Commit) {
        let Commit { pipeline, letters, .. } = &commit;
        // Dead letters stand for themselves, wherever the pipeline goes on.
        self.letters.put(number, number, letters.iter());
        let saved = self.pipelines.entry(pipeline.clone()).or_default();
        let follows = commit.is_whole || commit.number == saved.number + 1;
        if !follows || (self.broken.contains(pipeline) && !commit.is_whole) {
            self.broken.insert(pipeline.clone());
            saved.is_set_back = true;
            return;
        }
        saved.number = commit.number;
        saved.cursor = commit.cursor;
        saved.time = commit.time;
        if commit.is_whole {
            self.broken.remove(pipeline);
            saved.is_set_back = false;
            saved.states.clear();
            saved.alerts.clear();
            let wholes = self.wholes.entry(pipeline.clone()).or_default();
            *wholes = [
                (number, commit.cursor),
                if wholes[0].0 == 0 { (number, commit.cursor) } else { wholes[0] },
            ];
        }
        for (plugin, changes) in commit.states {
            let state = saved.states.entry(plugin).or_default();
            for change in changes {
                if change.value.is_some() {
                    state.insert(change.key.clone(), change);
                } else {
                    state.remove(&change.key);
                }
            }
        }
        for raised in commit.alerts {
            let key = (raised.plugin, raised.key);
            match raised.signal {
                Some(signal) => drop(saved.alerts.insert(key, signal)),
                None => drop(saved.alerts.remove(&key)),
            }
        }
        let told = self.told.get(&commit.pipeline).copied().unwrap_or(0);
        // One that was written again holds what was there before.
        let known = saved.news.last().map_or(told, |last| last.number.max(told));
        saved.news.extend(commit.news.into_iter().filter(|news| news.number > known));
        for Written { file, parts } in commit.files {
            self.written(file, &parts);
        }
        // Only with what became of them: else the lines that they became are cut off, and they are lost.
        commit.settled.into_iter().for_each(|id| self.settle(id));
    }

    fn written(&mut self, file: FileId, parts: &[(u64, u64)]) {
        let image = self.files.entry(file.path).or_default();
        let id = (file.dev, file.ino, file.generation);
        if image.id != id {
            if file.generation <= image.id.2 {
                // Of a file that is no longer there under this name.
                return;
            }
            // What said where it begins cannot be read: better lines that come again than lines
            // that are cut off and do not.
            *image = FileImage { id, kept: Ranges::default() };
            image.kept.insert(0, parts.first().map_or(0, |(from, _)| *from));
        }
        for (from, to) in parts {
            image.kept.insert(*from, *to);
        }
    }

    fn base(&mut self, Base { file, len }: Base) {
        let mut kept = Ranges::default();
        kept.insert(0, len);
        self.files.insert(file.path, FileImage { id: (file.dev, file.ino, file.generation), kept });
    }

    fn gap(&mut self, gap: Gap) {
        match self.gaps.iter_mut().rev().find(|other| other.number == gap.number) {
            Some(known) => *known = gap,
            None => self.gaps.push(gap),
        }
        if self.gaps.len() > MAX_GAPS {
            // One that lasts is needed still, and so is what says that a stream was ever connected.
            let goes = |gap: &Gap| gap.to.is_some_and(|to| to != gap.from);
            let oldest = self.gaps.iter().position(goes).unwrap_or(0);
            self.gaps.remove(oldest);
        }
    }

    fn told(&mut self, pipeline: String, upto: u64) {
        if let Some(saved) = self.pipelines.get_mut(&pipeline) {
            saved.news.retain(|news| news.number > upto);
        }
        let told = self.told.entry(pipeline).or_default();
        *told = upto.max(*told);
    }

    fn settle(&mut self, id: LetterId) {
        // A record all of whose letters are done with is not known any more.
        let is_read = self.letters.get(id.record).is_some();
        if !(is_read || self.unread.contains_key(&id.record)) || !self.settled.insert(id) {
            return;
        }
        let is_last = if is_read {
            self.letters.take_one(id.record)
        } else {
            let left = self.unread.entry(id.record).or_default();
            *left = left.saturating_sub(1);
            let is_last = *left == 0;
            if is_last {
                self.unread.remove(&id.record);
            }
            is_last
        };
        if is_last {
            self.take_settled(id.record);
        }
    }

    /// Places of those of a record that are done with.
    fn settled_of(&self, record: u64) -> Vec<u32> {
        let all = LetterId { record, place: 0 }..=LetterId { record, place: u32::MAX };
        self.settled.range(all).map(|id| id.place).collect()
    }

    fn take_settled(&mut self, record: u64) {
        for place in self.settled_of(record) {
            self.settled.remove(&LetterId { record, place });
        }
    }

    /// What is read of a record, as it is to be written again: as long as it lies there, and without
    /// what is done with.
    pub fn to_carry(&self, read: Read) -> Option<Carried> {
        let Read { record, at, pipeline, mut letters } = read;
        self.letters.get(record).filter(|lying| lying.at == at)?;
        letters.retain(|(place, _)| !self.settled.contains(&LetterId { record, place: *place }));
        Some(Carried { record, pipeline, settled: self.settled_of(record), letters })
    }

    fn carried(&mut self, number: u64, carried: &Carried) {
        let Carried { record, settled, letters, .. } = carried;
        self.unread.remove(record);
        self.take_settled(*record);
        self.letters.put(*record, number, letters.iter().map(|(_, letter)| letter));
        if !letters.is_empty() {
            let id = |place: &u32| LetterId { record: *record, place: *place };
            self.settled.extend(settled.iter().map(id));
        }
    }

    fn checkpoint(&mut self, number: u64, checkpoint: Checkpoint) {
        self.checkpoints =
            [number, if self.checkpoints[0] == 0 { number } else { self.checkpoints[0] }];
        let Checkpoint { files, gaps, settled, told, pipelines, letters } = checkpoint;
        for Written { file, parts } in files {
            let mut kept = Ranges::default();
            parts.iter().for_each(|(from, to)| kept.insert(*from, *to));
            self.files
                .insert(file.path, FileImage { id: (file.dev, file.ino, file.generation), kept });
        }
        gaps.into_iter().for_each(|gap| self.gap(gap));
        for name in pipelines {
            let lost = || Saved { is_set_back: true, ..Saved::default() };
            self.pipelines.entry(name).or_insert_with(lost);
        }
        // What was done with in records that could not be read.
        let open: BTreeMap<u64, u32> = letters.into_iter().collect();
        self.letters.retain(|record| open.contains_key(&record));
        self.settled.retain(|id| open.contains_key(&id.record));
        self.unread =
            open.into_iter().filter(|(record, _)| self.letters.get(*record).is_none()).collect();
        // Their counts are without those that are done with.
        let of_unread = settled.iter().filter(|id| self.unread.contains_key(&id.record));
        self.settled.extend(of_unread);
        // Those of records that were read stand already.
        settled.into_iter().for_each(|id| self.settle(id));
        told.into_iter().for_each(|(pipeline, upto)| self.told(pipeline, upto));
    }

    /// Gives up dead letters that cannot be read.
    pub fn forget_unread(&mut self) {
        self.unread.clear();
        self.settled.retain(|id| self.letters.get(id.record).is_some());
    }

    /// Whether records before this first one are missing: what is let go is let go only behind checkpoints.
    pub fn lacks_its_beginning(&self, first: u64) -> bool {
        first > 1 && self.checkpoints == [0; 2]
    }

    /// What is not a pipeline's, to be written whole.
    pub fn to_checkpoint(&self) -> Checkpoint {
        Checkpoint {
            files: self.all_files(),
            gaps: self.gaps.clone(),
            settled: self.settled.iter().copied().collect(),
            told: self.told.iter().map(|(name, upto)| (name.clone(), *upto)).collect(),
            pipelines: self.pipelines.keys().cloned().collect(),
            letters: self.letters.records().map(|(record, lying)| (record, lying.count)).collect(),
        }
    }

    /// What of all files is there to stay.
    pub fn all_files(&self) -> Vec<Written> {
        let written = |(path, image): (&PathBuf, &FileImage)| Written {
            file: FileId {
                path: path.clone(),
                dev: image.id.0,
                ino: image.id.1,
                generation: image.id.2,
            },
            parts: image.kept.parts().to_vec(),
        };
        self.files.iter().map(written).collect()
    }

    /// The first record that must stay: the last two checkpoints, the last two whole commits of each
    /// pipeline and the dead letters that nobody is done with lie from there on.
    pub fn floor(&self) -> u64 {
        let wholes = self.wholes.values().map(|wholes| wholes[1].0);
        wholes.chain(self.letters.first_place()).chain([self.checkpoints[1]]).min().unwrap_or(0)
    }

    /// The first record of the journal that a pipeline may go back to, of all of them.
    pub fn journal_floor(&self) -> Option<u64> {
        self.wholes.values().map(|wholes| wholes[1].1).min()
    }
}
