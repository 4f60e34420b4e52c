//! The simulator as a process, and its ledger. Key type: [`Sim`].

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use super::{Running, TROMMEL, wait_for};

/// A running simulator.
pub struct Sim {
    /// What it printed when it was ready.
    pub ready: Ready,
    /// Its folder.
    pub dir: TempDir,
    running: Running,
}

/// How to reach it.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub base_url: String,
    pub token_endpoint: String,
    pub ca_file: PathBuf,
    pub client_id: String,
    pub client_secret: String,
}

/// A line of the ledger.
#[derive(Debug, Clone, Deserialize)]
pub struct LedgerLine {
    pub stream: String,
    pub id: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub sent: u64,
    pub connections: Vec<u32>,
    pub data: Value,
}

/// A line of the sent log: an event as it was written to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SentLine {
    pub connection: u32,
    pub stream: String,
    pub id: String,
}

impl Sim {
    /// Starts `trommel sim central` with a ledger, a sent log and these arguments besides.
    pub fn start(args: &[&str]) -> Sim {
        Sim::launch(args, true)
    }

    /// The same without a ledger, which waits for whatever may still be sent again.
    pub fn without_ledger(args: &[&str]) -> Sim {
        Sim::launch(args, false)
    }

    fn launch(args: &[&str], with_ledger: bool) -> Sim {
        let dir = TempDir::new().unwrap();
        let (out, log) = (dir.path().join("ready.json"), dir.path().join("sim.log"));
        let mut command = Command::new(TROMMEL);
        command.args(["sim", "central", "--tls-dir"]).arg(dir.path().join("tls")).args(args);
        if with_ledger {
            command.arg("--ledger").arg(dir.path().join("ledger.jsonl"));
        }
        // Unless the test wants it elsewhere.
        if !args.contains(&"--sent") {
            command.arg("--sent").arg(dir.path().join("sent.jsonl"));
        }
        let mut running = Running::start(&mut command, &out, &log);
        let ready = wait_for("the simulator", || {
            assert!(running.ended().is_none(), "the simulator ended: {}", running.log());
            let text = std::fs::read_to_string(&out).unwrap();
            text.ends_with('\n').then(|| serde_json::from_str(&text).expect("its one line"))
        });
        Sim { ready, dir, running }
    }

    /// Ends it in order; its ledger is complete then.
    pub fn end(&mut self) {
        self.running.terminate();
        let status = self.running.wait();
        assert!(status.success(), "the simulator: {status}: {}", self.running.log());
    }

    /// Ends it in order, and reads its ledger.
    pub fn stop(&mut self) -> Vec<LedgerLine> {
        self.end();
        lines(&self.ledger())
    }

    /// What was written to connections so far, in the order of writing.
    pub fn sent(&self) -> Vec<SentLine> {
        lines(&self.dir.path().join("sent.jsonl"))
    }

    /// The path of its ledger.
    pub fn ledger(&self) -> PathBuf {
        self.dir.path().join("ledger.jsonl")
    }
}

/// The whole lines of a file that may still be written.
fn lines<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = std::fs::read_to_string(path).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}
