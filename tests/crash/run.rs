//! A run: a host is started, harmed and started again on the same data, as a scenario says, and what
//! came of it is gathered. Key types: [`Ground`], [`Bed`],
//! [`Run`].

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::check::{Lived, Seen};
use super::preload::Preload;
use super::scenario::{By, Census, Ending, Life, Scenario, places};
use super::watch::Watch;
use crate::support::{HostDir, Running, SentLine, Sim, Tally, count_lines, plugin};

const STREAMS: [&str; 2] = ["ap-events", "audit-trail-events"];
const PIPELINE: &str = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";
const SINK: &str = "events.jsonl";
/// After so many runs the simulator is begun anew: what it sent is kept in a file.
const RUNS_PER_SIM: usize = 25;

/// What is found out once for many runs, by means of a host to which nothing happens.
pub struct Ground {
    /// Compiled plugins.
    cache: TempDir,
    /// Which operations there are.
    pub census: Census,
}

impl Ground {
    /// Looks at a first life and at a later one.
    pub fn new() -> Ground {
        let mut bed = Bed::new(None);
        let mut run = Run::new(bed.sim(0), None, true);
        let mut census = Census::default();
        for counted in [&mut census.first, &mut census.later] {
            run.preload.forget_trace();
            run.live(&Life::ended(By::Library)).unwrap_or_else(|error| panic!("{error}"));
            *counted = places(&run.preload.trace());
        }
        let cache = TempDir::new().unwrap();
        copy_cache(&run.root.join("data/cache"), cache.path());
        // Plugins are compiled in few runs only.
        census.first.retain(|(_, place, _)| place != "data/cache");
        Ground { cache, census }
    }
}

/// A simulator that survives all hosts.
pub struct Bed<'a> {
    ground: Option<&'a Ground>,
    sim: Option<Sim>,
    /// What connections begin with, which an earlier one brought.
    duplicates: u32,
    runs: usize,
    /// Whether hosts have a journal.
    pub has_journal: bool,
}

impl Bed<'_> {
    /// Without ground plugins are compiled in each run.
    pub fn new(ground: Option<&Ground>) -> Bed<'_> {
        Bed { ground, sim: None, duplicates: 0, runs: 0, has_journal: true }
    }

    fn sim(&mut self, duplicates: u32) -> &Sim {
        if self.runs == RUNS_PER_SIM || duplicates != self.duplicates {
            self.sim = None;
            self.runs = 0;
        }
        self.runs += 1;
        self.duplicates = duplicates;
        self.sim.get_or_insert_with(|| start_sim(duplicates))
    }

    /// Does what a scenario says. Gives what was seen, or why the run could not go on.
    pub fn run(&mut self, scenario: &Scenario) -> (Run, Result<Seen, String>) {
        let cache = self.ground.filter(|_| !scenario.is_cold).map(|ground| ground.cache.path());
        let mut run = Run::new(self.sim(scenario.duplicates), cache, scenario.rotates);
        if !self.has_journal {
            run.dir = run.dir.map(HostDir::without_journal);
            run.has_journal = false;
        }
        let lived = scenario.lives.iter().try_for_each(|life| run.live(life));
        let seen = lived.and_then(|()| run.end());
        (run, seen)
    }
}

impl Life {
    /// One that ends where a plan says.
    pub fn planned(plan: &str) -> Life {
        Life { plan: plan.to_owned(), ..Life::ended(By::Library) }
    }

    /// One to which nothing happens but its end.
    pub fn ended(by: By) -> Life {
        let ending = Ending { by, from_first: true, after: Duration::from_millis(150) };
        Life { plan: String::new(), seed: 0, ending, full: None, reload: None, recompiles: false }
    }
}

fn start_sim(duplicates: u32) -> Sim {
    let fault = format!("duplicates={duplicates}");
    let streams = STREAMS.join(",");
    let mut args = vec!["--streams", &streams, "--rate", "4000"];
    if duplicates > 0 {
        args.extend(["--fault", &fault]);
    }
    Sim::without_ledger(&args)
}

/// A host's folder over all of its lives.
pub struct Run {
    dir: Option<HostDir>,
    has_journal: bool,
    root: PathBuf,
    preload: Preload,
    sent_log: PathBuf,
    /// Where this run begins in that file.
    sent_from: u64,
    lives: Vec<Lived>,
}

impl Run {
    fn new(sim: &Sim, cache: Option<&Path>, rotates: bool) -> Run {
        let mut dir = HostDir::new(sim, &STREAMS, PIPELINE);
        if rotates {
            dir.add("rotate_size = \"100KiB\"\n");
        }
        put_plugin(&dir, 0, false);
        let root = dir.dir.path().canonicalize().unwrap();
        if let Some(cache) = cache {
            copy_cache(cache, &root.join("data/cache"));
        }
        let sent_log = sim.dir.path().join("sent.jsonl");
        let sent_from = fs::metadata(&sent_log).map_or(0, |metadata| metadata.len());
        let preload = Preload::new(&root);
        Run {
            dir: Some(dir),
            has_journal: true,
            root,
            preload,
            sent_log,
            sent_from,
            lives: Vec::new(),
        }
    }

    /// The log of the process that ran last.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    /// The trace of the library.
    pub fn trace(&self) -> String {
        self.preload.trace_text()
    }

    /// Whether what was planned came to pass, at least once.
    pub fn reached(&self, scenario: &Scenario) -> bool {
        scenario.lives.iter().all(|life| life.plan.is_empty())
            || self.preload.trace().iter().any(|op| op.fate != "ok")
    }

    /// Keeps all that is there, to be looked at.
    pub fn keep(&self, at: &Path) -> std::io::Result<()> {
        fs::create_dir_all(at)?;
        copy_tree(&self.root, &at.join("host"))?;
        fs::write(at.join("trace"), self.trace())?;
        let sent: Vec<String> = self.sent().iter().map(|line| format!("{line:?}\n")).collect();
        fs::write(at.join("sent"), sent.concat())
    }

    /// A life that ends as it is told to.
    fn live(&mut self, life: &Life) -> Result<(), String> {
        let (full, end) = (self.preload.side("full"), self.preload.side("end"));
        // Left by the life before, if there was one.
        let _ = fs::remove_file(&end);
        let last = if life.ending.by == By::Power { "power" } else { "kill" };
        let plan = format!("full={};{last}=file:{};{}", full.display(), end.display(), life.plan);
        let (dir, running) = self.start(Some((&plan, life.seed)))?;
        let mut watch = Watch::new(self.root.clone(), running);
        let lived = watch.until(life, &dir, &full, &end);
        self.lives.push(Lived {
            received: watch.received,
            held: held(&self.log()),
            last_connection: 0,
        });
        drop(watch);
        self.dir = Some(dir);
        self.settle();
        let number = self.lives.len();
        // What cannot be kept for a look at it later is not missed.
        let _ = fs::copy(self.root.join("log"), self.root.join(format!("log.{number}")));
        lived.map_err(|error| format!("process {number}: {error}"))
    }

    /// The last life, which ends in order. Gathers what there is then.
    fn end(&mut self) -> Result<Seen, String> {
        let mut tally = self.live_in_order(Watch::end_in_order)?;
        if tally.in_flight > 0 && self.has_journal {
            // On a busy machine its time of grace was over first: the rest comes with the next start. That
            // one gets nothing new.
            fs::write(self.root.join("hq.secret"), "another").map_err(|error| error.to_string())?;
            tally = self.live_in_order(Watch::end_drained)?;
        }
        Ok(Seen {
            lives: self.lives.clone(),
            tally: Some(tally),
            sent: self.sent(),
            sink: sink(&self.root).map_err(|error| format!("the sink: {error}"))?,
            dead_letters: count_lines(&self.root.join("data/dead-letters.jsonl")),
        })
    }

    /// A life to which nothing happens, and which ends in order.
    fn live_in_order(
        &mut self,
        end: impl Fn(&mut Watch) -> Result<(), String>,
    ) -> Result<Tally, String> {
        let (dir, running) = self.start(None)?;
        let mut watch = Watch::new(self.root.clone(), running);
        let ended = end(&mut watch);
        drop(watch);
        self.dir = Some(dir);
        let log = self.log();
        let tally = ended
            .map(|()| Tally::read(&log))
            .map_err(|error| format!("a process to which nothing happens: {error}"))?;
        self.lives.push(Lived { received: tally.received, held: held(&log), last_connection: 0 });
        self.settle();
        Ok(tally)
    }

    fn start(&mut self, plan: Option<(&str, u64)>) -> Result<(HostDir, Running), String> {
        let dir = self.dir.take().ok_or("the host's folder is gone")?;
        // So that nobody asks at the address of the process before.
        let _ = fs::remove_file(self.root.join("data/listen.addr"));
        let preload = &self.preload;
        let host = dir.run_with(|command| {
            if let Some((plan, seed)) = plan {
                preload.apply(command, plan, seed);
            }
        });
        Ok((host.dir, host.running))
    }

    /// Waits until the simulator has noticed the end of the host, and notes up to which connection it
    /// was.
    fn settle(&mut self) {
        let size = || fs::metadata(&self.sent_log).map_or(0, |metadata| metadata.len());
        let (mut last, mut since) = (size(), Instant::now());
        while since.elapsed() < Duration::from_millis(40) {
            std::thread::park_timeout(Duration::from_millis(2));
            if size() != last {
                (last, since) = (size(), Instant::now());
            }
        }
        let last_connection = self.sent().iter().map(|line| line.connection).max().unwrap_or(0);
        if let Some(life) = self.lives.last_mut() {
            life.last_connection = last_connection;
        }
    }

    /// What was sent to this host.
    fn sent(&self) -> Vec<SentLine> {
        let mut text = String::new();
        let read = fs::File::open(&self.sent_log).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.sent_from))?;
            file.read_to_string(&mut text)
        });
        read.unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

/// Puts the plugin into its place, with a configuration that is another for each version, and does not
/// matter; `is_other_file` also makes another file of it.
pub fn put_plugin(dir: &HostDir, version: u64, is_other_file: bool) {
    let mut wasm = fs::read(plugin("misbehave-transform")).unwrap();
    if is_other_file {
        // A custom section: its id, how long the rest is, how long its name is, its name.
        let name = version.to_be_bytes();
        wasm.extend([0, name.len() as u8 + 1, name.len() as u8]);
        wasm.extend(name.map(|byte| b'a' + byte % 26));
    }
    let toml = format!("[config]\nmode = \"number\"\nn = {}\n", version % 1_000);
    dir.plugin_file("10-number", &wasm, &toml);
}

/// What is at the sink: what was put aside, in the order of names, which is that of time, then the rest.
fn sink(root: &Path) -> std::io::Result<String> {
    let (stem, ending) = SINK.split_once('.').unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name().into_string().unwrap();
        if name.starts_with(stem) && name.ends_with(ending) && name != SINK {
            names.push(name);
        }
    }
    names.sort();
    let mut text = String::new();
    for name in names {
        text += &fs::read_to_string(root.join(name))?;
    }
    match fs::read_to_string(root.join(SINK)) {
        Ok(last) => Ok(text + &last),
        // Put aside, and nothing came after.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(text),
        Err(error) => Err(error),
    }
}

/// How many frames the journal held when the host started, which count as received once more: `held=N`
/// in its log. A host that says nothing of it held none.
fn held(log: &str) -> u64 {
    let held = log.split("held=").nth(1).unwrap_or_default();
    let digits: String = held.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn copy_cache(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Copies a directory with all that is in it.
pub fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
