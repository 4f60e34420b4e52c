//! What a journal and a store may meet with: directories that cannot be written, of another version,
//! in use; a disk that is full.

use std::fs;
use std::process::Command;

use super::{MAIN, arrived_in_order, settles};
use crate::crash::preload::Preload;
use crate::support::{HostDir, Sim, TROMMEL, output_of, wait_until};

/// The host does not start: exit code 3, and says so.
fn refuses(dir: &HostDir, says: &[&str]) {
    let mut command = Command::new(TROMMEL);
    command.args(["run", "--config"]).arg(dir.write_config());
    let output = output_of(&mut command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    for text in says {
        assert!(said.contains(text), "{text:?} is not in {said}");
    }
}

fn used() -> HostDir {
    let mut dir = HostDir::empty();
    dir.replay("ap-events", 10);
    dir.add(MAIN);
    let mut host = dir.run();
    host.end();
    host.dir
}

#[test]
fn a_place_for_the_journal_that_is_none_is_told() {
    for name in ["journal", "store"] {
        let mut dir = HostDir::empty();
        dir.replay("ap-events", 10);
        dir.add(MAIN);
        fs::create_dir(dir.path("data")).unwrap();
        fs::write(dir.path("data").join(name), "no directory").unwrap();
        refuses(&dir, &["cannot create", name, "hint: data_dir names it"]);
    }
}

#[test]
fn a_data_directory_in_use_is_told() {
    let sim = Sim::start(&["--rate", "100", "--streams", "ap-events"]);
    let host = HostDir::new(&sim, &["ap-events"], MAIN).run();
    host.receives("main", 10);
    refuses(&host.dir, &["hint: "]);
    host.receives("main", 10);
}

/// Both copies of a segment's header say that a newer version wrote it.
#[test]
fn what_a_newer_version_wrote_is_left_alone() {
    for part in ["journal", "store"] {
        let dir = used();
        let segments = fs::read_dir(dir.path("data").join(part)).unwrap();
        let mut segments: Vec<_> = segments.map(|entry| entry.unwrap().path()).collect();
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        let path = segments.first().unwrap();
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 4096;
        for at in [0, last] {
            bytes[at + 8..at + 12].copy_from_slice(&99_u32.to_le_bytes());
            let crc = crc32fast::hash(&bytes[at..at + 56]);
            bytes[at + 56..at + 60].copy_from_slice(&crc.to_le_bytes());
        }
        fs::write(path, &bytes).unwrap();
        refuses(&dir, &[part, "format version 99", "hint: a newer release wrote this directory"]);
        assert!(fs::read(path).unwrap() == bytes, "it was written to");
    }
}

#[test]
fn a_full_disk_stops_reading_and_loses_nothing() {
    let sim = Sim::without_ledger(&["--rate", "2000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], MAIN);
    dir.plugin("10-number", "misbehave-transform", "[config]\nmode = \"number\"\n");
    dir.add("rotate_size = \"100KiB\"\n");
    let preload = Preload::new(dir.dir.path());
    let full = preload.side("full");
    let plan = format!("full={}", full.display());
    let mut host = dir.run_with(|command| preload.apply(command, &plan, 1));
    host.receives("main", 500);
    fs::write(&full, "").unwrap();
    wait_until("it to be told", || host.get("/readyz").contains("No space left on device"));
    host.wait_for_log("No space left on device");
    fs::remove_file(&full).unwrap();
    host.receives("main", 500);
    wait_until("it to be over", || !host.get("/readyz").contains("No space left on device"));
    let tally = settles(&mut host);
    let mut lines = Vec::new();
    let mut names: Vec<_> = fs::read_dir(host.dir.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("events") && name != "events.jsonl")
        .collect();
    names.sort();
    names.push("events.jsonl".to_owned());
    names.iter().for_each(|name| lines.extend(host.lines(name)));
    assert_eq!(arrived_in_order(&sim, &lines, "ap-events"), tally.received);
    for (number, line) in (1..).zip(&lines) {
        assert_eq!(line["count"], number, "{line}");
    }
}
