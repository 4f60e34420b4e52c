//! What tests are made of: a simulator, a host, a folder for both, a server to post to, and waiting for
//! conditions. Key types: [`Sim`], [`Host`], [`Collector`].

pub mod client;
mod collector;
mod host;
mod page;
mod process;
pub mod python;
mod sim;
pub mod tls;

pub use collector::{Collector, Posted, Reply};
pub use host::{Host, HostDir, Tally, ids};
pub use page::{Family, Page};
pub use process::{Running, output_of};
pub use sim::{LedgerLine, Ready, SentLine, Sim};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The program under test.
pub const TROMMEL: &str = env!("CARGO_BIN_EXE_trommel");

/// How long a test waits for what should happen soon; generous, for machines differ.
pub const SOON: Duration = Duration::from_secs(120);

/// Waits until `look` gives something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < SOON, "waited {SOON:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Waits until `look` says yes.
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    wait_for(what, || look().then_some(()));
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A plugin that `make plugins` built.
pub fn plugin(name: &str) -> PathBuf {
    let path = repository().join("target/plugins").join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run `make plugins`", path.display());
    path
}

/// The lines of a file, each as JSON. The last one counts once it is whole: who writes a file may be in the
/// middle of it.
pub fn json_lines(path: &Path) -> Vec<serde_json::Value> {
    let mut bytes = std::fs::read(path).unwrap_or_default();
    bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// How many lines a file has; 0 if it is not there.
pub fn count_lines(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}
