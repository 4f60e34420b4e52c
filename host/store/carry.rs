//! Carries forward what would hold the log: what is stored of a pipeline that has not committed for long,
//! as one that waits for a sink, and dead letters that nobody is done with. Else all that others write
//! meanwhile would have to stay behind it. Key function: [`Store::carry`].

use std::collections::BTreeSet;
use std::io;

use super::image::{Image, Saved};
use super::letters::Read;
use super::records::{Commit, Letter, Raised, Record};
use super::{AppendError, Inner, READ, Store, TAG};

/// How much may come after what must stay before that is written again, bytes; more where it is more itself.
pub const CARRY_AFTER: u64 = 64 << 20;
/// Dead letters are written again in records of about this size, ...
const PIECE: usize = 1 << 20;
/// ... about so much of them at once, ...
const PIECES: usize = 16 << 20;
/// ... and no more than of so many records.
const RECORDS: usize = 10_000;

impl Store {
    /// Writes the last commit of each pipeline, and dead letters, again, where more came after those of
    /// their records that must stay than all that must stay is, twice, and more than this, bytes.
    ///
    /// # Errors
    /// The disk cannot be read. It may be tried again.
    pub fn carry(&self, after: u64) -> io::Result<()> {
        // While nothing can be written nothing comes after it either.
        if self.log.trouble().is_some() {
            return Ok(());
        }
        for (pipeline, from) in self.left_behind(after) {
            let Some(saved) = self.saved(&pipeline, from)? else { continue };
            // Two, for the last two are what must stay.
            for _ in 0..2 {
                match self.write_again(&pipeline, &saved) {
                    Ok(true) => tracing::debug!(pipeline, "its last commit is written again"),
                    // It goes on by itself; or there will be room later.
                    Ok(false) | Err(_) => break,
                }
            }
        }
        self.carry_letters(after)
    }

    /// The first record after which so much has not come yet. What must stay of the log, and be written
    /// again, is no reason to write it again: that would never end.
    fn behind(&self, inner: &Inner, after: u64) -> u64 {
        let wholes: u64 = inner.pipelines.values().map(|since| since.whole).sum();
        let stays = inner.image.letters.bytes() + 2 * wholes;
        let mut left = stays + after.max(stays);
        for segment in self.log.segments().iter().rev() {
            left = left.saturating_sub(segment.bytes);
            if left == 0 {
                return segment.first_seq;
            }
        }
        0
    }

    /// Pipelines whose commits have so many bytes after them, and their last whole one.
    fn left_behind(&self, after: u64) -> Vec<(String, u64)> {
        let inner = self.lock();
        let first = self.behind(&inner, after);
        let behind = inner.image.wholes.iter().filter(|(_, wholes)| wholes[1].0 < first);
        behind.map(|(pipeline, wholes)| (pipeline.clone(), wholes[0].0)).collect()
    }

    /// Writes dead letters again, those that lie furthest back first.
    fn carry_letters(&self, after: u64) -> io::Result<()> {
        let mut letters = {
            let inner = self.lock();
            let first = self.behind(&inner, after);
            let behind = inner.image.letters.places().take_while(|(at, _)| *at < first);
            let behind = behind.take(RECORDS).map(|(at, record)| (record, at));
            self.letters_of(behind, BTreeSet::new())
        };
        let (mut piece, mut size, mut total) = (Vec::new(), 0, 0);
        while let Some(read) = letters.next_read()? {
            size += read.letters.iter().map(|(_, letter)| Letter::size(letter)).sum::<usize>();
            piece.push(read);
            if size >= PIECE {
                total += std::mem::take(&mut size);
                let is_written = self.write_letters(std::mem::take(&mut piece)).is_ok();
                if !is_written || total >= PIECES {
                    // There will be room later; and others want to write, too.
                    return Ok(());
                }
            }
        }
        let _ = self.write_letters(piece);
        Ok(())
    }

    /// Those of them that still lie where they were read.
    fn write_letters(&self, piece: Vec<Read>) -> Result<(), AppendError> {
        let mut inner = self.lock();
        let carried: Vec<_> =
            piece.into_iter().filter_map(|read| inner.image.to_carry(read)).collect();
        if carried.is_empty() {
            return Ok(());
        }
        // What was redriven is not written again. What became of it must not be in a commit alone: were
        // that one lost, both would be.
        if inner.has_redriven {
            self.checkpoint(&mut inner)?;
        }
        let letters: usize = carried.iter().map(|carried| carried.letters.len()).sum();
        self.append(&mut inner, &mut Record::Letters(carried), &mut 0)?;
        tracing::debug!(letters, "dead letters are written again");
        Ok(())
    }

    /// What is stored of a pipeline, read from its last whole commit on.
    fn saved(&self, pipeline: &str, from: u64) -> io::Result<Option<Saved>> {
        let (mut reader, mut image) = (self.log.reader(from), Image::default());
        loop {
            let block = reader.read(usize::MAX, READ)?;
            if block.is_empty() {
                let saved = image.pipelines.remove(pipeline);
                return Ok(saved.filter(|saved| saved.number > 0 && !saved.is_set_back));
            }
            for record in block.records.iter().filter(|record| record.tag == TAG) {
                match postcard::from_bytes(&record.payload) {
                    Ok(Record::Commit(commit)) if commit.pipeline == pipeline => {
                        image.apply(record.seq, Record::Commit(commit));
                    }
                    Ok(told @ Record::Told { .. }) => image.apply(record.seq, told),
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }

    /// False where the pipeline has committed meanwhile.
    fn write_again(&self, pipeline: &str, saved: &Saved) -> Result<bool, AppendError> {
        let mut inner = self.lock();
        let number = inner.image.pipelines.get(pipeline).map(|now| now.number);
        if number != Some(saved.number) {
            return Ok(false);
        }
        let changes = saved
            .states
            .iter()
            .map(|(plugin, state)| (plugin.clone(), state.values().cloned().collect::<Vec<_>>()));
        let raised = saved.alerts.iter().map(|((plugin, key), signal)| Raised {
            plugin: plugin.clone(),
            key: key.clone(),
            signal: Some(signal.clone()),
        });
        let commit = Commit {
            pipeline: pipeline.to_owned(),
            number: saved.number,
            cursor: saved.cursor,
            time: saved.time,
            is_whole: true,
            states: changes.collect(),
            alerts: raised.collect(),
            ..Commit::default()
        };
        self.append(&mut inner, &mut Record::Commit(commit), &mut 0).map(|_| true)
    }
}
