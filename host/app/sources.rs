//! The sources that run, and how they become those of another configuration: a stream that did not
//! change keeps its connection. Key type: [`Sources`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::recall::Memories;
use super::{StartError, environment};
use crate::config::{CentralConfig, Config, SourceConfig, SourceKind, StreamConfig, SubscriberId};
use crate::gap::{Ledger, Tail};
use crate::pipeline::{Input, Outputs};
use crate::source::central::{Central, Memory, WINDOW, kept_id};
use crate::source::{Replay, SharedStatus};

/// Why what a server sends is missed while a stream reconnects.
const RECONFIGURED: &str = "the configuration changed, so the old connection was closed first";

/// All sources.
pub(super) struct Sources {
    tasks: JoinSet<Result<(), String>>,
    /// Whether there is one that does not end by itself.
    is_endless: bool,
    stop: CancellationToken,
    data_dir: PathBuf,
    running: BTreeMap<String, Running>,
    gaps: Arc<Ledger>,
    /// What is remembered of each stream, whoever connects it.
    memories: BTreeMap<(String, String), Arc<Memory>>,
    /// Streams that were told to end, until they have.
    ending: Vec<Ending>,
}

struct Running {
    /// As configured, but for the streams.
    kind: SourceKind,
    outputs: Outputs,
    /// `None` for a replay.
    central: Option<Central>,
    /// A replay is one stream without a status.
    streams: Vec<Stream>,
}

struct Stream {
    config: StreamConfig,
    status: Option<SharedStatus>,
    stop: CancellationToken,
    /// Cancelled once its task has ended, however it did.
    ended: CancellationToken,
}

/// A stream that hands on what it has read, and ends.
struct Ending {
    source: String,
    stream: String,
    ended: CancellationToken,
    /// Whether it was connected, and nobody keeps what is sent until another is.
    leaves_gap: bool,
}

/// Sources that are ready to start, by name.
pub(super) struct Plan(BTreeMap<String, Central>);

impl Sources {
    pub fn new(data_dir: &Path, gaps: Arc<Ledger>) -> Self {
        Sources {
            tasks: JoinSet::new(),
            is_endless: true,
            stop: CancellationToken::new(),
            data_dir: data_dir.to_owned(),
            running: BTreeMap::new(),
            gaps,
            memories: BTreeMap::new(),
            ending: Vec::new(),
        }
    }

    /// Makes what is new, without connecting it.
    ///
    /// # Errors
    /// What cannot be had.
    pub fn prepare(&self, config: &Config) -> Result<Plan, StartError> {
        let mut made = BTreeMap::new();
        for SourceConfig { name, kind } in &config.sources {
            let SourceKind::Central(central) = kind else { continue };
            let running = self.running.get(name);
            if running.is_some_and(|running| running.kind == without_streams(kind)) {
                continue;
            }
            let outputs = running.map(|running| running.outputs.clone()).unwrap_or_default();
            made.insert(name.clone(), self.make(name, central, outputs)?);
        }
        Ok(Plan(made))
    }

    /// Has the streams of a configuration be remembered, within what all of them together may take;
    /// gives back those that were not before. They are connected once they are ready. Of others only
    /// their gap stays: they may still be ending, or come back.
    pub fn remember(&mut self, config: &Config) -> Memories {
        let mut streams = Vec::new();
        for SourceConfig { name, kind } in &config.sources {
            if matches!(kind, SourceKind::Central(_)) {
                let of_source = streams_of(kind).into_iter();
                streams.extend(of_source.map(|stream| (name.clone(), stream.name)));
            }
        }
        let events = WINDOW / streams.len().max(1);
        for (key, memory) in &self.memories {
            memory.resize(if streams.contains(key) { events } else { 1 });
        }
        let mut added = Memories::new();
        for key in streams {
            if !self.memories.contains_key(&key) {
                let memory = Memory::new(Some(Arc::clone(&self.gaps)), &key.0, &key.1, events);
                self.memories.insert(key.clone(), Arc::clone(&memory));
                added.push((key, memory));
            }
        }
        added
    }

    fn make(
        &self,
        name: &str,
        config: &CentralConfig,
        outputs: Outputs,
    ) -> Result<Central, StartError> {
        let mut config = config.clone();
        if config.subscriber_id == SubscriberId::Kept {
            let what = format!("cannot keep the Subscriber-Id of source.{name}");
            let id = kept_id(&self.data_dir, name).map_err(environment(what, ""))?;
            config.subscriber_id = SubscriberId::Given(id);
        }
        Central::new(name, config, outputs).map_err(|error| StartError::Unusable(error.to_string()))
    }

    /// Has a plan take effect: what is gone is stopped and hands on what it has read, what changed
    /// follows once the one before has ended, and what did not change sees to it that frames go to the
    /// pipelines there are now.
    pub fn commit(&mut self, config: &Config, plan: Plan, inputs: impl Fn(&str) -> Vec<Input>) {
        self.is_endless = config.sources.is_empty()
            || config.sources.iter().any(|s| matches!(s.kind, SourceKind::Central(_)));
        for (_, memory) in self.remember(config) {
            memory.gaps.resume(Tail::default());
            memory.set_ready();
        }
        let Plan(mut made) = plan;
        self.ending.retain(|stream| !stream.ended.is_cancelled());
        let mut before = std::mem::take(&mut self.running);
        for SourceConfig { name, kind } in &config.sources {
            let inputs = inputs(name);
            if inputs.is_empty() {
                tracing::warn!(source = name, "no pipeline takes from it; it is not connected");
                continue;
            }
            let next = self.follow(name, kind, before.remove(name), made.remove(name));
            next.outputs.set(inputs);
            let next = self.start(name, kind, next);
            self.running.insert(name.clone(), next);
        }
        // These keep their outputs until they have ended: what they have read is handed on.
        for (name, gone) in before {
            for stream in gone.streams {
                self.end(&name, &stream, true);
            }
        }
    }

    /// Tells a stream to end.
    fn end(&mut self, source: &str, stream: &Stream, leaves_gap: bool) {
        let is_up = stream.status.as_ref().is_some_and(|status| status.get().state.is_up());
        stream.stop.cancel();
        self.ending.push(Ending {
            source: source.to_owned(),
            stream: stream.config.name.clone(),
            ended: stream.ended.clone(),
            leaves_gap: leaves_gap && is_up,
        });
    }

    /// What a source goes on with: the streams that did not change; the others are told to end.
    fn follow(
        &mut self,
        name: &str,
        kind: &SourceKind,
        before: Option<Running>,
        made: Option<Central>,
    ) -> Running {
        let bare = without_streams(kind);
        let Some(before) = before else {
            let outputs = made.as_ref().map(|made| made.outputs().clone()).unwrap_or_default();
            return Running { kind: bare, outputs, central: made, streams: Vec::new() };
        };
        let is_same = before.kind == bare;
        let wanted = streams_of(kind);
        for stream in &before.streams {
            if !(is_same && wanted.contains(&stream.config)) {
                self.end(name, stream, !shares_id(&before.kind, kind));
            } else if stream.ended.is_cancelled() && before.central.is_some() {
                let (source, stream) = (name, &stream.config.name);
                tracing::info!(source, stream, "had been given up, and is tried again");
            }
        }
        let central = if is_same { before.central } else { made };
        Running { kind: bare, outputs: before.outputs, central, streams: before.streams }
    }

    /// Starts the streams that do not run, each after the one of its name before it.
    fn start(&mut self, name: &str, kind: &SourceKind, mut source: Running) -> Running {
        let before = std::mem::take(&mut source.streams);
        for config in streams_of(kind) {
            let known: Vec<&Stream> =
                before.iter().filter(|stream| stream.config.name == config.name).collect();
            let is_over = |stream: &Stream| {
                stream.stop.is_cancelled()
                    || (source.central.is_some() && stream.ended.is_cancelled())
            };
            if let Some(goes_on) = known.iter().find(|stream| !is_over(stream)) {
                source.streams.push(goes_on.again());
                continue;
            }
            let status = known.iter().find_map(|stream| stream.status.clone());
            let is_same = |old: &&Ending| old.source == name && old.stream == config.name;
            let before = self.ending.iter().filter(is_same);
            let leaves_gap = before.clone().any(|old| old.leaves_gap);
            let after: Vec<_> = before.map(|old| old.ended.clone()).collect();
            let (stop, ended) = (self.stop.child_token(), CancellationToken::new());
            let is_over = ended.clone().drop_guard();
            let status = match (kind, &source.central) {
                (SourceKind::Replay { path, stream }, _) => {
                    let outputs = source.outputs.clone();
                    let replay = Replay::new(name, path.clone(), stream, outputs);
                    let (stop, name, path) = (stop.clone(), name.to_owned(), path.clone());
                    self.tasks.spawn(async move {
                        let _is_over = is_over;
                        all_ended(after).await;
                        let ended = replay.run(stop).await;
                        ended.map_err(|error| format!("source.{name}: {}: {error}", path.display()))
                    });
                    None
                }
                (SourceKind::Central(_), Some(central)) => {
                    let status = status.unwrap_or_else(|| SharedStatus::new(name, &config.name));
                    let gap = leaves_gap.then(|| (status.clone(), name.to_owned()));
                    let key = (name.to_owned(), config.name.clone());
                    let Some(memory) = self.memories.get(&key).cloned() else { continue };
                    let ready = Arc::clone(&memory);
                    let stream =
                        central.stream(&config, memory, status.clone(), &self.stop, stop.clone());
                    self.tasks.spawn(async move {
                        let _is_over = is_over;
                        all_ended(after).await;
                        if let Some((status, source)) = gap {
                            status.change(|status| status.gaps += 1);
                            let stream = status.get().stream;
                            tracing::warn!(source, stream, "gap: {RECONFIGURED}");
                        }
                        ready.is_ready().await;
                        stream.await;
                        Ok(())
                    });
                    Some(status)
                }
                // One that is not running was made.
                (SourceKind::Central(_), None) => continue,
            };
            source.streams.push(Stream { config, status, stop, ended });
        }
        source
    }

    /// How the streams are doing.
    pub fn statuses(&self) -> Vec<SharedStatus> {
        let streams = self.running.values().flat_map(|source| &source.streams);
        streams.filter_map(|stream| stream.status.clone()).collect()
    }

    /// Waits for the end of any. `None` when there is nothing left to wait for.
    pub async fn next_end(&mut self) -> Option<Result<Result<(), String>, JoinError>> {
        match self.tasks.join_next().await {
            None if self.is_endless => std::future::pending().await,
            end => end,
        }
    }

    /// Tells all to end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end of all.
    pub async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Ends those that did not end in time.
    pub fn abort(&mut self) {
        self.tasks.abort_all();
    }

    /// Lets go of the ways into pipelines; tasks and threads that have not ended keep theirs.
    pub fn close(&mut self) {
        self.running.clear();
    }
}

impl Stream {
    fn again(&self) -> Stream {
        Stream {
            config: self.config.clone(),
            status: self.status.clone(),
            stop: self.stop.clone(),
            ended: self.ended.clone(),
        }
    }
}

/// Whether the streams of both have one `Subscriber-Id`: then the server keeps what comes meanwhile.
fn shares_id(before: &SourceKind, now: &SourceKind) -> bool {
    let (SourceKind::Central(before), SourceKind::Central(now)) = (before, now) else {
        return false;
    };
    before.subscriber_id != SubscriberId::Off && before.subscriber_id == now.subscriber_id
}

async fn all_ended(tasks: Vec<CancellationToken>) {
    for task in tasks {
        task.cancelled().await;
    }
}

fn without_streams(kind: &SourceKind) -> SourceKind {
    match kind {
        SourceKind::Central(central) => SourceKind::Central(Box::new(CentralConfig {
            streams: Vec::new(),
            ..(**central).clone()
        })),
        replay @ SourceKind::Replay { .. } => replay.clone(),
    }
}

fn streams_of(kind: &SourceKind) -> Vec<StreamConfig> {
    match kind {
        SourceKind::Central(central) => central.streams.clone(),
        SourceKind::Replay { stream, .. } => {
            vec![StreamConfig {
                name: stream.clone(),
                path: String::new(),
                event_types: Vec::new(),
            }]
        }
    }
}
