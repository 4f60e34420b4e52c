//! What a host has left, to be spoiled and started again, any number of times. Key type: [`Base`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::places::{Map, Place};
use crate::support::{Host, HostDir, TROMMEL, output_of};

const BLOCK: usize = 4096;
/// What is a running host's alone.
const NOT_LEFT: [&str; 3] = ["lock", "listen.addr", "control.key"];

/// Files of a directory, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// When files were written, by path.
type Written = BTreeMap<PathBuf, SystemTime>;

/// The folder of a host that does not run, as it was left.
pub struct Base {
    dir: Option<HostDir>,
    data: Files,
    journal: Files,
    store: Files,
    sink: Vec<u8>,
    written: RefCell<Written>,
}

fn read(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let files = files
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    files.filter(|(name, _)| !NOT_LEFT.contains(&&**name)).collect()
}

/// Makes the directory's files these, with holes where nothing is written. Those that nobody wrote to since
/// the last time stay.
fn write(dir: &Path, files: &Files, written: &mut Written) {
    let time = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let is_as_it_was = written.get(&path).is_some_and(|written| Some(*written) == time(&path));
        if path.is_file() && !is_as_it_was {
            written.remove(&path);
            fs::remove_file(path).unwrap();
        }
    }
    for (name, bytes) in files {
        let path = dir.join(name);
        if written.contains_key(&path) && path.exists() {
            continue;
        }
        let file = fs::File::create(&path).unwrap();
        for (at, block) in (0..).step_by(BLOCK).zip(bytes.chunks(BLOCK)) {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, at).unwrap();
            }
        }
        file.set_len(bytes.len() as u64).unwrap();
        drop(file);
        written.extend(time(&path).map(|time| (path, time)));
    }
}

/// Which of the two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    Journal,
    Store,
}

impl Base {
    pub fn new(dir: HostDir) -> Base {
        let data = dir.path("data");
        Base {
            data: read(&data),
            journal: read(&data.join("journal")),
            store: read(&data.join("store")),
            sink: fs::read(dir.path("events.jsonl")).unwrap_or_default(),
            written: RefCell::default(),
            dir: Some(dir),
        }
    }

    /// The journal of a host that may run.
    pub fn look(dir: &HostDir) -> Map {
        Map::new(&read(&dir.path("data/journal")))
    }

    pub fn dir(&self) -> &HostDir {
        self.dir.as_ref().unwrap()
    }

    pub fn map(&self, log: Log) -> Map {
        Map::new(match log {
            Log::Journal => &self.journal,
            Log::Store => &self.store,
        })
    }

    /// Makes all as it was left. The sink's file stays the same file.
    pub fn restore(&self) {
        let dir = self.dir();
        let data = dir.path("data");
        let mut written = self.written.borrow_mut();
        write(&data, &self.data, &mut written);
        write(&data.join("journal"), &self.journal, &mut written);
        write(&data.join("store"), &self.store, &mut written);
        if dir.path("events.jsonl").exists() {
            let sink = fs::File::options().write(true).open(dir.path("events.jsonl")).unwrap();
            sink.set_len(0).unwrap();
            sink.write_all_at(&self.sink, 0).unwrap();
        }
    }

    fn path(&self, log: Log, file: &str) -> PathBuf {
        let name = match log {
            Log::Journal => "data/journal",
            Log::Store => "data/store",
        };
        self.dir().path(name).join(file)
    }

    pub fn flip(&self, log: Log, place: &Place) {
        let path = self.path(log, &place.file);
        let file = fs::File::options().read(true).write(true).open(&path);
        // The clock of a file system may be coarser than two writes are apart.
        self.written.borrow_mut().remove(&path);
        let (file, at, mut byte) = (file.unwrap(), place.offset as u64, [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << place.bit)], at).unwrap();
    }

    pub fn remove(&self, log: Log, file: &str) {
        fs::remove_file(self.path(log, file)).unwrap();
    }

    /// Starts the host on it.
    pub fn run(&mut self) -> Host {
        self.dir.take().unwrap().run_with(|command| {
            command.args(["--log-level", "debug"]);
        })
    }

    /// Its host has ended.
    pub fn take_back(&mut self, host: Host) {
        self.dir = Some(host.dir);
    }
}

/// What a command says of a folder on standard output, and its exit code.
pub fn ask(dir: &HostDir, args: &[&str]) -> (String, i32) {
    let config = dir.path("trommel.toml");
    let output = output_of(Command::new(TROMMEL).args(args).arg("--config").arg(config));
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

/// The frames of a file once more, each with up to so many bytes that mean nothing to anybody at its end:
/// a field of the envelope that nobody knows.
pub fn pad(file: &Path, rng: &mut rand::rngs::StdRng, most: usize) {
    use rand::RngExt as _;
    let (bytes, mut padded) = (fs::read(file).unwrap(), Vec::new());
    let mut rest = &bytes[..];
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (frame, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        let room = rng.random_range(0..most);
        // Field 1000, of bytes; their length in two bytes.
        let field = [0xc2, 0x3e, (room & 0x7f) as u8 | 0x80, (room >> 7) as u8];
        padded.extend(u32::to_be_bytes((frame.len() + field.len() + room) as u32));
        padded.extend_from_slice(frame);
        padded.extend(field);
        padded.extend((0..room).map(|_| rng.random::<u8>()));
        rest = after;
    }
    fs::write(file, padded).unwrap();
}
