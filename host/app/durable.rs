//! The journal and the store of a host: opened, looked after, closed. Key type: [`Durable`].

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use super::recall::{Memories, recall, tell_lost};
use super::{StartError, environment};
use crate::backoff::DISK_HINT;
use crate::config::units::size_text;
use crate::config::{Begin, JournalConfig, PipelineConfig, WhenFull};
use crate::dir::sync_dir;
use crate::gap::{Ledger, Reason};
use crate::journal::{Journal, Kept as Room, OpenError, Retention};
use crate::pipeline::Kept;
use crate::store::{CARRY_AFTER, Commit, Loaded, Record, Saved, Store};
use crate::telemetry::DurableView;
use crate::timestamp::now_micros;

/// How long it may take at the start until a new pipeline is noted.
const NOTE_WITHIN: Duration = Duration::from_secs(10);

/// Between two times of carrying the store forward so many times as long passes as it takes, ...
const CARRY_REST: u32 = 20;
/// ... at the most so long.
const MOST_CARRY_REST: Duration = Duration::from_secs(60);

/// What is to be known of a host without one.
pub(super) const NO_JOURNAL: &str = "journal = false: what was received and not yet delivered, and what \
    plugins remember, is in memory alone and lost when this process ends in disorder";

/// What survives the process.
pub(super) struct Durable {
    pub journal: Arc<Journal>,
    pub store: Arc<Store>,
    config: JournalConfig,
    retention: Retention,
    /// What was kept of pipelines, until they take it.
    saved: std::collections::BTreeMap<String, Saved>,
    /// Whether a pipeline that is not known may have been so: then it begins with the oldest.
    is_forgetful: bool,
    told: Told,
    /// The record that this process begins with.
    began: u64,
    /// Says how long carrying the store forward took, while it is done.
    carrying: Option<mpsc::Receiver<Duration>>,
    /// When it is done next.
    carry_at: Instant,
}

/// What was told of the state of things, so that it is told once.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Told {
    has_trouble: bool,
    is_full: bool,
}

impl Durable {
    /// Opens both; says what was found.
    pub fn open(dir: &Path, config: &JournalConfig) -> Result<Durable, StartError> {
        let part = |name: &str| {
            let path = dir.join(name);
            let made = std::fs::create_dir_all(&path).and_then(|()| sync_dir(dir));
            made.map(|()| path.clone()).map_err(environment(
                format!("cannot create {}", path.display()),
                "data_dir names it",
            ))
        };
        let unusable = |error: OpenError| StartError::Unusable(error.to_string());
        let (store, loaded) = Store::open(&part("store")?).map_err(unusable)?;
        let Loaded { pipelines, notes, is_damaged } = loaded;
        for note in &notes {
            tracing::error!("{note}");
        }
        // One of which nothing can be read has none.
        let cursors = pipelines.values().map(|saved| saved.cursor);
        let certified = cursors.max().unwrap_or(0).saturating_sub(1);
        let journal = Journal::open(&part("journal")?, config, certified).map_err(unusable)?;
        for damage in &journal.found().damage {
            let (file, offset, what) = (&damage.file, damage.offset, &damage.what);
            tracing::error!(file, offset, seqs = ?damage.seqs, "journal: {what}");
        }
        if let Some(torn) = &journal.found().torn_tail {
            let (file, bytes) = (&torn.file, torn.bytes);
            tracing::warn!(
                file,
                bytes,
                "journal: the last write was not whole and is taken back; it was never counted"
            );
        }
        let is_gone = pipelines.is_empty() && journal.next_seq() > 1;
        if is_gone {
            tracing::error!(
                "the store holds no pipeline, and the journal is not empty: pipelines begin with its \
                 oldest record; what was delivered before is delivered again"
            );
        }
        Ok(Durable {
            is_forgetful: is_damaged || is_gone,
            store: Arc::new(store),
            config: config.clone(),
            retention: Retention::new(config),
            saved: pipelines,
            told: Told::default(),
            began: journal.next_seq(),
            carrying: None,
            carry_at: Instant::now(),
            journal: Arc::new(journal),
        })
    }

    /// Has streams remember what they brought in earlier processes, without waiting for it, and writes
    /// down what of the journal is lost.
    ///
    /// # Errors
    /// When no thread is to be had.
    pub fn recall(&self, memories: Memories, gaps: &Ledger) -> Result<(), StartError> {
        for damage in &self.journal.found().damage {
            let seqs = damage.seqs.clone();
            tell_lost(&self.journal, gaps, seqs, Reason::Damaged, &damage.what);
        }
        recall(Arc::clone(&self.journal), self.began, memories)
            .map_err(environment("cannot start a thread".to_owned(), ""))
    }

    /// Writes down what pipelines could not read.
    pub fn tell_lost(&self, gaps: &Ledger) {
        for records in self.journal.take_lost() {
            // What is older than all there is was given up, if that may be.
            let is_older = records.end <= self.journal.first_seq();
            let (reason, what) = match (is_older, self.config.when_full) {
                (true, WhenFull::DropOldest) => (Reason::Dropped, "the journal was full"),
                (true, WhenFull::Wait) => (Reason::Damaged, "they are missing"),
                (false, _) => (Reason::Damaged, "they are damaged"),
            };
            tell_lost(&self.journal, gaps, records, reason, what);
        }
    }

    /// Gives up the places of pipelines that are not there any more.
    pub fn release_others(&mut self, is_there: &dyn Fn(&str) -> bool) {
        let gone = self.store.cursors().into_iter().filter(|(name, _)| !is_there(name));
        for (pipeline, cursor) in gone.collect::<Vec<_>>() {
            if self.saved.remove(&pipeline).is_some() {
                let records = self.journal.next_seq().saturating_sub(cursor.max(1));
                tracing::warn!(
                    pipeline,
                    records,
                    "is not configured any more; its place in the journal is given up, with the \
                     records that came after what it had delivered"
                );
            } else {
                tracing::info!(pipeline, "its place in the journal is given up");
            }
            self.release(&pipeline);
        }
    }

    /// A pipeline that is not known from here on is new.
    pub fn has_started(&mut self) {
        self.is_forgetful = false;
        self.saved.clear();
    }

    /// Where a pipeline begins, and what was kept of it. One that is new is noted, so that nothing is let
    /// go that it has not taken, even if it never comes to a commit; `is_heir`: while another of its name
    /// drains, what is noted is that one's.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn kept(&mut self, config: &PipelineConfig, is_heir: bool) -> Result<Kept, StartError> {
        if is_heir {
            let store = Arc::clone(&self.store);
            let saved = Saved { cursor: self.journal.next_seq(), ..Saved::default() };
            let every = self.config.commit_every;
            return Ok(Kept { store, saved, begins_later: true, is_heir, every });
        }
        let oldest = config.begin == Begin::Oldest || self.is_forgetful;
        let known = self.saved.remove(&config.name);
        // One of which nothing can be read takes all there is; that is noted too, so that nothing is let
        // go before.
        let oldest = oldest || known.is_some();
        let known = known.filter(|saved| saved.cursor > 0);
        let begins_later = known.is_none() && !oldest;
        let saved = match known {
            Some(saved) => saved,
            None => self.first_commit(&config.name, oldest)?,
        };
        let first = self.journal.first_seq();
        if saved.cursor > 0 && saved.cursor < first {
            let (pipeline, lost) = (&config.name, first - saved.cursor);
            tracing::error!(pipeline, lost, "what it is to go on with is not in the journal");
        }
        let store = Arc::clone(&self.store);
        Ok(Kept { store, saved, begins_later, is_heir, every: self.config.commit_every })
    }

    fn first_commit(&self, name: &str, oldest: bool) -> Result<Saved, StartError> {
        let cursor = if oldest { self.journal.first_seq() } else { self.journal.next_seq() };
        let commit = Commit {
            pipeline: name.to_owned(),
            number: self.store.number(name) + 1,
            cursor,
            time: now_micros(),
            is_whole: true,
            ..Commit::default()
        };
        let saved = Saved { cursor, number: commit.number, ..Saved::default() };
        let deadline = Instant::now() + NOTE_WITHIN;
        let noted = self.store.write(Record::Commit(commit), &|| Instant::now() >= deadline);
        noted.map_err(|error| {
            let trouble = self.store.trouble().unwrap_or_default();
            StartError::Unusable(format!("pipeline {name:?} cannot be noted: {error} {trouble}"))
        })?;
        Ok(saved)
    }

    fn release(&self, pipeline: &str) {
        let release = Record::Released { pipeline: pipeline.to_owned() };
        if let Err(error) = self.store.write(release, &|| true) {
            tracing::warn!(pipeline, %error, "that its place is given up could not be noted");
        }
    }

    /// Lets go of what is not needed, and tells of what is wrong.
    ///
    /// # Errors
    /// What will never work again.
    pub fn look_after(&mut self) -> Result<(), String> {
        if let Some(died) = self.journal.died().or_else(|| self.store.died()) {
            return Err(died);
        }
        self.carry()?;
        let floor = self.store.journal_floor().unwrap_or(u64::MAX);
        let room = self.retention.look(&self.journal, floor, now_micros());
        if let Room::Dropped(lost) = &room {
            tracing::error!(
                from = lost.start,
                to = lost.end - 1,
                "the journal is full: records were given up that not every pipeline has taken"
            );
            // Told now: who has not taken them may not come to it for long.
            let taken = self.store.cursors().into_values().min();
            let from = lost.start.max(taken.unwrap_or(lost.start));
            if from < lost.end {
                self.journal.note_lost(from..lost.end);
            }
        }
        self.store.set_hurried(self.retention.is_scarce(&self.journal, floor));
        let trouble = self.journal.disk_trouble().or_else(|| self.store.trouble());
        // What exactly is tried changes; that it fails is told once.
        let now = Told { has_trouble: trouble.is_some(), is_full: room == Room::Full };
        if now == self.told {
            return Ok(());
        }
        match (&trouble, now.is_full) {
            (_, true) => tracing::error!("sources stop reading: {}", self.view().full()),
            (Some(trouble), _) => {
                tracing::error!(
                    "{trouble}: sources stop reading until it works again\nhint: {DISK_HINT}"
                )
            }
            (None, false) => tracing::info!("the journal is written again"),
        }
        self.told = now;
        Ok(())
    }

    /// Has the store carry forward what is left behind. That may read much of it, so it is done beside,
    /// and the more seldom the longer it takes.
    ///
    /// # Errors
    /// The thread has died.
    fn carry(&mut self) -> Result<(), String> {
        if let Some(carrying) = &self.carrying {
            match carrying.try_recv() {
                Ok(took) => {
                    self.carry_at = Instant::now() + (took * CARRY_REST).min(MOST_CARRY_REST);
                    self.carrying = None;
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    return Err("the thread that carries the store forward has died".to_owned());
                }
            }
        }
        if Instant::now() < self.carry_at {
            return Ok(());
        }
        let (done, carrying) = mpsc::channel();
        let store = Arc::clone(&self.store);
        let thread = std::thread::Builder::new().name("carry".to_owned());
        let started = thread.spawn(move || {
            let begun = Instant::now();
            if let Err(error) = store.carry(CARRY_AFTER) {
                tracing::error!(%error, "the store cannot be read; it is tried again");
            }
            // The host may have ended meanwhile.
            let _ = done.send(begun.elapsed());
        });
        match started {
            Ok(_) => self.carrying = Some(carrying),
            Err(error) => {
                tracing::warn!(%error, "no thread is to be had; it is tried again");
                self.carry_at = Instant::now() + MOST_CARRY_REST;
            }
        }
        Ok(())
    }

    /// What is shown of it.
    pub fn view(&self) -> DurableView {
        DurableView {
            journal: Arc::clone(&self.journal),
            journal_limit: self.config.max_size,
            store: Arc::clone(&self.store),
        }
    }

    /// What survives what, in plain words.
    pub fn guarantee(&self) -> String {
        let within = match self.config.group_wait.as_millis() {
            0 => "while the group before was synced".to_owned(),
            wait => format!("within the last {wait} ms and one sync"),
        };
        let limit = size_text(self.config.max_size);
        let then = match self.config.when_full {
            WhenFull::Wait => "sources stop reading (wait)",
            WhenFull::DropOldest => {
                "the oldest is given up, and is a gap and a dead letter (drop-oldest)"
            }
        };
        format!(
            "journal: what counts as received is on disk and survives a crash of this process, of the \
             machine, a full disk, and a sink that is away, up to {limit}; then {then}. What may be lost with \
             the process is what was read {within}, or up to 8 MiB while the disk does not write, what a second \
             connection holds until the first is done, and what waits in the kernel"
        )
    }

    /// Makes all durable, within a time.
    pub fn close(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let left = || until.saturating_duration_since(Instant::now());
        if let Err(error) = self.journal.close(left()) {
            tracing::error!("{error}");
        }
        if let Err(error) = self.store.close(left()) {
            tracing::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Chunk, Frame, Origin};

    #[test]
    fn a_pipeline_of_which_nothing_can_be_read_takes_all_there_is_and_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = JournalConfig::default();
        {
            let durable = Durable::open(dir.path(), &config).unwrap();
            let origin = Arc::new(Origin { source: "hq".into(), stream: "t".into() });
            let frames = (0..7).map(|n| Frame::binary(vec![n])).collect();
            durable.journal.try_put(&Chunk::new(origin, frames)).unwrap();
            // What came before this one is not there.
            let commit =
                Commit { pipeline: "main".to_owned(), number: 5, cursor: 6, ..Commit::default() };
            durable.store.write(Record::Commit(commit), &|| false).unwrap();
            durable.close(Duration::from_secs(60));
        }
        let mut durable = Durable::open(dir.path(), &config).unwrap();
        assert_eq!(durable.journal.found().damage, []);
        assert_eq!((durable.journal.first_seq(), durable.journal.next_seq()), (1, 8));
        let pipeline = PipelineConfig {
            name: "main".to_owned(),
            from: vec!["hq".to_owned()],
            through: None,
            to: Vec::new(),
            begin: Begin::Now,
        };
        let kept = durable.kept(&pipeline, false).unwrap();
        assert_eq!((kept.saved.cursor, kept.begins_later), (1, false));
        assert_eq!(durable.store.journal_floor(), Some(1));
    }

    #[test]
    fn what_is_promised_is_as_it_is_configured() {
        let promise = |config: JournalConfig| {
            let dir = tempfile::tempdir().unwrap();
            let durable = Durable::open(dir.path(), &config).unwrap();
            let promise = durable.guarantee();
            durable.close(Duration::from_secs(60));
            promise
        };
        let text = promise(JournalConfig::default());
        assert!(
            text.contains("a full disk, and a sink that is away, up to 8 GiB; then sources stop")
        );
        assert!(text.contains("within the last 5 ms and one sync"), "{text}");
        let text = promise(JournalConfig {
            when_full: WhenFull::DropOldest,
            max_size: 96 << 20,
            group_wait: Duration::ZERO,
            ..JournalConfig::default()
        });
        assert!(text.contains("up to 96 MiB; then the oldest is given up, and is a gap"), "{text}");
        assert!(!text.contains("0 ms"), "{text}");
    }
}
