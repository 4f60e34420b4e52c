//! The plugin directory, watched: a new, changed or removed file becomes a new set of plugins. All
//! loading happens on one thread of low priority; pipelines only ever see finished versions. Key
//! type: [`Folder`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::watch;

use super::component::{LoadError, MAX_FILE, sha256};
use super::files::{self, Files, Listing};
use super::version::Loader;
use crate::config::PluginFile;
use crate::runner::{Entry, Factory as _, Info, Plugins};

/// How long a file must rest before it is loaded, so that `.wasm` and `.toml` copied one after the
/// other are one change.
const REST: Duration = Duration::from_millis(150);
/// How long a file may stay open for writing, or empty, before it is looked at all the same: on some file
/// systems nobody tells that it was closed.
const MAX_OPEN: Duration = Duration::from_secs(3);
/// How long a file must be gone before its plugin is: many tools replace a file by removing it first,
/// and no event may slip past a plugin meanwhile.
const GONE: Duration = Duration::from_millis(500);
/// How often the directory is looked at without being told to.
const LOOK: Duration = Duration::from_millis(500);

/// What happened to a plugin, for the log, for metrics and for the source `trommel`.
#[derive(Debug, Clone)]
pub enum Change {
    /// It serves, newly or anew.
    Loaded(Arc<Info>),
    /// Its newest version does not serve.
    Failed {
        /// Name of the plugin.
        name: String,
        /// Why not.
        error: String,
        /// Whether an older version goes on serving.
        is_served: bool,
    },
    /// Its file is gone.
    Removed(String),
}

/// The watched directory.
pub struct Folder {
    plugins: watch::Receiver<Arc<Plugins>>,
    stop: SyncSender<()>,
    stopping: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    /// Begins to load and watch. Creates the directory if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be had, or no thread.
    pub fn start(
        dir: &Path,
        loader: Loader,
        on_change: impl Fn(Change) + Send + 'static,
    ) -> std::io::Result<Folder> {
        std::fs::create_dir_all(dir)?;
        let listing = files::list(dir)?;
        let (publish, plugins) = watch::channel(Arc::default());
        // One place: a wake-up that finds another one waiting is not needed.
        let (stop, wake) = sync_channel(1);
        let stopping = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut keeper = Keeper {
            dir: dir.to_owned(),
            loader,
            on_change: Box::new(on_change),
            publish,
            plugins: Plugins::default(),
            known: Listing::new(),
            dirty: BTreeMap::new(),
            missing: HashMap::new(),
            open: Arc::default(),
            is_unreadable: false,
        };
        keeper.expect(&listing);
        let (waker, stopped) = (stop.clone(), Arc::clone(&stopping));
        let thread = std::thread::Builder::new().name("plugins".to_owned()).spawn(move || {
            // Compiling must not take the processor from the pipelines.
            crate::thread::lower_priority();
            let watcher = keeper.watch(waker);
            keeper.load_first(listing);
            keeper.run(&wake, &stopped);
            drop(watcher);
        })?;
        Ok(Folder { plugins, stop, stopping, thread: Some(thread) })
    }

    /// Whether its thread has ended, which it does not by itself.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The plugins as they are, and told anew with every change.
    pub fn plugins(&self) -> watch::Receiver<Arc<Plugins>> {
        self.plugins.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        // Full means that a wake-up is under way.
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that loads plugins had died");
        }
    }
}

/// Loads what lies in a directory once, without watching it.
///
/// # Errors
/// When the directory cannot be read.
pub fn load_once(dir: &Path, loader: &Loader) -> std::io::Result<Plugins> {
    let mut plugins = Plugins::default();
    for (name, found) in files::list(dir)? {
        let loaded = load(dir, loader, &name, &found);
        let (serving, error, hash) = match loaded {
            Loaded::Version(version) => {
                let hash = version.info().sha256.clone();
                (Some(version as Arc<dyn crate::runner::Factory>), None, hash)
            }
            Loaded::Failed(error, hash) => (None, Some(error), hash),
            Loaded::Moving => (None, Some("changes while it is read".to_owned()), String::new()),
        };
        let entry = Entry { serving, is_required: true, error, is_loading: false, sha256: hash };
        plugins.entries.insert(name, entry);
    }
    Ok(plugins)
}

/// Loads one plugin from its file, with a configuration beside it or elsewhere, if it has one.
///
/// # Errors
/// What keeps it from serving.
pub fn load_file(file: &Path, toml: Option<&Path>, loader: &Loader) -> Result<Plugins, String> {
    let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("plugin").to_owned();
    let within =
        |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let wasm = files::read_capped(file, MAX_FILE).map_err(|error| within(file, &error))?;
    let beside = file.with_extension("toml");
    let toml = toml.or_else(|| beside.is_file().then_some(beside.as_path()));
    let given = match toml {
        None => PluginFile::default(),
        Some(path) => {
            let bytes =
                files::read_capped(path, files::MAX_TOML).map_err(|error| within(path, &error))?;
            let text = String::from_utf8(bytes).map_err(|error| within(path, &error))?;
            PluginFile::parse(&text, path).map_err(|error| error.to_string())?
        }
    };
    let version = guarded(|| loader.load(&name, &wasm, &given));
    let version = version.map_err(|error| within(file, &error))?;
    let entry = Entry {
        sha256: version.info().sha256.clone(),
        serving: Some(Arc::new(version)),
        is_required: true,
        error: None,
        is_loading: false,
    };
    Ok(Plugins { entries: BTreeMap::from([(name, entry)]) })
}

enum Loaded {
    Version(Arc<super::Version>),
    Failed(String, String),
    /// It changed while it was read: look again.
    Moving,
}

fn load(dir: &Path, loader: &Loader, name: &str, found: &Files) -> Loaded {
    match files::read(dir, name, found) {
        Ok(None) => Loaded::Moving,
        Ok(Some(content)) => match guarded(|| loader.load(name, &content.wasm, &content.file)) {
            Ok(version) => Loaded::Version(Arc::new(version)),
            Err(error) => Loaded::Failed(error.to_string(), sha256(&content.wasm)),
        },
        Err((error, wasm)) => {
            let hash = if wasm.is_empty() { String::new() } else { sha256(&wasm) };
            Loaded::Failed(error.to_string(), hash)
        }
    }
}

/// What takes files apart is large and not ours, and files are whatever somebody put there: one that
/// makes it panic costs that file alone, not the thread that loads all others.
fn guarded<T>(load: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(load));
    caught.unwrap_or_else(|_| Err(LoadError::Compile("it makes the compiler fail".to_owned())))
}

/// Files that somebody holds open for writing, since when.
type Open = Arc<Mutex<HashMap<PathBuf, Instant>>>;

struct Keeper {
    dir: PathBuf,
    loader: Loader,
    on_change: Box<dyn Fn(Change) + Send>,
    publish: watch::Sender<Arc<Plugins>>,
    plugins: Plugins,
    /// As last loaded, or found not to load.
    known: Listing,
    /// What has changed since: what it looks like, and since when.
    dirty: BTreeMap<String, (Files, Instant)>,
    /// What is gone, since when.
    missing: HashMap<String, Instant>,
    open: Open,
    /// Whether it could not be looked at last time, and that is told.
    is_unreadable: bool,
}

impl Keeper {
    /// Makes an entry for each file that is there at start, so that pipelines wait for it.
    fn expect(&mut self, listing: &Listing) {
        for name in listing.keys() {
            let entry = Entry {
                serving: None,
                is_required: true,
                error: None,
                is_loading: true,
                sha256: String::new(),
            };
            self.plugins.entries.insert(name.clone(), entry);
        }
        self.tell();
    }

    fn load_first(&mut self, listing: Listing) {
        for (name, found) in listing {
            self.take(&name, found);
        }
    }

    fn watch(&self, wake: SyncSender<()>) -> Option<notify::RecommendedWatcher> {
        let open = Arc::clone(&self.open);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event {
                if !is_change(&event.kind) {
                    return;
                }
                note_open(&open, &event);
            }
            // Full means that a wake-up is under way.
            let _ = wake.try_send(());
        });
        let watching = watcher.and_then(|mut watcher| {
            watcher.watch(&self.dir, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        watching
            .inspect_err(|error| {
                tracing::warn!(%error, "the plugin directory cannot be watched; it is looked at twice a second");
            })
            .ok()
    }

    fn run(&mut self, wake: &Receiver<()>, stopped: &std::sync::atomic::AtomicBool) {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let wait =
                if self.dirty.is_empty() && self.missing.is_empty() { LOOK } else { REST / 3 };
            match wake.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks at the directory, and loads what changed and has come to rest.
    fn look(&mut self) {
        let listing = match files::list(&self.dir) {
            Ok(listing) => listing,
            // A directory that is gone for a moment must not unload everything.
            Err(error) => {
                if !std::mem::replace(&mut self.is_unreadable, true) {
                    let dir = self.dir.display();
                    tracing::warn!(%dir, %error, "the plugin directory cannot be read");
                }
                return;
            }
        };
        if std::mem::take(&mut self.is_unreadable) {
            tracing::info!(dir = %self.dir.display(), "the plugin directory can be read again");
        }
        let now = Instant::now();
        self.forget_missing(&listing, now);
        for (name, found) in listing {
            if self.known.get(&name) == Some(&found) {
                self.dirty.remove(&name);
                continue;
            }
            let since = match self.dirty.get(&name) {
                Some((seen, since)) if *seen == found => *since,
                _ => now,
            };
            self.dirty.insert(name.clone(), (found.clone(), since));
            let rest = if found.is_begun() { MAX_OPEN } else { REST };
            if now.duration_since(since) >= rest && !self.is_open(&name, now) {
                self.dirty.remove(&name);
                self.mark_loading(&name);
                self.take(&name, found);
            }
        }
    }

    fn forget_missing(&mut self, listing: &Listing, now: Instant) {
        self.missing.retain(|name, _| !listing.contains_key(name));
        let names: Vec<String> = self.plugins.entries.keys().cloned().collect();
        for name in names.into_iter().filter(|name| !listing.contains_key(name)) {
            // Whatever comes in its place is a change.
            self.known.remove(&name);
            let since = *self.missing.entry(name.clone()).or_insert(now);
            if now.duration_since(since) >= GONE {
                self.missing.remove(&name);
                self.remove(&name);
            }
        }
    }

    fn is_open(&self, name: &str, now: Instant) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, since| now.duration_since(*since) < MAX_OPEN);
        ["wasm", "toml"]
            .iter()
            .any(|kind| open.contains_key(&self.dir.join(format!("{name}.{kind}"))))
    }

    fn mark_loading(&mut self, name: &str) {
        let entry = self.plugins.entries.entry(name.to_owned()).or_insert_with(|| Entry {
            serving: None,
            is_required: false,
            error: None,
            is_loading: true,
            sha256: String::new(),
        });
        entry.is_loading = true;
        self.tell();
    }

    fn take(&mut self, name: &str, found: Files) {
        let loaded = load(&self.dir, &self.loader, name, &found);
        let Some(entry) = self.plugins.entries.get_mut(name) else { return };
        entry.is_loading = false;
        let change = match loaded {
            Loaded::Moving => {
                // The next look finds it changed again.
                self.tell();
                return;
            }
            Loaded::Version(version) => {
                let info = Arc::clone(version.info());
                entry.error = None;
                entry.sha256.clone_from(&info.sha256);
                entry.serving = Some(version);
                Change::Loaded(info)
            }
            Loaded::Failed(error, hash) => {
                entry.sha256 = hash;
                entry.error = Some(error.clone());
                Change::Failed { name: name.to_owned(), error, is_served: entry.serving.is_some() }
            }
        };
        self.known.insert(name.to_owned(), found);
        self.tell();
        (self.on_change)(change);
    }

    fn remove(&mut self, name: &str) {
        self.plugins.entries.remove(name);
        self.known.remove(name);
        self.dirty.remove(name);
        self.tell();
        (self.on_change)(Change::Removed(name.to_owned()));
    }

    fn tell(&self) {
        self.publish.send_replace(Arc::new(self.plugins.clone()));
    }
}

/// Whether an event may mean that a file is another than before. Looking at the directory is an
/// event too, and must not be a reason to look again.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => *kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Notes from a file system event whether a file is being written.
fn note_open(open: &Open, event: &notify::Event) {
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    for path in &event.paths {
        match event.kind {
            // Somebody may write to many files that are no plugins.
            EventKind::Modify(notify::event::ModifyKind::Data(_)) if open.len() < 1_000 => {
                open.insert(path.clone(), Instant::now());
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(notify::event::ModifyKind::Name(_))
            | EventKind::Remove(_) => {
                open.remove(path);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_no_change() {
        let read = [AccessKind::Read, AccessKind::Open(AccessMode::Any), AccessKind::Any];
        for kind in read.into_iter().chain([AccessKind::Close(AccessMode::Read)]) {
            assert!(!is_change(&EventKind::Access(kind)), "{kind:?}");
        }
        assert!(is_change(&EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_change(&EventKind::Create(notify::event::CreateKind::File)));
        assert!(is_change(&EventKind::Remove(notify::event::RemoveKind::File)));
    }

    #[test]
    fn a_file_that_makes_the_compiler_panic_is_one_that_does_not_load() {
        let loaded: Result<(), _> = guarded(|| panic!("as a library may"));
        let error = loaded.unwrap_err().to_string();
        assert_eq!(error, "does not compile: it makes the compiler fail");
        assert_eq!(guarded(|| Ok(1)), Ok(1));
    }
}
