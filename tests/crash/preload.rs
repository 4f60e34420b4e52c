//! The preloaded library, from outside: how a command is started with it, and the trace it leaves. Its
//! own description is in `tests/crash/preload/src/lib.rs`. Key types: [`Preload`], [`Op`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::repository;

/// What `make crash` built.
pub fn built(name: &str) -> PathBuf {
    let path = repository().join("target/crash").join(name);
    assert!(path.is_file(), "{} is missing: run `make crash`", path.display());
    path
}

/// The library, and what it keeps of one watched directory.
pub struct Preload {
    dir: PathBuf,
    side: TempDir,
}

/// An operation in the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    pub kind: String,
    pub offset: u64,
    pub bytes: u64,
    /// Relative to the watched directory.
    pub path: String,
    /// What happened to it: `ok`, `error 5`, `kill before` and so on.
    pub fate: String,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.path)?;
        match (self.offset, self.bytes) {
            (0, 0) => Ok(()),
            (offset, bytes) => write!(f, " {offset}+{bytes}"),
        }
    }
}

impl Preload {
    /// Watches a directory.
    pub fn new(dir: &Path) -> Preload {
        Preload { dir: dir.canonicalize().unwrap(), side: TempDir::new().unwrap() }
    }

    /// A path beside the watched directory.
    pub fn side(&self, name: &str) -> PathBuf {
        self.side.path().join(name)
    }

    /// Sets the clock by so many seconds, for all that are started with the library, at once.
    pub fn set_clock(&self, seconds: i64) {
        let (part, clock) = (self.side("clock.part"), self.side("clock"));
        std::fs::write(&part, seconds.to_string()).unwrap();
        std::fs::rename(part, clock).unwrap();
    }

    /// Starts a command with the library.
    pub fn apply(&self, command: &mut Command, plan: &str, seed: u64) {
        let kept = self.side("kept");
        std::fs::create_dir_all(&kept).unwrap();
        command
            .env("LD_PRELOAD", built("libtrommel_crash.so"))
            .env("CRASH_DIR", &self.dir)
            .env("CRASH_PLAN", plan)
            .env("CRASH_SEED", seed.to_string())
            .env("CRASH_CLOCK", self.side("clock"))
            .env("CRASH_TRACE", self.side("trace"))
            .env("CRASH_SIDE", kept);
    }

    /// The trace, of all processes one after the other.
    pub fn trace(&self) -> Vec<Op> {
        let text = self.trace_text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(read_op).collect()
    }

    /// The same as text.
    pub fn trace_text(&self) -> String {
        std::fs::read_to_string(self.side("trace")).unwrap_or_default()
    }

    /// Begins a new trace.
    pub fn forget_trace(&self) {
        // There is none before the first process.
        let _ = std::fs::remove_file(self.side("trace"));
    }
}

/// `NUMBER kind offset bytes path fate`
fn read_op(line: &str) -> Option<Op> {
    let mut parts = line.split('\t').skip(1);
    let mut next = || parts.next().map(str::to_owned);
    let (kind, offset, bytes) = (next()?, next()?.parse().ok()?, next()?.parse().ok()?);
    Some(Op { kind, offset, bytes, path: next()?, fate: next()? })
}
