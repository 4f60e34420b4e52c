//! The file sink is exact: after a crash, through reloads, with several pipelines in one file, when files
//! are put aside.

use super::{MAIN, arrived_in_order, settles};
use crate::support::{Host, HostDir, Sim, json_lines, wait_until};

/// Two pipelines that write to one file.
const SHARED: &str = "[pipeline.one]\nfrom = [\"one\"]\nto = [\"archive\"]\n\
    [pipeline.two]\nfrom = [\"two\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"out/events.jsonl\"\nrotate_size = \"200KiB\"\n";

/// The lines of a sink's file, those put aside first.
fn lines(host: &Host, dir: &str) -> Vec<serde_json::Value> {
    let entries = std::fs::read_dir(host.path(dir)).unwrap();
    let mut aside: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    aside.retain(|path| path.file_name().unwrap() != "events.jsonl");
    aside.sort();
    let mut lines: Vec<_> = aside.iter().flat_map(|path| json_lines(path)).collect();
    lines.extend(host.lines(&format!("{dir}/events.jsonl")));
    lines
}

#[test]
fn other_settings_of_a_sink_cut_nothing_off() {
    let sim = Sim::without_ledger(&["--rate", "2000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], MAIN);
    dir.add("rotate_size = \"100MiB\"\n[journal]\ncommit_every = \"3s\"\n");
    let mut host = dir.run();
    host.receives("main", 500);
    for (from, to) in [("100MiB", "101MiB"), ("101MiB", "102MiB"), ("102MiB", "103MiB")] {
        host.dir.replace(from, to);
        host.reconfigure();
        host.receives("main", 200);
    }
    let tally = settles(&mut host);
    assert_eq!(arrived_in_order(&sim, &host.lines("events.jsonl"), "ap-events"), tally.received);
}

#[test]
fn pipelines_that_share_a_file_that_is_put_aside_write_each_line_once() {
    let sim = Sim::without_ledger(&["--rate", "1500", "--streams", "ap-events,audit-trail-events"]);
    let mut dir = HostDir::empty();
    dir.source("one", &sim, &["ap-events"]);
    dir.source("two", &sim, &["audit-trail-events"]);
    dir.add(SHARED);
    let (mut one, mut two) = (0, 0);
    for _ in 0..3 {
        let host = dir.run();
        host.receives("one", 400);
        two += host.received("two").saturating_sub(held(&host, "two"));
        let before = held(&host, "one");
        let received;
        (dir, received) = host.kill("one");
        one += received.saturating_sub(before);
    }
    let mut host = dir.run();
    host.receives("one", 200);
    wait_until("files to be put aside", || {
        std::fs::read_dir(host.path("out")).unwrap().count() > 2
    });
    settles(&mut host);
    let lines = lines(&host, "out");
    let counted = [("ap-events", one), ("audit-trail-events", two)];
    for (stream, counted) in counted {
        let arrived = arrived_in_order(&sim, &lines, stream);
        assert!(arrived >= counted, "{stream}: {counted} were counted, {arrived} arrived");
    }
}

/// What the journal held for a pipeline when this process began: an earlier one has counted it.
fn held(host: &Host, pipeline: &str) -> u64 {
    let log = host.running.log();
    let line = log.lines().find(|line| {
        line.contains("goes on with what the journal holds") && line.contains(pipeline)
    });
    let held = line.and_then(|line| line.split("held=").nth(1)).unwrap_or("0");
    held.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_file_that_was_moved_while_the_host_was_down_is_begun_anew() {
    let sim = Sim::without_ledger(&["--rate", "1000", "--streams", "ap-events"]);
    let host = HostDir::new(&sim, &["ap-events"], MAIN).run();
    host.receives("main", 500);
    let (dir, _) = host.kill("main");
    std::fs::rename(dir.path("events.jsonl"), dir.path("moved")).unwrap();
    let mut host = dir.run();
    host.receives("main", 500);
    settles(&mut host);
    let (moved, now) = (host.lines("moved"), host.lines("events.jsonl"));
    // What was not committed is in both: nobody cuts a file that was taken away.
    let first = &now[0]["id"];
    let again = moved.iter().position(|line| line["id"] == *first).unwrap_or(moved.len());
    let lines = [&moved[..again], &now[..]].concat();
    arrived_in_order(&sim, &lines, "ap-events");
}

#[test]
fn a_pipeline_that_is_replaced_under_its_name_loses_nothing() {
    let sim = Sim::without_ledger(&["--rate", "2000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], MAIN);
    dir.add("[journal]\ncommit_every = \"1s\"\n");
    let mut host = dir.run();
    host.receives("main", 500);
    // One that takes from `trommel` too ends at another time: it is another pipeline.
    for (from, to) in [("[\"hq\"]", "[\"hq\", \"trommel\"]"), ("[\"hq\", \"trommel\"]", "[\"hq\"]")]
    {
        host.dir.replace(&format!("from = {from}"), &format!("from = {to}"));
        host.reconfigure();
        wait_until("the other one to take over", || host.settled("main") > 300);
    }
    let (dir, _) = host.kill("main");
    let mut host = dir.run();
    host.receives("main", 500);
    settles(&mut host);
    arrived_in_order(&sim, &host.lines("events.jsonl"), "ap-events");
}

#[test]
fn a_pipeline_that_is_removed_drains_and_its_place_is_given_up() {
    let sim = Sim::without_ledger(&["--rate", "500", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], MAIN);
    let other = "[pipeline.other]\nfrom = [\"hq\"]\nto = [\"more\"]\n\
        [sink.more]\nkind = \"file\"\npath = \"more.jsonl\"\n";
    dir.add(other);
    let mut host = dir.run();
    host.receives("other", 300);
    host.dir.replace(other, "");
    host.reconfigure();
    host.wait_for_log("pipeline=\"other\"");
    wait_until("its place to be given up", || {
        host.running.log().contains("its place in the journal is given up")
    });
    // It is new when it comes back, and begins with what comes then.
    let count = host.lines("more.jsonl").len();
    host.dir.add(other);
    host.reconfigure();
    host.receives("other", 100);
    settles(&mut host);
    let more = host.lines("more.jsonl");
    let all: Vec<_> = host.lines("events.jsonl").iter().map(|line| line["id"].clone()).collect();
    let (before, after) = more.split_at(count);
    let (mut before, mut after) = (before.iter(), after.iter());
    for id in all {
        let _ = before.as_slice().first().is_some_and(|line| line["id"] == id)
            && before.next().is_some()
            || after.as_slice().first().is_some_and(|line| line["id"] == id)
                && after.next().is_some();
    }
    assert_eq!((before.len(), after.len()), (0, 0), "all of it in order, each event once");
}
