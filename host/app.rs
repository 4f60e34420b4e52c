//! The composition root: everything is built here from the configuration, started, and stopped in
//! order. Nothing imports this but `cli` and tests. Key type: [`App`].

mod data_dir;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::data_dir::{open_in, own_data_dir, write_whole};
use crate::alert::{Alert, Board};
use crate::config::{BUILT_IN_SOURCE, Config, SourceConfig, SourceKind, SubscriberId};
use crate::dead_letter::{Appender, DeadLetter, DeadLetters};
use crate::decode::{Decoder, Registry};
use crate::meter::ReloadMeter;
use crate::pipeline::{Input, Pending, Pipeline, Shared};
use crate::plugin::{Change, Compiler, Engine, Folder, Loader};
use crate::runner::Reason;
use crate::sink;
use crate::source::central::{Central, WINDOW, kept_id};
use crate::source::{BuiltIn, Replay, SharedStatus};
use crate::tally::Counts;
use crate::telemetry::{self, PipelineView, SinkView, StatusReport, View};
use crate::text::now_micros;

/// How long stopping may take before what is left stays in flight; `run` ends within 10 s.
const GRACE: Duration = Duration::from_secs(7);
/// How long threads may take to notice that.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// How often the host looks at least whether all of it is alive.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why the host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory, a file or a port is not to be had.
    #[error("{what}: {source}{}", hint_line(.hint))]
    Environment {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
        /// The likely fix; may be empty.
        hint: &'static str,
    },
    /// Something that was configured cannot be had.
    #[error("{0}")]
    Unusable(String),
}

fn hint_line(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") }
}

fn environment(what: String, hint: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Environment { what, source, hint }
}

/// The host, running.
pub struct App {
    sources: JoinSet<Result<(), String>>,
    /// Whether there is a source that does not end by itself.
    is_endless: bool,
    stop_sources: CancellationToken,
    leave: CancellationToken,
    /// Ends all waiting at once.
    stop: CancellationToken,
    /// Tells those who watch that the host is about to end.
    ending: CancellationToken,
    pipelines: Vec<Pipeline>,
    inputs: BTreeMap<String, Input>,
    news: Arc<News>,
    folder: Folder,
    server: tokio::task::JoinHandle<()>,
    fatal: mpsc::Receiver<String>,
    listen_file: std::path::PathBuf,
    view: View,
    /// Where the server listens.
    pub address: std::net::SocketAddr,
    _lock: File,
}

impl App {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// What cannot be had.
    pub async fn start(config: &Config) -> Result<App, StartError> {
        let started = now_micros();
        let lock = own_data_dir(&config.data_dir)?;
        let hint = "another port, or port 0 for any free one: listen = \"127.0.0.1:0\"";
        let cannot = |what: &str| environment(format!("cannot {what} {}", config.listen), hint);
        let listener = TcpListener::bind(config.listen).await.map_err(cannot("listen on"))?;
        let address = listener.local_addr().map_err(cannot("listen on"))?;
        let dead_letters = open_in(&config.data_dir, "dead-letters.jsonl", DeadLetters::open)?;
        let alerts = open_in(&config.data_dir, "alerts.jsonl", Appender::open)?;
        let registry = Arc::new(Registry::built_in());
        let (leave, stop) = (CancellationToken::new(), CancellationToken::new());
        let (pending, inputs, sinks) = make_pipelines(config)?;
        let news = Arc::new(News {
            source: Mutex::new(Some(BuiltIn::new(
                inputs_for(config, &inputs, BUILT_IN_SOURCE),
                Arc::clone(&registry),
            ))),
            alerts,
            dead_letters: Arc::new(dead_letters),
            reloads: Arc::default(),
            runtime: Handle::current(),
            stop: stop.clone(),
        });

        let folder = start_folder(config, &news, &stop)?;
        let board = Arc::new(Board::default());
        let (fatal_sender, fatal) = mpsc::channel(1);
        let shown_fatal = Arc::new(OnceLock::new());
        let shared = Shared {
            decoder: Decoder::new(registry),
            plugins: folder.plugins(),
            dead_letters: Arc::clone(&news.dead_letters),
            board: Arc::clone(&board),
            announce: {
                let news = Arc::clone(&news);
                Arc::new(move |alerts| news.tell_alerts(alerts))
            },
            on_fatal: {
                let shown = Arc::clone(&shown_fatal);
                Arc::new(move |why: &str| {
                    // One reason to stop is enough.
                    let _ = shown.set(why.to_owned());
                    let _ = fatal_sender.try_send(why.to_owned());
                })
            },
            runtime: Handle::current(),
            leave: leave.clone(),
            stop: stop.clone(),
        };
        let mut pipelines = Vec::new();
        for pipeline in pending {
            let no_thread = environment("cannot start a thread".to_owned(), "");
            pipelines.push(pipeline.start(shared.clone()).map_err(no_thread)?);
        }

        let mut sources = JoinSet::new();
        let stop_sources = CancellationToken::new();
        let statuses = start_sources(config, &inputs, &mut sources, &stop_sources)?;
        let is_endless = config.sources.is_empty()
            || config.sources.iter().any(|s| matches!(s.kind, SourceKind::Central(_)));

        let listen_file = config.data_dir.join("listen.addr");
        write_whole(&listen_file, format!("{address}\n").as_bytes())
            .map_err(environment(format!("cannot write {}", listen_file.display()), ""))?;
        let ending = CancellationToken::new();
        let view = View {
            started,
            pipelines: pipelines.iter().map(PipelineView::from).collect(),
            streams: statuses.into(),
            sinks: sinks.into(),
            plugins: folder.plugins(),
            reloads: Arc::clone(&news.reloads),
            board,
            dead_letters: Arc::clone(&news.dead_letters),
            ending: ending.clone(),
            fatal: shown_fatal,
        };
        let server = tokio::spawn(telemetry::serve(listener, view.clone(), stop.clone()));
        tracing::info!(%address, data_dir = %config.data_dir.display(), "started");
        Ok(App {
            sources,
            is_endless,
            stop_sources,
            leave,
            stop,
            ending,
            pipelines,
            inputs,
            news,
            folder,
            server,
            fatal,
            listen_file,
            view,
            address,
            _lock: lock,
        })
    }

    /// How it is doing; may be asked at any time.
    pub fn reporter(&self) -> impl Fn() -> StatusReport + Send + use<> {
        let view = self.view.clone();
        move || StatusReport::new(&view)
    }

    /// Waits for the end of all sources, where they have one, and of the pipelines after them. Calls
    /// `beat` this often, each time after it has seen that all of the host is alive.
    ///
    /// # Errors
    /// Something that the host cannot go on after.
    pub async fn ended(&mut self, every: Duration, mut beat: impl FnMut()) -> Result<(), String> {
        let every = every.min(LOOK_EVERY);
        let mut clock = tokio::time::interval(every);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(why) = self.fatal.recv() => return Err(why),
                ended = self.sources.join_next(), if !(self.is_endless && self.sources.is_empty()) => {
                    match ended {
                        None => break,
                        Some(Ok(ended)) => ended?,
                        Some(Err(error)) => return Err(format!("a source's task failed: {error}")),
                    }
                }
                _ = clock.tick() => {
                    if let Some(dead) = self.pipelines.iter().find(|p| p.is_finished()) {
                        return Err(format!("pipeline {:?} ended by itself", dead.name));
                    }
                    if self.folder.is_finished() {
                        return Err("the thread that loads plugins ended by itself".to_owned());
                    }
                    if self.server.is_finished() {
                        return Err("the HTTP server ended by itself".to_owned());
                    }
                    beat();
                }
            }
        }
        self.ending.cancel();
        // For as long as it takes: one that is held waits for its plugins. Then those that tell of
        // what the others did.
        self.inputs.clear();
        let (built_in, others): (Vec<_>, Vec<_>) =
            self.pipelines.iter().partition(|pipeline| pipeline.is_built_in);
        let all_ended = async {
            wait_for(&others, None).await;
            self.news.close();
            wait_for(&built_in, None).await;
        };
        tokio::pin!(all_ended);
        loop {
            tokio::select! {
                Some(why) = self.fatal.recv() => return Err(why),
                () = &mut all_ended => return Ok(()),
                _ = clock.tick() => beat(),
            }
        }
    }

    /// Stops in order: sources, pipelines, those that tell of alerts, plugins. What has not ended
    /// within the time of grace stays in flight.
    pub async fn stop(mut self) -> Counts {
        let deadline = Instant::now() + GRACE;
        self.ending.cancel();
        self.stop_sources.cancel();
        self.leave.cancel();
        let sources = async { while self.sources.join_next().await.is_some() {} };
        if tokio::time::timeout_at(deadline, sources).await.is_err() {
            tracing::warn!("streams did not end in time");
            self.sources.abort_all();
        }
        self.inputs.clear();
        let (built_in, others): (Vec<_>, Vec<_>) =
            self.pipelines.iter().partition(|pipeline| pipeline.is_built_in);
        wait_for(&others, Some(deadline)).await;
        self.news.close();
        wait_for(&built_in, Some(deadline)).await;
        self.stop.cancel();
        let all: Vec<_> = self.pipelines.iter().collect();
        wait_for(&all, Some(Instant::now() + LAST_GRACE)).await;
        let total = self.pipelines.iter().map(|pipeline| pipeline.tally.counts()).sum();
        for pipeline in self.pipelines {
            let name = pipeline.name.clone();
            if !pipeline.is_finished() {
                tracing::warn!(pipeline = name, "did not end in time");
            } else if !pipeline.join() {
                tracing::error!(pipeline = name, "had died of a fault of the host's");
            }
        }
        self.server.abort();
        if let Err(error) = std::fs::remove_file(&self.listen_file) {
            tracing::debug!(%error, "listen.addr was gone");
        }
        // Loading a large plugin can take seconds; nobody waits for that now.
        let folder = self.folder;
        std::thread::spawn(move || drop(folder));
        total
    }
}

async fn wait_for(pipelines: &[&Pipeline], deadline: Option<Instant>) {
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    while !is_over() && pipelines.iter().any(|pipeline| !pipeline.is_finished()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type Made = (Vec<Pending>, BTreeMap<String, Input>, Vec<SinkView>);

fn make_pipelines(config: &Config) -> Result<Made, StartError> {
    let mut sinks = BTreeMap::new();
    for sink in &config.sinks {
        let opened = sink::open(sink).map_err(StartError::Unusable)?;
        sinks.insert(sink.name.as_str(), opened);
    }
    let mut pending = Vec::new();
    let mut inputs = BTreeMap::new();
    for pipeline in &config.pipelines {
        let to = pipeline.to.iter().filter_map(|name| sinks.get(name.as_str()).cloned()).collect();
        let (made, input) = Pending::new(pipeline.clone(), to);
        pending.push(made);
        inputs.insert(pipeline.name.clone(), input);
    }
    let sinks = sinks.values().map(SinkView::from).collect();
    Ok((pending, inputs, sinks))
}

fn inputs_for(config: &Config, inputs: &BTreeMap<String, Input>, source: &str) -> Vec<Input> {
    let takers = config.pipelines.iter().filter(|p| p.from.iter().any(|from| from == source));
    takers.filter_map(|pipeline| inputs.get(&pipeline.name).cloned()).collect()
}

fn start_sources(
    config: &Config,
    inputs: &BTreeMap<String, Input>,
    tasks: &mut JoinSet<Result<(), String>>,
    stop: &CancellationToken,
) -> Result<Vec<SharedStatus>, StartError> {
    let mut statuses = Vec::new();
    let streams: usize = config.sources.iter().map(SourceConfig::stream_count).sum();
    let window = WINDOW / streams.max(1);
    for SourceConfig { name, kind } in &config.sources {
        let outputs = inputs_for(config, inputs, name);
        if outputs.is_empty() {
            tracing::warn!(source = name, "no pipeline takes from it; it is not connected");
            continue;
        }
        match kind {
            SourceKind::Central(central) => {
                let mut central = (**central).clone();
                if central.subscriber_id == SubscriberId::Kept {
                    let what = format!("cannot keep the Subscriber-Id of source.{name}");
                    let id = kept_id(&config.data_dir, name).map_err(environment(what, ""))?;
                    central.subscriber_id = SubscriberId::Given(id);
                }
                let central = Central::new(name, central, outputs)
                    .map_err(|error| StartError::Unusable(error.to_string()))?
                    .with_window(window);
                statuses.extend(central.start(tasks, stop));
            }
            SourceKind::Replay { path, stream } => {
                let replay = Replay::new(name, path.clone(), stream, outputs);
                let (stop, name, path) = (stop.clone(), name.clone(), path.clone());
                tasks.spawn(async move {
                    let ended = replay.run(stop).await;
                    ended.map_err(|error| format!("source.{name}: {}: {error}", path.display()))
                });
            }
        }
    }
    Ok(statuses)
}

fn start_folder(
    config: &Config,
    news: &Arc<News>,
    stop: &CancellationToken,
) -> Result<Folder, StartError> {
    let engine = Engine::new().map_err(|error| StartError::Unusable(format!("{error:#}")))?;
    let cache = config.data_dir.join("cache");
    let loader = Loader {
        compiler: Compiler::new(engine, Some(&cache)),
        runtime: Handle::current(),
        stop: stop.clone(),
    };
    let news = Arc::clone(news);
    Folder::start(&config.plugin_dir, loader, move |change| news.tell_change(change)).map_err(
        environment(format!("cannot use the plugin directory {}", config.plugin_dir.display()), ""),
    )
}

/// What the host tells of itself: to files, to the log, and to pipelines that take from `trommel`.
struct News {
    source: Mutex<Option<BuiltIn>>,
    alerts: Appender,
    dead_letters: Arc<DeadLetters>,
    reloads: Arc<ReloadMeter>,
    runtime: Handle,
    stop: CancellationToken,
}

impl News {
    fn source(&self) -> Option<BuiltIn> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the pipelines that take from `trommel`, so that they can end.
    fn close(&self) {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Called on a pipeline's thread, which waits while there is no room: none of them takes from
    /// `trommel`, so none waits for itself.
    fn tell_alerts(&self, alerts: Vec<Alert>) {
        let Some(source) = self.source() else { return };
        let frames: Vec<_> = alerts
            .iter()
            .map(|alert| source.event("trommel.alert", &alert.subject, &alert.data))
            .collect();
        let lines: String = frames.iter().map(|frame| source.line(frame)).collect();
        for alert in &alerts {
            let said = |name: &str| alert.data[name].as_str().unwrap_or_default().to_owned();
            let (edge, severity) = (said("edge"), said("severity"));
            tracing::warn!(key = alert.subject, severity, "alert {edge}: {}", said("summary"));
        }
        while let Err(error) = self.alerts.append(lines.as_bytes()) {
            tracing::error!(%error, "alerts.jsonl cannot be written; the pipeline waits");
            let wait = tokio::time::sleep(Duration::from_secs(1));
            if self.runtime.block_on(self.stop.run_until_cancelled(wait)).is_none() {
                break;
            }
        }
        self.runtime.block_on(self.stop.run_until_cancelled(source.send(frames)));
    }

    /// Called on the thread that loads plugins, which must never wait for a pipeline: that pipeline
    /// may be waiting for a plugin.
    fn tell_change(&self, change: Change) {
        let count = match &change {
            Change::Loaded(_) => &self.reloads.loaded,
            Change::Failed { .. } => &self.reloads.failed,
            Change::Removed(_) => &self.reloads.removed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let (subject, data) = match change {
            Change::Loaded(info) => {
                let (plugin, version, role) = (&info.name, &info.version, info.role.name());
                tracing::info!(plugin, version, role, "plugin loaded");
                let data = serde_json::json!({
                    "action": "loaded",
                    "plugin": info.name,
                    "version": info.version,
                    "role": role,
                    "sha256": info.sha256,
                });
                (info.name.clone(), data)
            }
            Change::Failed { name, error, is_served } => {
                let still = if is_served { "; the version before goes on serving" } else { "" };
                tracing::error!(plugin = name, "plugin {error}{still}");
                let data = serde_json::json!({
                    "action": "failed", "plugin": name, "error": error, "served": is_served,
                });
                (name, data)
            }
            Change::Removed(name) => {
                tracing::warn!(plugin = name, "plugin removed");
                let data = serde_json::json!({ "action": "removed", "plugin": name });
                (name, data)
            }
        };
        let Some(source) = self.source() else { return };
        let frame = source.event("trommel.reload", &subject, &data);
        let without_room = source.try_send(&frame);
        if without_room > 0 {
            self.no_room(&source, &frame, without_room);
        }
    }

    fn no_room(&self, source: &BuiltIn, frame: &crate::frame::Frame, pipelines: usize) {
        let letter = DeadLetter {
            reason: Reason::Limit,
            detail: format!("{pipelines} pipelines had no room for an event of trommel's own"),
            pipeline: BUILT_IN_SOURCE.to_owned(),
            plugin: String::new(),
            version: String::new(),
            event: Some(source.line(frame).trim_end().to_owned()),
            raw: None,
        };
        if let Err(error) = self.dead_letters.write(&[letter]) {
            tracing::error!(%error, "a dead letter cannot be written");
        }
    }
}
