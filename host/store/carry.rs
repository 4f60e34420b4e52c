//! Carries forward what is stored of a pipeline that has not committed for long, as one that waits for a
//! sink: else all that others write meanwhile would have to stay behind it. Key function:
//! [`Store::carry`].

use std::io;

use super::image::{Image, Saved};
use super::records::{Commit, Raised, Record};
use super::{AppendError, READ, Store, TAG};

/// How much may come after a pipeline's commits before they are written again, bytes.
pub const CARRY_AFTER: u64 = 64 << 20;

impl Store {
    /// Writes the last commit of each pipeline again, whole, where so many bytes came after the commits
    /// that must stay for it.
    ///
    /// # Errors
    /// The disk cannot be read. It may be tried again.
    pub fn carry(&self, after: u64) -> io::Result<()> {
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
        Ok(())
    }

    /// Pipelines whose commits have so many bytes after them, and their last whole one.
    fn left_behind(&self, after: u64) -> Vec<(String, u64)> {
        let segments = self.log.segments();
        let follow = |record: u64| -> u64 {
            segments.iter().filter(|s| s.first_seq > record).map(|s| s.bytes).sum()
        };
        let inner = self.lock();
        let behind = inner.image.wholes.iter().filter(|(_, wholes)| follow(wholes[1].0) >= after);
        behind.map(|(pipeline, wholes)| (pipeline.clone(), wholes[0].0)).collect()
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
        self.append(&mut inner, &mut Record::Commit(commit)).map(|_| true)
    }
}
