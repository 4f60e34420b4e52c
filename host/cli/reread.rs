//! The configuration of a running host, read again when it is told to, or when the file has changed.
//! Reading is done on a thread of its own: secrets may lie where reading takes its time. Key type:
//! [`Reread`].

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use super::{ConfigArgs, Exit};
use crate::config::{Config, ConfigError};

/// How often the file is looked at. It counts as changed when two looks in a row found it different
/// from what was read, and equal to each other: who writes it may not be done at the first.
const LOOK: Duration = Duration::from_millis(250);

/// Reads the configuration again.
pub(super) struct Reread {
    /// One place: who asks while another asks already is asked for.
    ask: SyncSender<()>,
    /// `None` once nothing can come any more.
    steps: Option<mpsc::Receiver<Step>>,
}

/// What happens when it is read again, in this order.
pub(super) enum Step {
    /// It is about to be read.
    Begins,
    /// This was read.
    Read(Box<Result<Config, ConfigError>>),
}

impl Reread {
    /// Begins to listen, and to watch if that is wanted.
    pub fn start(args: &ConfigArgs, mut watched: Option<Watched>) -> Result<Self, Exit> {
        let (ask, asked) = sync_channel(1);
        let (tell, steps) = mpsc::channel(1);
        let args = args.clone();
        let run = move || {
            while is_due(&asked, watched.as_mut()) {
                // What changes from now on is seen at the next look.
                if tell.blocking_send(Step::Begins).is_err() {
                    return;
                }
                let read = Box::new(args.load_config());
                if tell.blocking_send(Step::Read(read)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("config".to_owned())
            .spawn(run)
            .map_err(|error| Exit::environment(format!("cannot start a thread: {error}")))?;
        Ok(Reread { ask, steps: Some(steps) })
    }

    /// Asks for it. Those who ask while it is about to be read are one.
    pub fn ask(&self) {
        // Full means that it was asked for already.
        let _ = self.ask.try_send(());
    }

    /// Waits for the next step.
    pub async fn next(&mut self) -> Step {
        if let Some(steps) = &mut self.steps {
            if let Some(step) = steps.recv().await {
                return step;
            }
            tracing::error!(
                "the configuration is not read again any more: its thread died of a fault of the host's"
            );
            self.steps = None;
        }
        std::future::pending().await
    }
}

/// Waits until it is to be read; false when nobody is there any more.
fn is_due(asked: &Receiver<()>, mut watched: Option<&mut Watched>) -> bool {
    loop {
        let is_asked = match asked.recv_timeout(LOOK) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        let is_changed = watched.as_deref_mut().is_some_and(|watched| watched.look(is_asked));
        if is_asked || is_changed {
            return true;
        }
    }
}

/// A file, as far as can be seen without reading it: whoever writes or replaces it changes that.
type Looks = (u64, u64, Option<SystemTime>);

/// The file, watched.
pub(super) struct Watched {
    file: std::path::PathBuf,
    /// As it was read.
    read: Option<Looks>,
    /// As it was at the last look, if that was different.
    seen: Option<Looks>,
}

impl Watched {
    /// To be called before the file is read: what changes from then on is seen.
    pub fn new(args: &ConfigArgs) -> Self {
        Watched::file(&args.config)
    }

    fn file(file: &Path) -> Self {
        Watched { file: file.to_owned(), read: looks_of(file), seen: None }
    }

    /// Whether it has changed and rests. One that is gone for the moment has not changed.
    fn look(&mut self, is_read_anyway: bool) -> bool {
        let now = looks_of(&self.file);
        let before = std::mem::replace(&mut self.seen, now);
        if now.is_none() || now == self.read || !(is_read_anyway || now == before) {
            return false;
        }
        self.read = now;
        true
    }
}

fn looks_of(file: &Path) -> Option<Looks> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.modified().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_changed_when_it_rests() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trommel.toml");
        std::fs::write(&file, "a").unwrap();
        let mut watched = Watched::file(&file);
        assert!(!watched.look(false) && !watched.look(false), "as it was");
        std::fs::write(&file, "ab").unwrap();
        assert!(!watched.look(false), "somebody may still be writing");
        std::fs::write(&file, "abc").unwrap();
        assert!(!watched.look(false), "somebody did");
        assert!(watched.look(false));
        assert!(!watched.look(false), "once is enough");
        std::fs::remove_file(&file).unwrap();
        assert!(!watched.look(false) && !watched.look(false), "it may come back");
        std::fs::write(&file, "other").unwrap();
        assert!(!watched.look(false));
        assert!(watched.look(false));
        std::fs::write(&file, "another").unwrap();
        assert!(watched.look(true), "who asks does not wait");
        assert!(!watched.look(false));
    }
}
