//! Puts a file aside when it is old, though nothing is written to it. A thread that sleeps until
//! then; not one of low priority, for who writes waits while it works. Key type: [`Aging`].

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::open::OpenFile;

/// The longest sleep: clocks are set, and files replaced, without a word. Also how long after a
/// failure it is tried again.
const MOST: Duration = Duration::from_secs(60);

/// The shortest.
const LEAST: Duration = Duration::from_millis(20);

/// The thread, from outside.
#[derive(Debug)]
pub(super) struct Aging {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Aging {
    /// Starts with what is in the file already.
    pub fn start(path: &Path, file: Arc<Mutex<OpenFile>>) -> std::io::Result<Self> {
        // One place is enough: a look sees all there is.
        let (wake, woken) = sync_channel(1);
        let path = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("age".to_owned())
            .spawn(move || run(&path, &file, &woken))?;
        Ok(Aging { wake: Some(wake), thread: Some(thread) })
    }

    /// Tells that there is something in a file that was empty.
    pub fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Full: it will look anyway.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Aging {
    fn drop(&mut self) {
        self.wake = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that rotates by age had died of a fault of the host's");
        }
    }
}

fn run(path: &Path, file: &Mutex<OpenFile>, woken: &Receiver<()>) {
    loop {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let rotated = file.rotate_if_old();
        let wait = file.until_old();
        drop(file);
        let wait = match rotated {
            // Zero: what is in it is being committed.
            Ok(()) => wait.map(|wait| wait.clamp(LEAST, MOST)),
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, %error, "cannot be rotated; tried again in a minute, and with the next event");
                Some(MOST)
            }
        };
        let is_over = match wait {
            None => woken.recv().is_err(),
            Some(wait) => woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected),
        };
        if is_over {
            return;
        }
    }
}
