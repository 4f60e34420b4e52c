//! Disks that are full or fail beneath what a host writes: it waits, says so, and goes on by itself.
//! Each file has its own test, for the others can be written meanwhile. Key type: [`Failing`].

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use super::{MAIN, arrived_in_order, settles};
use crate::crash::preload::Preload;
use crate::dlq::command;
use crate::support::{Host, HostDir, Sim, count_lines, wait_until};

/// A host of which some operations fail until it is mended.
struct Failing {
    host: Host,
    mended: PathBuf,
    _preload: Preload,
}

impl Failing {
    /// `point` says which; see the library's plans.
    fn start(dir: HostDir, point: &str, options: &str) -> Failing {
        let preload = Preload::new(dir.dir.path());
        let mended = preload.side("mended");
        let plan = format!("error={point},{options},until={}", mended.display());
        let host = dir.run_with(|command| preload.apply(command, &plan, 1));
        Failing { host, mended, _preload: preload }
    }

    /// It is told wherever people look: in `/readyz`, in the log, once, with a hint, by `trommel status`,
    /// and by a metric.
    fn tells(&mut self, what: &str, text: &str, metric: (&str, &str, &str)) {
        let host = &mut self.host;
        let is_said = |page: &str| page.contains(what) && page.contains(text);
        wait_until("readyz to say it", || is_said(&host.get("/readyz")));
        let (name, label, value) = metric;
        assert_eq!(host.page().value(name, &[(label, value)]), 1.0);
        let status = command(&host.dir, &["status"]);
        assert!(is_said(&status.out) && status.out.contains("hint: "), "{status:?}");
        let json = command(&host.dir, &["status", "--json"]).out;
        assert!(is_said(&json), "{json}");
        let errors =
            |log: &str| log.lines().filter(|line| line.contains("ERROR") && is_said(line)).count();
        wait_until("the log to say it", || errors(&host.running.log()) > 0);
        let log = host.running.log();
        assert_eq!(errors(&log), 1, "{log}");
        assert!(log.contains("hint: "), "{log}");
        assert!(host.running.ended().is_none(), "{log}");
    }

    fn mend(&mut self, metric: (&str, &str, &str)) {
        fs::write(&self.mended, "").unwrap();
        let host = &self.host;
        let (name, label, value) = metric;
        wait_until("it to be over", || host.page().value(name, &[(label, value)]) == 0.0);
        wait_until("the host to be ready", || host.get("/readyz") == "ready\n");
    }

    /// Once it is mended more is received, and all is in the file once, in order.
    fn goes_on(&mut self, metric: (&str, &str, &str), sim: &Sim) {
        self.mend(metric);
        self.host.receives("main", 500);
        let tally = settles(&mut self.host);
        assert_eq!(arrived_numbered(sim, &self.host), tally.received);
    }
}

const SINK: (&str, &str, &str) = ("trommel_sink_failing", "sink", "archive");

fn numbered(rate: &str) -> (Sim, HostDir) {
    let sim = Sim::without_ledger(&["--rate", rate, "--streams", "ap-events"]);
    let dir = HostDir::new(&sim, &["ap-events"], MAIN);
    dir.plugin("10-number", "misbehave-transform", "[config]\nmode = \"number\"\n");
    (sim, dir)
}

/// How many are in the file, once and in order; a plugin's state has changed once for each.
fn arrived_numbered(sim: &Sim, host: &Host) -> u64 {
    let lines = host.lines("events.jsonl");
    let arrived = arrived_in_order(sim, &lines, "ap-events");
    for (number, line) in (1..).zip(&lines) {
        assert_eq!(line["count"], number, "{line}");
    }
    arrived
}

/// What a file system does with what it could not make durable differs: it is gone at once, or with the
/// power, or not at all.
#[test]
fn a_sink_file_that_cannot_be_made_durable_is_written_again_until_it_is() {
    for (errno, drop, text) in [
        ("ENOSPC", "now", "No space left on device"),
        ("EDQUOT", "all", "quota exceeded"),
        ("EIO", "now", "Input/output error"),
        ("EIO", "some", "Input/output error"),
    ] {
        println!("{errno}, {drop}");
        let (sim, dir) = numbered("2000");
        let options = format!("errno={errno},drop={drop}");
        let mut failing = Failing::start(dir, "sync:3@events.jsonl", &options);
        failing.tells("events.jsonl", text, SINK);
        failing.host.receives("main", 500);
        failing.goes_on(SINK, &sim);
    }
}

#[test]
fn a_host_that_is_killed_while_its_sink_file_cannot_be_made_durable_loses_nothing() {
    for drop in ["now", "all"] {
        let (sim, dir) = numbered("2000");
        let options = format!("errno=EIO,drop={drop}");
        let mut failing = Failing::start(dir, "sync:3@events.jsonl", &options);
        failing.tells("events.jsonl", "Input/output error", SINK);
        failing.host.receives("main", 500);
        let (dir, counted) = failing.host.kill("main");
        let mut host = dir.run();
        host.receives("main", 500);
        let tally = settles(&mut host);
        let arrived = arrived_numbered(&sim, &host);
        assert!(arrived >= counted && arrived >= tally.received, "{arrived}, {counted}: {tally:?}");
    }
}

#[test]
fn a_stop_does_not_wait_for_a_sink_file_that_cannot_be_made_durable() {
    let (sim, dir) = numbered("2000");
    let mut failing = Failing::start(dir, "sync:3@events.jsonl", "errno=EIO,drop=now");
    failing.tells("events.jsonl", "Input/output error", SINK);
    let first = failing.host.stop();
    assert!(first.received > 0);
    let mut host = failing.host.dir.run();
    host.receives("main", 500);
    let _ = settles(&mut host);
    let lines = host.lines("events.jsonl");
    assert!(arrived_in_order(&sim, &lines, "ap-events") >= first.received);
}

#[test]
fn a_sink_file_on_a_full_disk_is_waited_for() {
    let (sim, dir) = numbered("2000");
    let mut failing = Failing::start(dir, "write:3@events.jsonl", "errno=ENOSPC");
    failing.tells("events.jsonl", "No space left on device", SINK);
    failing.host.receives("main", 500);
    failing.goes_on(SINK, &sim);
}

#[test]
fn a_host_starts_on_a_full_disk_and_is_found_once_there_is_room() {
    let (sim, dir) = numbered("2000");
    let mut host = dir.run();
    wait_until("events at the sink", || host.settled("main") >= 500);
    let before = settles(&mut host).received;
    let preload = Preload::new(host.dir.dir.path());
    let full = preload.side("full");
    fs::write(&full, "").unwrap();
    let plan = format!("full={}", full.display());
    let mut host = host.dir.run_with(|command| preload.apply(command, &plan, 1));
    host.wait_for_log("started");
    host.wait_for_log("listen.addr: No space left on device");
    assert!(!host.path("data/listen.addr").exists());
    fs::remove_file(&full).unwrap();
    host.receives("main", 500);
    assert!(host.path("data/control.key").exists());
    let received = settles(&mut host).received;
    assert_eq!(arrived_numbered(&sim, &host), before + received);
}

/// Sources have ended, and pipelines take their time: what the host does now and then goes on.
#[test]
fn a_host_that_drains_for_long_is_looked_after() {
    let mut dir = HostDir::empty();
    dir.replay("ap-events", 20);
    dir.add(&MAIN.replace("to =", "through = [\"10-late\"]\nto ="));
    let mut failing = Failing::start(dir, "create:1@listen.part", "errno=ENOSPC");
    let host = &mut failing.host;
    host.wait_for_log("started");
    let log = host.running.log();
    let address = log.split("address=").nth(1).unwrap().split(' ').next().unwrap();
    wait_until("the source to have ended", || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.contains("the host is about to end")
    });
    let file = host.path("data/listen.addr");
    assert!(!file.exists());
    fs::write(&failing.mended, "").unwrap();
    wait_until("the file", || file.exists());
    host.dir.plugin("10-late", "filter", "");
    assert_eq!(host.end().received, 20);
}

#[test]
fn a_journal_and_a_store_on_a_full_disk_are_waited_for() {
    for what in ["journal", "store"] {
        let (sim, dir) = numbered("2000");
        let point = format!("write:40@data/{what}");
        let mut failing = Failing::start(dir, &point, "errno=ENOSPC");
        let metric = ("trommel_disk_failing", "what", what);
        failing.tells(&format!("data/{what}"), "No space left on device", metric);
        failing.goes_on(metric, &sim);
    }
}

#[test]
fn dead_letters_on_a_full_disk_are_waited_for_and_lose_nothing() {
    let sim = Sim::start(&["--rate", "2000", "--count", "2000", "--streams", "ap-events"]);
    let dir = HostDir::new(&sim, &["ap-events"], MAIN);
    dir.plugin("10-bad", "misbehave-filter", "[config]\nmode = \"fault\"\non_id_suffix = \"7\"\n");
    let mut failing = Failing::start(dir, "write:2@dead-letters.jsonl", "errno=ENOSPC");
    let metric = ("trommel_disk_failing", "what", "dead-letters.jsonl");
    failing.tells("dead-letters.jsonl", "No space left on device", metric);
    failing.mend(metric);
    let mut host = failing.host;
    wait_until("all to be settled", || host.settled("main") == 2_000);
    let tally = host.stop();
    assert_eq!((tally.received, tally.in_flight), (2_000, 0));
    let letters = count_lines(&host.path("data/dead-letters.jsonl"));
    assert_eq!(letters as u64, tally.dead_lettered);
    let listed = command(&host.dir, &["dlq", "list", "--json"]).out.lines().count();
    assert_eq!(listed, letters);
    assert_eq!(host.lines("events.jsonl").len() as u64, tally.delivered);
}

#[test]
fn alerts_on_a_full_disk_are_waited_for_and_all_told() {
    let sim = Sim::start(&["--rate", "2000", "--count", "2000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], MAIN);
    dir.add("[pipeline.own]\nfrom = [\"trommel\"]\nto = [\"own\"]\n");
    dir.add("[sink.own]\nkind = \"file\"\npath = \"own.jsonl\"\n");
    dir.plugin("10-alert", "misbehave-alert", "[config]\nmode = \"raise\"\n");
    let mut failing = Failing::start(dir, "write:1@alerts.jsonl", "errno=ENOSPC");
    let metric = ("trommel_disk_failing", "what", "alerts.jsonl");
    failing.tells("alerts.jsonl", "No space left on device", metric);
    failing.mend(metric);
    let mut host = failing.host;
    wait_until("all to be settled", || host.settled("main") == 2_000);
    let tally = host.stop();
    assert_eq!(tally.in_flight, 0);
    let told = host.lines("own.jsonl");
    let told = told.iter().filter(|event| event["type"] == "trommel.alert").count();
    assert!(told > 0);
    assert_eq!(count_lines(&host.path("data/alerts.jsonl")), told);
}
