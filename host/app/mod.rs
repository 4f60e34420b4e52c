//! The composition root: everything is built here from the configuration, started, and stopped in
//! order. Nothing imports this but `cli` and tests. Key type: [`App`].

mod data_dir;
mod durable;
mod news;
mod pipelines;
mod recall;
mod reload;
mod sources;

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub use self::data_dir::own_data_dir;
use self::data_dir::{Signs, forget, open_in, write_whole};
use self::durable::Durable;
use self::news::{News, Told};
use self::pipelines::Pipelines;
use self::sources::Sources;
use crate::alert::Board;
use crate::config::{BUILT_IN_SOURCE, Config, ConfigError};
use crate::control::{self, Control, Key};
use crate::dead_letter::{Appender, DeadLetters};
use crate::decode::{Decoder, Registry};
use crate::gap::Ledger;
use crate::pipeline::{Outputs, Pipeline, Shared};
use crate::plugin::{Compiler, Engine, Folder, Loader};
use crate::source::BuiltIn;
use crate::tally::Counts;
use crate::telemetry::{self, StatusReport, View};
use crate::timestamp::now_micros;

/// How long stopping may take before what is left stays in flight; `run` ends within 10 s.
const GRACE: Duration = Duration::from_secs(6);
/// How long threads may take to notice that.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// How long writing gaps may take at the end, and making all durable after that: besides what is left of
/// the time before.
const CLOSE_WITHIN: Duration = Duration::from_millis(750);
/// How often it is looked whether pipelines have drained.
const DRAINED_EVERY: Duration = Duration::from_millis(5);
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
    /// What it runs by now.
    config: Config,
    sources: Sources,
    pipelines: Pipelines,
    durable: Option<Durable>,
    /// Where something is kept that can be asked for.
    control: Option<Arc<Control>>,
    leave: CancellationToken,
    /// Ends all waiting at once.
    stop: CancellationToken,
    /// Tells those who watch that the host is about to end.
    ending: CancellationToken,
    news: Arc<News>,
    gaps: Arc<Ledger>,
    folder: Folder,
    server: tokio::task::JoinHandle<()>,
    fatal: mpsc::Receiver<String>,
    listen_file: std::path::PathBuf,
    signs: Signs,
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
        let listen_file = config.data_dir.join("listen.addr");
        forget(&listen_file);
        let hint = "another port, or port 0 for any free one: listen = \"127.0.0.1:0\"";
        let cannot = |what: &str| environment(format!("cannot {what} {}", config.listen), hint);
        let listener = TcpListener::bind(config.listen).await.map_err(cannot("listen on"))?;
        let address = listener.local_addr().map_err(cannot("listen on"))?;
        let dead_letters = open_in(&config.data_dir, "dead-letters.jsonl", DeadLetters::open)?;
        let alerts = open_in(&config.data_dir, "alerts.jsonl", Appender::open)?;
        let mut durable = match &config.journal {
            Some(journal) => Some(Durable::open(&config.data_dir, journal)?),
            None => None,
        };
        let registry = Arc::new(Registry::built_in());
        let (leave, stop) = (CancellationToken::new(), CancellationToken::new());
        let news = Arc::new(News {
            source: Mutex::new(Some(BuiltIn::new(Outputs::default(), Arc::clone(&registry)))),
            alerts: Arc::new(alerts),
            dead_letters: Arc::new(dead_letters),
            reloads: Arc::default(),
            runtime: Handle::current(),
            opened: CancellationToken::new(),
            stop: stop.clone(),
        });

        // Nothing is told before those who take from `trommel` are there.
        let (opened, gate) = std::sync::mpsc::channel();
        let folder = start_folder(config, &news, &stop, gate)?;
        // Dropped before the folder, which waits for its thread.
        let opened: std::sync::mpsc::Sender<()> = opened;
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
                Arc::new(move |pipeline: &str, alerts: &[_]| news.tell_alerts(pipeline, alerts))
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
        let mut pipelines = Pipelines::new(shared);
        let gaps = start_ledger(durable.as_ref(), &news)?;
        // Whoever waits for the host to have started waits no longer where it does not come to that.
        let unless_started = stop.clone().drop_guard();
        let mut sources = Sources::new(&config.data_dir, Arc::clone(&gaps));
        let streams = sources.prepare(config)?;
        let memories = sources.remember(config);
        match &durable {
            Some(durable) => durable.recall(memories, &gaps)?,
            None => memories.iter().for_each(|(_, memory)| memory.set_ready()),
        }
        let plan = pipelines.prepare(config, &mut durable)?;
        pipelines.commit(plan, durable.as_ref());
        news.tell_to(pipelines.inputs_for(BUILT_IN_SOURCE));
        drop(opened);
        news.opened.cancel();
        if let Some(durable) = &mut durable {
            durable.release_others(&|name| pipelines.has(name));
            durable.has_started();
        }
        sources.commit(config, streams, |source| pipelines.inputs_for(source));

        let mut signs = Signs::default();
        let control = match &durable {
            Some(durable) => {
                let key = open_in(&config.data_dir, "control.key", |_| Key::make(&config.data_dir));
                let control = Arc::new(Control::new(key?, &durable.store, pipelines.redrivers()));
                let (path, of) = (control.key().path().to_owned(), Arc::clone(&control));
                signs.put(path, Box::new(move |_| of.key().write()))?;
                Some(control)
            }
            None => None,
        };
        let text = format!("{address}\n");
        signs.put(listen_file.clone(), Box::new(move |at| write_whole(at, text.as_bytes())))?;
        let ending = CancellationToken::new();
        let view = View {
            started,
            pipelines: pipelines.views().into(),
            streams: sources.statuses().into(),
            sinks: pipelines.sink_views().into(),
            plugins: folder.plugins(),
            reloads: Arc::clone(&news.reloads),
            gaps: Arc::clone(&gaps),
            board,
            dead_letters: Arc::clone(&news.dead_letters),
            alerts: Arc::clone(&news.alerts),
            durable: durable.as_ref().map(Durable::view),
            ending: ending.clone(),
            fatal: shown_fatal,
        };
        let asked = control.clone().map(control::router).unwrap_or_default();
        let server = tokio::spawn(telemetry::serve(listener, view.clone(), asked, stop.clone()));
        match &durable {
            Some(durable) => tracing::info!("{}", durable.guarantee()),
            None => tracing::warn!("{}", durable::NO_JOURNAL),
        }
        tracing::info!(%address, data_dir = %config.data_dir.display(), "started");
        unless_started.disarm();
        Ok(App {
            config: config.clone(),
            sources,
            pipelines,
            durable,
            control,
            leave,
            stop,
            ending,
            news,
            gaps,
            folder,
            server,
            fatal,
            listen_file,
            signs,
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

    /// Has a configuration that was read again take effect, as a whole or not at all. Waits for
    /// nobody: what has to drain does so while the rest runs.
    pub fn reload(&mut self, read: Result<Config, ConfigError>) {
        if self.ending.is_cancelled() {
            tracing::warn!("the host is about to end; the configuration stays as it is");
            return;
        }
        let told = match read.map_err(|error| error.to_string()).and_then(|now| self.apply(now)) {
            Ok(changes) if changes.is_empty() => {
                tracing::info!("the configuration was read again; nothing is new");
                Told::Unchanged
            }
            Ok(changes) => {
                for change in &changes {
                    tracing::info!("configuration: {change}");
                }
                tracing::info!(changes = changes.len(), "the configuration has taken effect");
                Told::Applied(changes)
            }
            Err(error) => {
                tracing::error!("the configuration is wrong; all goes on as before: {error}");
                Told::Failed(error)
            }
        };
        self.news.tell_config(&told);
    }

    fn apply(&mut self, mut now: Config) -> Result<Vec<String>, String> {
        for key in reload::fixed(&self.config, &now) {
            tracing::warn!("configuration: {key} stays as it was until a restart");
        }
        now.data_dir.clone_from(&self.config.data_dir);
        now.plugin_dir.clone_from(&self.config.plugin_dir);
        now.listen = self.config.listen;
        now.journal.clone_from(&self.config.journal);
        let changes = reload::changes(&self.config, &now);
        let sources = self.sources.prepare(&now).map_err(|error| error.to_string())?;
        let pipelines =
            self.pipelines.prepare(&now, &mut self.durable).map_err(|error| error.to_string())?;
        self.pipelines.commit(pipelines, self.durable.as_ref());
        self.news.tell_to(self.pipelines.inputs_for(BUILT_IN_SOURCE));
        self.sources.commit(&now, sources, |source| self.pipelines.inputs_for(source));
        self.config = now;
        self.show();
        Ok(changes)
    }

    fn show(&self) {
        self.view.pipelines.set(self.pipelines.views());
        self.view.streams.set(self.sources.statuses());
        self.view.sinks.set(self.pipelines.sink_views());
        if let Some(control) = &self.control {
            control.pipelines.set(self.pipelines.redrivers());
        }
    }

    /// Waits for the end of all sources, where they have one, and of the pipelines after them. Calls
    /// `beat` this often, each time after it has seen that all of the host is alive. May be dropped
    /// and called again.
    ///
    /// # Errors
    /// Something that the host cannot go on after.
    pub async fn ended(&mut self, every: Duration, mut beat: impl FnMut()) -> Result<(), String> {
        let every = every.min(LOOK_EVERY);
        let mut clock = tokio::time::interval(every);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.ending.is_cancelled() {
            tokio::select! {
                Some(why) = self.fatal.recv() => return Err(why),
                ended = self.sources.next_end() => match ended {
                    None => self.ending.cancel(),
                    Some(Ok(ended)) => ended?,
                    Some(Err(error)) => return Err(format!("a source's task failed: {error}")),
                },
                _ = clock.tick() => {
                    self.look_after()?;
                    beat();
                }
            }
        }
        // For as long as it takes: one that is held waits for its plugins. Then those that tell of
        // what the others did.
        self.sources.close();
        self.pipelines.close();
        while !self.has_drained() {
            tokio::select! {
                Some(why) = self.fatal.recv() => return Err(why),
                () = tokio::time::sleep(DRAINED_EVERY) => {}
                _ = clock.tick() => {
                    self.look_after_durable()?;
                    beat();
                }
            }
        }
        Ok(())
    }

    /// Whether the pipelines have ended, those that tell of what the others did last.
    fn has_drained(&mut self) -> bool {
        let is_over = |pipelines: Vec<&Pipeline>| pipelines.iter().all(|p| p.is_finished());
        if !is_over(self.pipelines.closed(false)) {
            return false;
        }
        self.news.close();
        self.pipelines.close_built_in();
        is_over(self.pipelines.closed(true))
    }

    fn look_after(&mut self) -> Result<(), String> {
        if self.pipelines.look_after()? {
            self.show();
        }
        if let Some(durable) = &mut self.durable {
            // Those that have drained, and those of a configuration that did not take effect.
            durable.release_others(&|name| self.pipelines.has(name));
        }
        self.look_after_durable()?;
        if self.folder.is_finished() {
            return Err("the thread that loads plugins ended by itself".to_owned());
        }
        if self.server.is_finished() {
            return Err("the HTTP server ended by itself".to_owned());
        }
        Ok(())
    }

    fn look_after_durable(&mut self) -> Result<(), String> {
        self.signs.look_after();
        if let Some(durable) = &mut self.durable {
            durable.look_after()?;
            durable.tell_lost(&self.gaps);
        }
        if self.gaps.has_died() {
            return Err("the thread that writes gaps has died".to_owned());
        }
        Ok(())
    }

    /// Stops in order: sources, pipelines, those that tell of alerts, plugins. What has not ended
    /// within the time of grace stays in flight.
    pub async fn stop(mut self) -> Counts {
        let deadline = Instant::now() + GRACE;
        self.ending.cancel();
        self.sources.stop();
        self.leave.cancel();
        if tokio::time::timeout_at(deadline, self.sources.ended()).await.is_err() {
            tracing::warn!("streams did not end in time");
            self.sources.abort();
        }
        self.sources.close();
        self.pipelines.close();
        wait_for(&self.pipelines.closed(false), Some(deadline)).await;
        self.news.close();
        self.pipelines.close_built_in();
        wait_for(&self.pipelines.closed(true), Some(deadline)).await;
        self.stop.cancel();
        let last = Some(Instant::now() + LAST_GRACE);
        wait_for(&self.pipelines.closed(false), last).await;
        wait_for(&self.pipelines.closed(true), last).await;
        let (total, pipelines) = self.pipelines.into_rest();
        for pipeline in pipelines {
            let name = pipeline.name.clone();
            if !pipeline.is_finished() {
                tracing::warn!(pipeline = name, "did not end in time");
            } else if !pipeline.join() {
                tracing::error!(pipeline = name, "had died of a fault of the host's");
            }
        }
        if let Some(durable) = &self.durable {
            let end = deadline + LAST_GRACE;
            let limit = || CLOSE_WITHIN + end.saturating_duration_since(Instant::now());
            durable.tell_lost(&self.gaps);
            self.gaps.close(limit());
            durable.close(limit());
        }
        self.server.abort();
        forget(&self.listen_file);
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

fn start_ledger(durable: Option<&Durable>, news: &Arc<News>) -> Result<Arc<Ledger>, StartError> {
    let (store, news) = (durable.map(|durable| Arc::clone(&durable.store)), Arc::clone(news));
    let ledger = Ledger::start(store, Box::new(move |gap, phase| news.tell_gap(gap, phase)));
    ledger.map_err(environment("cannot start a thread".to_owned(), ""))
}

fn start_folder(
    config: &Config,
    news: &Arc<News>,
    stop: &CancellationToken,
    gate: std::sync::mpsc::Receiver<()>,
) -> Result<Folder, StartError> {
    let engine = Engine::new().map_err(|error| StartError::Unusable(format!("{error:#}")))?;
    let cache = config.data_dir.join("cache");
    let loader = Loader {
        compiler: Compiler::new(engine, Some(&cache)),
        runtime: Handle::current(),
        stop: stop.clone(),
    };
    let news = Arc::clone(news);
    Folder::start(&config.plugin_dir, loader, move |change| {
        // It lets through once the other end is dropped.
        let _ = gate.recv();
        news.tell_change(change);
    })
    .map_err(environment(
        format!("cannot use the plugin directory {}", config.plugin_dir.display()),
        "",
    ))
}
