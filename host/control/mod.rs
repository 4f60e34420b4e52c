//! What a command has a running host do: dead letters dropped, or taken again. Asked over the HTTP
//! server of the host, by whoever can read `control.key` in its data directory. Key type: [`Control`].

mod key;
mod routes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use key::{Key, read_key};
pub use routes::router;

use crate::pipeline::{Progress, Redriven, Redriver};
use crate::store::{AppendError, LetterId, Select, Store};
use crate::swap::Swap;

/// Most requests to take dead letters again that are remembered.
const MAX_JOBS: usize = 64;
/// How long it may take until it is noted that dead letters are done with.
const NOTE_WITHIN: Duration = Duration::from_secs(10);

/// What a command can have a running host do.
pub struct Control {
    key: Key,
    store: Arc<Store>,
    /// The pipelines as they are now.
    pub pipelines: Swap<Redriver>,
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    last: u64,
    known: VecDeque<(u64, Vec<Progress>)>,
}

/// What dropping came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// How many are done with.
    pub dropped: u64,
    /// Ids that were named, and are of no dead letter.
    pub unknown: Vec<LetterId>,
}

/// Taking dead letters again has begun.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// By this number it is asked for.
    pub job: u64,
    /// Ids that were named, and are of no dead letter.
    pub unknown: Vec<LetterId>,
}

/// The dead letters that are meant, by pipeline, and ids that are of none.
type Found = (BTreeMap<String, BTreeSet<LetterId>>, Vec<LetterId>);

impl Control {
    /// Of a store and the pipelines that commit to it.
    pub fn new(key: Key, store: &Arc<Store>, pipelines: Vec<Redriver>) -> Control {
        Control {
            key,
            store: Arc::clone(store),
            pipelines: pipelines.into(),
            jobs: Mutex::default(),
        }
    }

    /// The secret by which it knows who may ask it.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Drops dead letters, and returns when that is durable. Blocks.
    fn drop_letters(&self, select: &Select) -> Result<Dropped, String> {
        let (found, unknown) = self.find(select)?;
        let ids: Vec<LetterId> = found.into_values().flatten().collect();
        let deadline = Instant::now() + NOTE_WITHIN;
        let noted = self.store.settle(&ids, &|| Instant::now() >= deadline);
        noted.map_err(|error: AppendError| match self.store.trouble() {
            Some(trouble) => format!("{error}: {trouble}"),
            None => error.to_string(),
        })?;
        tracing::info!(letters = ids.len(), "dead letters dropped");
        Ok(Dropped { dropped: ids.len() as u64, unknown })
    }

    /// Has pipelines take dead letters again. Blocks.
    fn redrive(&self, select: &Select) -> Result<Begun, String> {
        let (found, unknown) = self.find(select)?;
        let pipelines = self.pipelines.now();
        let ask = |(name, ids): (String, BTreeSet<LetterId>)| match pipelines
            .iter()
            .find(|redriver| redriver.pipeline == name)
        {
            Some(redriver) => redriver.ask(ids),
            None => {
                let progress = Progress::new(&name, ids.len() as u64);
                progress.refuse(ids, "the pipeline is not configured any more");
                progress
            }
        };
        let progress: Vec<Progress> = found.into_iter().map(ask).collect();
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.last += 1;
        let job = jobs.last;
        jobs.known.push_back((job, progress));
        if jobs.known.len() > MAX_JOBS {
            jobs.known.pop_front();
        }
        Ok(Begun { job, unknown })
    }

    /// What became of a request by now; `None` for one that is not known, or not any more.
    fn progress(&self, job: u64) -> Option<Vec<Redriven>> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, progress) = jobs.known.iter().find(|(number, _)| *number == job)?;
        Some(progress.iter().map(Progress::now).collect())
    }

    fn find(&self, select: &Select) -> Result<Found, String> {
        let mut found: BTreeMap<String, BTreeSet<LetterId>> = BTreeMap::new();
        for stored in self.store.letters().that_fit(select) {
            let stored = stored.map_err(|error| format!("the store cannot be read: {error}"))?;
            found.entry(stored.pipeline).or_default().insert(stored.id);
        }
        let unknown = select.ids.iter().filter(|id| !self.store.is_open(**id)).copied().collect();
        Ok((found, unknown))
    }
}
