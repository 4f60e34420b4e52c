//! What becomes of files that were put aside: a thread of low priority compresses them and deletes
//! the oldest. It looks at what lies there and keeps no list, so a crash at any point is mended by
//! the next look. Key type: [`Keeper`].

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::names::{Aside, COMPRESSED, PART, Pattern};
use crate::config::Rotation;

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// How long it may go on after its sink has ended; what is left is done at the next start.
const GRACE: Duration = Duration::from_secs(1);
/// How much is compressed between two looks whether to stop.
const CHUNK: usize = 256 << 10;

/// The thread, from outside.
#[derive(Debug)]
pub(super) struct Keeper {
    wake: Option<SyncSender<()>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts with what lies there already.
    pub fn start(pattern: Pattern, rule: &Rotation) -> io::Result<Self> {
        // One place is enough: a look sees all there is.
        let (wake, woken) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work { pattern, keep: rule.keep, gzip: rule.gzip, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("rotate".to_owned()).spawn(move || {
            crate::thread::lower_priority();
            work.run(&woken);
        })?;
        Ok(Keeper { wake: Some(wake), stop, thread: Some(thread) })
    }

    /// Tells that something was put aside.
    pub fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Full: it will look anyway.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.wake = None;
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + GRACE;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.stop.store(true, Ordering::Relaxed);
        if thread.join().is_err() {
            tracing::error!("the thread that compresses files had died of a fault of the host's");
        }
    }
}

struct Work {
    pattern: Pattern,
    keep: usize,
    gzip: bool,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(&self, woken: &Receiver<()>) {
        loop {
            let looked = self.look();
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let wait = match looked {
                Ok(()) => Duration::MAX,
                Err((path, error)) => {
                    let path = path.display();
                    tracing::error!(%path, %error, "a rotated file stays as it is; tried again in a minute");
                    AGAIN
                }
            };
            let is_over = match wait {
                Duration::MAX => woken.recv().is_err(),
                wait => woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected),
            };
            if is_over {
                // What was put aside last may have come with the end.
                if let Err((path, error)) = self.look() {
                    tracing::error!(path = %path.display(), %error, "a rotated file stays as it is");
                }
                return;
            }
        }
    }

    /// Does all there is to do, the oldest first.
    fn look(&self) -> Result<(), (PathBuf, io::Error)> {
        let all = self.pattern.all().map_err(|error| (self.pattern.dir.clone(), error))?;
        for left in all.iter().filter(|aside| aside.suffix == PART) {
            fs::remove_file(&left.path).map_err(|error| (left.path.clone(), error))?;
        }
        self.delete(&all)?;
        let plain = all.iter().filter(|aside| aside.suffix.is_empty() && self.gzip);
        for aside in plain {
            // Deleted just now.
            if !aside.path.exists() {
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.compress(&aside.path).map_err(|error| (aside.path.clone(), error))?;
        }
        Ok(())
    }

    /// Deletes all but the newest.
    fn delete(&self, all: &[Aside]) -> Result<(), (PathBuf, io::Error)> {
        if self.keep == 0 {
            return Ok(());
        }
        let mut times: Vec<u64> =
            all.iter().filter(|aside| aside.suffix != PART).map(|aside| aside.millis).collect();
        times.dedup();
        let Some(oldest) = times.len().checked_sub(self.keep).and_then(|at| times.get(at)) else {
            return Ok(());
        };
        for aside in all.iter().filter(|aside| aside.suffix != PART && aside.millis < *oldest) {
            fs::remove_file(&aside.path).map_err(|error| (aside.path.clone(), error))?;
            tracing::info!(path = %aside.path.display(), keep = self.keep, "rotated file deleted");
        }
        Ok(())
    }

    /// Puts a compressed file in the place of a plain one. At any moment one of them is there whole.
    fn compress(&self, plain: &Path) -> io::Result<()> {
        let (part, whole) = (with_suffix(plain, PART), with_suffix(plain, COMPRESSED));
        // A whole one beside it was left by a crash between the last two steps.
        if !whole.exists() {
            match self.write_compressed(plain, &part) {
                Ok(true) => fs::rename(&part, &whole)?,
                Ok(false) => return fs::remove_file(&part),
                Err(error) => {
                    // It may not even be there; the next look removes it too.
                    let _ = fs::remove_file(&part);
                    return Err(error);
                }
            }
        }
        crate::dir::sync_dir(&self.pattern.dir)?;
        fs::remove_file(plain)
    }

    /// False if it was stopped before the end.
    fn write_compressed(&self, plain: &Path, part: &Path) -> io::Result<bool> {
        let mut input = File::open(plain)?;
        let output = File::create(part)?;
        output.set_permissions(input.metadata()?.permissions())?;
        let mut encoder = GzEncoder::new(output, Compression::default());
        let mut chunk = vec![0; CHUNK];
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            match input.read(&mut chunk)? {
                0 => break,
                count => encoder.write_all(&chunk[..count])?,
            }
        }
        encoder.finish()?.sync_all()?;
        Ok(true)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::names::Names;
    use super::*;

    fn names_in(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn gunzip(path: &Path) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_a_crash_left_is_mended_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("e.20200101T000000.000Z.jsonl"), "oldest\n").unwrap();
        fs::write(at("e.20200102T000000.000Z.jsonl"), "plain\n").unwrap();
        fs::write(at("e.20200102T000000.000Z.jsonl.gz.part"), "torn").unwrap();
        // Renamed, but the plain one not yet removed.
        fs::write(at("e.20200103T000000.000Z.jsonl"), "both\n").unwrap();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"both\n").unwrap();
        fs::write(at("e.20200103T000000.000Z.jsonl.gz"), encoder.finish().unwrap()).unwrap();
        fs::write(at("e.jsonl"), "current\n").unwrap();
        let pattern = Names::new(&at("e.jsonl")).unwrap().pattern();
        let rule = Rotation { size: None, age: None, keep: 2, gzip: true };
        let keeper = Keeper::start(pattern, &rule).unwrap();
        let kept =
            ["e.20200102T000000.000Z.jsonl.gz", "e.20200103T000000.000Z.jsonl.gz", "e.jsonl"];
        let until = Instant::now() + Duration::from_secs(60);
        while names_in(dir.path()) != kept && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        drop(keeper);
        assert_eq!(names_in(dir.path()), kept);
        assert_eq!(gunzip(&at("e.20200102T000000.000Z.jsonl.gz")), "plain\n");
        assert_eq!(gunzip(&at("e.20200103T000000.000Z.jsonl.gz")), "both\n");
    }
}
