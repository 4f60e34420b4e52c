//! A process of the host while it lives: asked what it has received, harmed and ended when it is time.
//! Key type: [`Watch`].

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::run::put_plugin;
use super::scenario::{By, Life};
use crate::support::{HostDir, Running, SOON};

/// How often a running host is asked what it has received.
const ASK: Duration = Duration::from_millis(5);

/// A process while it lives.
pub struct Watch {
    root: PathBuf,
    running: Running,
    /// What it had counted as received when it was asked last.
    pub received: u64,
    /// And as delivered.
    pub delivered: u64,
    /// What is neither delivered nor filtered nor a dead letter yet.
    left: u64,
    begun: Instant,
    /// When it had received something for the first time.
    first: Option<Instant>,
}

impl Watch {
    /// Begins to watch.
    pub fn new(root: PathBuf, running: Running) -> Watch {
        Watch {
            root,
            running,
            received: 0,
            delivered: 0,
            left: 0,
            begun: Instant::now(),
            first: None,
        }
    }

    /// Watches until the process has ended, which it is made to when it is time.
    pub fn until(
        &mut self,
        life: &Life,
        dir: &HostDir,
        full: &Path,
        end: &Path,
    ) -> Result<(), String> {
        let (mut fill, mut reload) = (life.full, life.reload);
        loop {
            if let Some(status) = self.running.ended() {
                let is_killed = status.signal() == Some(9);
                // One that cannot even start may say so and end.
                if is_killed || self.first.is_none() && status.code() == Some(3) {
                    return Ok(());
                }
                return Err(format!("the host ended by itself: {status}: {}", self.running.log()));
            }
            self.ask();
            if let Some(first) = self.first
                && reload.take_if(|after| first.elapsed() >= *after).is_some()
            {
                put_plugin(dir, life.seed, life.recompiles);
            }
            let due = if life.ending.from_first { self.first } else { Some(self.begun) };
            if due.is_some_and(|due| due.elapsed() >= life.ending.after) {
                match fill.take() {
                    Some(time) => self.fill(time, full)?,
                    None => return self.kill(life.ending.by, end),
                }
            }
            let limit = SOON + life.ending.after + life.full.unwrap_or_default();
            if self.begun.elapsed() > limit {
                return Err(format!("received nothing in {SOON:?}: {}", self.running.log()));
            }
            std::thread::park_timeout(ASK);
        }
    }

    /// The disk is full for a while; then the host goes on by itself.
    fn fill(&mut self, time: Duration, full: &Path) -> Result<(), String> {
        fs::write(full, "").map_err(|error| error.to_string())?;
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.ask();
            std::thread::park_timeout(ASK);
        }
        fs::remove_file(full).map_err(|error| error.to_string())?;
        let before = (self.received, self.delivered);
        let begun = Instant::now();
        while self.received == before.0 || self.delivered == before.1 {
            if let Some(status) = self.running.ended() {
                return Err(format!(
                    "the host ended over a full disk: {status}: {}",
                    self.running.log()
                ));
            }
            if begun.elapsed() > SOON {
                return Err(format!("does not go on after a full disk: {}", self.running.log()));
            }
            self.ask();
            std::thread::park_timeout(ASK);
        }
        Ok(())
    }

    fn kill(&mut self, by: By, end: &Path) -> Result<(), String> {
        // As shortly before as can be.
        self.ask();
        match by {
            By::Signal => self.running.signal(Signal::KILL),
            By::Library | By::Power => fs::write(end, "").map_err(|error| error.to_string())?,
        }
        self.running.wait();
        Ok(())
    }

    /// Ends the process in order, once something has come through it.
    pub fn end_in_order(&mut self) -> Result<(), String> {
        let settled = Duration::from_millis(50);
        // Something is on its way through, and its plugin is there.
        self.end_when(|watch| {
            watch.delivered > 0 && watch.first.is_some_and(|first| first.elapsed() >= settled)
        })
    }

    /// Ends it in order, once all is through.
    pub fn end_drained(&mut self) -> Result<(), String> {
        self.end_when(|watch| watch.received > 0 && watch.left == 0)
    }

    fn end_when(&mut self, is_time: impl Fn(&Watch) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !is_time(self) {
            if let Some(status) = self.running.ended() {
                return Err(format!("ended by itself: {status}: {}", self.running.log()));
            }
            if begun.elapsed() > SOON {
                let Watch { received, left, .. } = self;
                let log = self.running.log();
                return Err(format!(
                    "{received} received, {left} of them left, in {SOON:?}: {log}"
                ));
            }
            self.ask();
            std::thread::park_timeout(ASK);
        }
        self.running.terminate();
        let status = self.running.wait();
        if status.success() { Ok(()) } else { Err(format!("{status}: {}", self.running.log())) }
    }

    fn ask(&mut self) {
        let Some(page) = metrics(&self.root) else { return };
        let count = |name: &str| {
            let prefix = format!("trommel_{name}_total{{pipeline=\"main\"}} ");
            let value = page.lines().find_map(|line| line.strip_prefix(&prefix));
            value.map_or(0, |value| value.parse().unwrap())
        };
        (self.received, self.delivered) = (count("received"), count("delivered"));
        let ended = self.delivered + count("filtered") + count("dead_lettered");
        self.left = self.received.saturating_sub(ended);
        if self.received > 0 {
            self.first.get_or_insert_with(Instant::now);
        }
    }
}

/// A host's metrics, if it answers; it may be ended meanwhile.
fn metrics(root: &Path) -> Option<String> {
    let address = fs::read_to_string(root.join("data/listen.addr")).ok()?;
    let mut stream = TcpStream::connect(address.trim()).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    // OpenMetrics or not, a page that was cut off ends within a line.
    page.ends_with('\n').then_some(page)
}
