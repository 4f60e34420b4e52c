//! A host with its own folder: configuration, plugins, data. Key types: [`HostDir`], [`Host`].

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::{Running, Sim, TROMMEL, json_lines, output_of, plugin, wait_for};

/// The folder of a host that may run.
pub struct HostDir {
    pub dir: TempDir,
    config: String,
}

/// The last line that a host prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub received: u64,
    pub delivered: u64,
    pub filtered: u64,
    pub dead_lettered: u64,
    pub in_flight: u64,
}

impl Tally {
    /// Reads the last line of a log.
    pub fn read(log: &str) -> Tally {
        let line = log.lines().last().unwrap_or_default();
        let line = line.strip_prefix("tally ").unwrap_or_else(|| panic!("no tally in: {log}"));
        let mut values = line.split(' ').map(|part| {
            let (name, value) = part.split_once('=').unwrap();
            (name, value.parse().unwrap())
        });
        let mut next = |name: &str| {
            let (found, value) = values.next().unwrap();
            assert_eq!(found, name, "{line}");
            value
        };
        let tally = Tally {
            received: next("received"),
            delivered: next("delivered"),
            filtered: next("filtered"),
            dead_lettered: next("dead_lettered"),
            in_flight: next("in_flight"),
        };
        let sum = tally.delivered + tally.filtered + tally.dead_lettered + tally.in_flight;
        assert_eq!(tally.received, sum, "the tally does not balance: {line}");
        tally
    }
}

impl HostDir {
    /// A folder whose source `hq` holds these streams of a simulator open. Pipelines and sinks are
    /// given as TOML.
    pub fn new(sim: &Sim, streams: &[&str], rest: &str) -> HostDir {
        let mut host = HostDir::empty();
        host.source("hq", sim, streams);
        host.config.push_str(rest);
        host
    }

    /// A folder without sources.
    pub fn empty() -> HostDir {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("plugins.d")).unwrap();
        HostDir { dir, config: "listen = \"127.0.0.1:0\"\n".to_owned() }
    }

    /// Adds a source.
    pub fn source(&mut self, name: &str, sim: &Sim, streams: &[&str]) {
        let ready = &sim.ready;
        let secret = self.path(&format!("{name}.secret"));
        std::fs::write(&secret, &ready.client_secret).unwrap();
        write!(
            self.config,
            "[source.{name}]\nkind = \"central\"\nbase_url = \"{}\"\ntoken_endpoint = \"{}\"\n\
             ca_file = \"{}\"\nclient_id = \"{}\"\nclient_secret = {{ file = \"{}\" }}\n\
             streams = {streams:?}\n",
            ready.base_url,
            ready.token_endpoint,
            ready.ca_file.display(),
            ready.client_id,
            secret.display(),
        )
        .unwrap();
    }

    /// Adds to the configuration.
    pub fn add(&mut self, toml: &str) {
        self.config.push_str(toml);
    }

    /// What is received stays in memory.
    pub fn without_journal(mut self) -> HostDir {
        self.config.insert_str(0, "journal = false\n");
        self
    }

    /// Replaces a text of the configuration.
    pub fn replace(&mut self, from: &str, to: &str) {
        assert!(self.config.contains(from), "{from:?} is not in {}", self.config);
        self.config = self.config.replace(from, to);
    }

    /// Puts another source under a name, as TOML.
    pub fn replace_source(&mut self, name: &str, toml: &str) {
        let head = format!("[source.{name}]\n");
        let start = self.config.find(&head).unwrap() + head.len();
        let end = self.config[start..].find("\n[").map_or(self.config.len(), |end| start + end);
        self.config.replace_range(start..end, toml);
    }

    /// Gives a source other streams, as TOML.
    pub fn streams(&mut self, source: &str, streams: &str) {
        let table = self.config.find(&format!("[source.{source}]")).unwrap();
        let start = table + self.config[table..].find("streams = ").unwrap();
        let end = start + self.config[start..].find('\n').unwrap();
        self.config.replace_range(start..end, &format!("streams = {streams}"));
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a plugin that `make plugins` built into the plugin directory.
    pub fn plugin(&self, name: &str, built: &str, toml: &str) {
        self.plugin_file(name, &std::fs::read(plugin(built)).unwrap(), toml);
    }

    /// Puts a plugin into the plugin directory: its configuration first, then, whole at once, its
    /// file.
    pub fn plugin_file(&self, name: &str, wasm: &[u8], toml: &str) {
        let dir = self.path("plugins.d");
        if !toml.is_empty() {
            std::fs::write(dir.join(format!("{name}.toml")), toml).unwrap();
        }
        let draft = dir.join(format!(".{name}.draft"));
        std::fs::write(&draft, wasm).unwrap();
        std::fs::rename(&draft, dir.join(format!("{name}.wasm"))).unwrap();
    }

    /// Adds a source `hq` that replays these many events of a stream; they come back as lines.
    pub fn replay(&mut self, stream: &str, count: usize) -> String {
        self.replay_as("hq", stream, count)
    }

    /// The same under another name.
    pub fn replay_as(&mut self, name: &str, stream: &str, count: usize) -> String {
        let file = self.path(&format!("{name}.frames"));
        let count = count.to_string();
        let mut make = Command::new(TROMMEL);
        let made = output_of(make.args(["sim", "frames", "--stream", stream, "--count", &count]));
        std::fs::write(&file, made.stdout).unwrap();
        let path = file.display();
        let toml = format!(
            "[source.{name}]\nkind = \"replay\"\npath = \"{path}\"\nstream = \"{stream}\"\n"
        );
        self.add(&toml);
        let mut decode = Command::new(TROMMEL);
        let lines = output_of(decode.args(["decode", "--framed", "--stream", stream]).arg(&file));
        String::from_utf8(lines.stdout).unwrap()
    }

    /// Writes the configuration, and gives back where it is.
    pub fn write_config(&self) -> PathBuf {
        let file = self.path("trommel.toml");
        // Whole at once: a host may be looking.
        let part = self.path(".trommel.toml.part");
        std::fs::write(&part, &self.config).unwrap();
        std::fs::rename(&part, &file).unwrap();
        file
    }

    /// Starts the host.
    pub fn run(self) -> Host {
        self.run_with(|_| {})
    }

    /// Starts the host with these variables besides.
    pub fn run_with_variables(self, variables: &[(&str, &str)]) -> Host {
        self.run_with(|command| {
            command.envs(variables.iter().copied());
        })
    }

    /// Starts the host with arguments or variables of its own.
    pub fn run_with(self, change: impl FnOnce(&mut Command)) -> Host {
        self.launch(Command::new(TROMMEL), change)
    }

    /// Starts the host by a command that takes the program's arguments.
    pub fn run_by(self, command: Command) -> Host {
        self.launch(command, |_| {})
    }

    fn launch(self, mut command: Command, change: impl FnOnce(&mut Command)) -> Host {
        command.args(["run", "--config"]).arg(self.write_config());
        // Whoever runs the tests may live behind a proxy; what is tested is on this machine.
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
            command.env_remove(name).env_remove(name.to_ascii_lowercase());
        }
        change(&mut command);
        let running = Running::start(&mut command, &self.path("stdout"), &self.path("log"));
        Host { dir: self, running }
    }
}

/// A running host.
pub struct Host {
    // Before its folder goes: a test that fails shows the log.
    pub running: Running,
    pub dir: HostDir,
}

impl Host {
    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    /// Waits until a line of its log holds a text.
    pub fn wait_for_log(&mut self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || {
            assert!(self.running.ended().is_none(), "the host ended: {}", self.running.log());
            self.running.log().contains(text).then_some(())
        });
    }

    /// Waits until it has ended by itself.
    pub fn end(&mut self) -> Tally {
        let status = self.running.wait();
        self.ended_well(status)
    }

    /// What one that has ended in order says and leaves.
    fn ended_well(&self, status: std::process::ExitStatus) -> Tally {
        let log = self.running.log();
        assert!(status.success(), "the host: {status}: {log}");
        // A disk that fails leaves what it likes, until the next start.
        if !log.contains("not all is committed") {
            self.have_whole_lines();
        }
        Tally::read(&log)
    }

    fn have_whole_lines(&self) {
        for folder in [self.path("."), self.path("data")] {
            let files = std::fs::read_dir(&folder).into_iter().flatten().map(|file| file.unwrap());
            let paths =
                files.filter(|file| file.file_type().unwrap().is_file()).map(|file| file.path());
            for path in paths.filter(|path| path.extension().is_some_and(|end| end == "jsonl")) {
                let last = std::fs::read(&path).unwrap().pop().unwrap_or(b'\n');
                assert_eq!(last, b'\n', "{} ends within a line", path.display());
            }
        }
    }

    /// Ends it in order.
    pub fn stop(&mut self) -> Tally {
        self.running.terminate();
        let begun = std::time::Instant::now();
        let status = self.running.wait();
        assert!(begun.elapsed().as_secs() < 10, "it took {:?} to stop", begun.elapsed());
        self.ended_well(status)
    }

    /// The lines of one of its files as JSON.
    pub fn lines(&self, name: &str) -> Vec<serde_json::Value> {
        json_lines(&self.path(name))
    }

    /// The ids in a sink's file, by stream, in order.
    pub fn ids(&self, name: &str, stream: &str) -> Vec<String> {
        ids(&self.lines(name), stream)
    }
}

/// The ids of one stream's events.
pub fn ids(events: &[serde_json::Value], stream: &str) -> Vec<String> {
    let of_stream = events.iter().filter(|event| event["stream"] == stream);
    of_stream.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

impl Host {
    /// A page of its HTTP server.
    pub fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.0\r\n\r\n")).1
    }

    /// A connection to its HTTP server.
    pub fn connect(&self) -> std::net::TcpStream {
        let address = wait_for("the host's address", || {
            std::fs::read_to_string(self.path("data/listen.addr")).ok()
        });
        std::net::TcpStream::connect(address.trim()).unwrap()
    }

    /// What its HTTP server answers: the head and the body.
    pub fn ask(&self, request: &str) -> (String, String) {
        use std::io::{Read as _, Write as _};
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Its metrics, read.
    pub fn page(&self) -> super::Page {
        super::Page::read(&self.metrics())
    }

    /// Its metrics.
    pub fn metrics(&self) -> String {
        self.get("/metrics")
    }

    /// How many frames a pipeline has settled so far.
    pub fn settled(&self, pipeline: &str) -> u64 {
        let metrics = self.metrics();
        ["delivered", "filtered", "dead_lettered"]
            .iter()
            .map(|end| {
                let prefix = format!("trommel_{end}_total{{pipeline=\"{pipeline}\"}} ");
                let values = metrics.lines().filter_map(|line| line.strip_prefix(&prefix));
                values.map(|value| value.parse::<u64>().unwrap()).sum::<u64>()
            })
            .sum()
    }
}
