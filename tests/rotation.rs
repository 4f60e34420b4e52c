//! The file sink over time: files put aside by size and age, compressed, deleted; moved and removed
//! under it; a disk that is full.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Host, HostDir, Sim, TROMMEL, count_lines, wait_for, wait_until};

/// What was put aside of a sink's file, in order of time, which is that of the names.
fn aside(host: &Host, dir: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(host.path(dir)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap() != "events.jsonl");
    paths.sort();
    paths
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// All that is in a sink's files, those put aside first.
fn text(host: &Host, dir: &str) -> String {
    let mut text = String::new();
    for path in aside(host, dir) {
        let mut file = File::open(&path).unwrap();
        let read = if is_compressed(&path) {
            flate2::read::GzDecoder::new(file).read_to_string(&mut text)
        } else {
            file.read_to_string(&mut text)
        };
        read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.ends_with('\n'), "{} ends within a line", path.display());
    }
    text + &std::fs::read_to_string(host.path(dir).join("events.jsonl")).unwrap()
}

/// The ids of events in a text.
fn ids(text: &str) -> Vec<String> {
    let events =
        text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
    events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn files_are_put_aside_by_size_compressed_and_deleted() {
    let mut dir = HostDir::empty();
    let lines = dir.replay("ap-events", 12_000);
    dir.add("[pipeline.main]\nfrom = [\"hq\"]\nto = [\"all\", \"packed\", \"few\"]\n");
    // It keeps the host running, with all events in its queue.
    dir.add("[pipeline.held]\nfrom = [\"hq\"]\nthrough = [\"nothing\"]\n");
    for (name, more) in [("all", ""), ("packed", "compress = \"gzip\"\n"), ("few", "keep = 2\n")] {
        let path = format!("path = \"{name}/events.jsonl\"\nrotate_size = \"1MiB\"\n");
        dir.add(&format!("[sink.{name}]\nkind = \"file\"\n{path}{more}"));
    }
    let mut host = dir.run();
    wait_until("12,000 events", || host.settled("main") == 12_000);
    let count = aside(&host, "all").len();
    assert!(count >= 3, "{count}");
    wait_until("all to be compressed", || {
        let aside = aside(&host, "packed");
        aside.len() == count && aside.iter().all(|path| is_compressed(path))
    });
    wait_until("all but two to be deleted", || aside(&host, "few").len() == 2);
    host.stop();
    assert!(text(&host, "all") == lines, "each event once, in order");
    assert!(text(&host, "packed") == lines, "each event once, in order");
    let few = text(&host, "few");
    assert!(lines.ends_with(&few) && few.len() < lines.len(), "the newest are kept");
    for path in aside(&host, "all") {
        assert!(path.metadata().unwrap().len() <= 1 << 20, "{}", path.display());
    }
}

#[test]
fn files_are_put_aside_by_age() {
    let mut sim = Sim::start(&["--rate", "100", "--streams", "ap-events"]);
    let mut host = HostDir::new(
        &sim,
        &["ap-events"],
        "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"out\"]\n[sink.out]\nkind = \"file\"\n\
         path = \"out/events.jsonl\"\nrotate_age = \"1s\"\n",
    )
    .run();
    wait_until("three files", || aside(&host, "out").len() >= 3);
    let tally = host.stop();
    let sent: Vec<String> = sim.stop().into_iter().map(|line| line.id).collect();
    let arrived = ids(&text(&host, "out"));
    assert_eq!(arrived.len() as u64, tally.delivered);
    assert_eq!(arrived, sent[..arrived.len()]);
}

#[test]
fn a_quiet_file_is_put_aside_when_it_is_old() {
    let mut sim = Sim::start(&["--rate", "max", "--count", "50", "--streams", "ap-events"]);
    let mut host = HostDir::new(
        &sim,
        &["ap-events"],
        "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"out\"]\n[sink.out]\nkind = \"file\"\n\
         path = \"out/events.jsonl\"\nrotate_age = \"1s\"\ncompress = \"gzip\"\n",
    )
    .run();
    wait_until("all events", || host.settled("main") == 50);
    // Nothing more comes.
    wait_until("all to be put aside", || {
        let aside = aside(&host, "out");
        let events = host.path("out/events.jsonl");
        !aside.is_empty()
            && aside.iter().all(|path| is_compressed(path))
            && count_lines(&events) == 0
    });
    assert_eq!(host.stop().delivered, 50);
    let sent: Vec<String> = sim.stop().into_iter().map(|line| line.id).collect();
    assert_eq!(ids(&text(&host, "out")), sent, "each event once, in order");
}

#[test]
fn a_file_that_is_moved_or_removed_is_begun_anew() {
    let mut sim = Sim::start(&["--rate", "200", "--streams", "ap-events"]);
    let mut host = HostDir::new(
        &sim,
        &["ap-events"],
        "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"out\"]\n[sink.out]\nkind = \"file\"\n\
         path = \"out/events.jsonl\"\n",
    )
    .run();
    let path = host.path("out/events.jsonl");
    wait_until("events", || count_lines(&path) > 10);
    std::fs::rename(&path, host.path("out/a-moved.jsonl")).unwrap();
    wait_until("events in a new file", || count_lines(&path) > 10);
    std::fs::rename(&path, host.path("out/b-moved.jsonl")).unwrap();
    wait_until("events in a third", || count_lines(&path) > 10);
    host.stop();
    let sent: Vec<String> = sim.stop().into_iter().map(|line| line.id).collect();
    let arrived = ids(&text(&host, "out"));
    assert_eq!(arrived, sent[..arrived.len()], "each event once, in order");
}

#[test]
fn a_full_disk_loses_nothing_and_needs_nobody() {
    let mut dir = HostDir::empty();
    let lines = dir.replay("ap-events", 10_000);
    dir.add("[pipeline.main]\nfrom = [\"hq\"]\nto = [\"out\"]\n[sink.out]\nkind = \"file\"\n");
    dir.add("path = \"out/events.jsonl\"\n");
    // A limit on the size of files stands in for the end of a disk: writes fail half way.
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -S -f 1001; exec \"$0\" \"$@\"";
    command.args(["-c", script, TROMMEL]);
    let mut host = dir.without_journal().run_by(command);
    host.wait_for_log("File too large");
    // It is tried again and again, and each time what was written in part is cut off.
    let whole = wait_for("no torn line to be left", || {
        let text = std::fs::read_to_string(host.path("out/events.jsonl")).unwrap();
        (text.is_empty() || text.ends_with('\n')).then_some(text)
    });
    assert!(lines.starts_with(&whole) && whole.len() < lines.len());
    let none = rustix::process::Rlimit { current: None, maximum: None };
    let limit = rustix::process::Resource::Fsize;
    rustix::process::prlimit(Some(host.running.id()), limit, none).unwrap();
    assert_eq!(host.end().delivered, 10_000);
    assert!(text(&host, "out") == lines, "each event once, in order");
    assert!(host.running.log().contains("sink works again"), "{}", host.running.log());
}
