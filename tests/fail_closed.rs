//! A plugin that should be there and is not: nothing slips past it.

use crate::support::{Host, HostDir, Sim, count_lines, wait_until};

const HELD: &str = r#"
[pipeline.main]
from = ["hq"]
through = ["10-redact"]
to = ["archive"]
[sink.archive]
kind = "file"
path = "events.jsonl"
"#;

const REDACT: &str = "[config]\nredact = [\"/tenant_id\"]\n";

fn assert_all_redacted(host: &Host) {
    for event in host.lines("events.jsonl") {
        assert_eq!(event["data"]["tenant_id"], "***", "{event}");
    }
}

#[test]
fn missing_at_start_the_pipeline_is_held_until_it_comes() {
    let sim = Sim::start(&["--rate", "max", "--count", "5000", "--streams", "ap-events"]);
    let mut host = HostDir::new(&sim, &["ap-events"], HELD).run();
    host.wait_for_log("held: plugin \"10-redact\" is not there");
    wait_until("events to wait", || {
        host.metrics().contains("trommel_in_flight{pipeline=\"main\"} 5000")
    });
    assert!(host.get("/readyz").contains("is held"), "{}", host.get("/readyz"));
    assert_eq!(count_lines(&host.path("events.jsonl")), 0);
    host.dir.plugin("10-redact", "transform", REDACT);
    wait_until("all events", || count_lines(&host.path("events.jsonl")) == 5_000);
    host.stop();
    assert_all_redacted(&host);
}

#[test]
fn broken_at_first_load_the_pipeline_is_held_until_it_is_repaired() {
    for through in [true, false] {
        let sim = Sim::start(&["--rate", "max", "--count", "3000", "--streams", "ap-events"]);
        let mut dir = HostDir::new(&sim, &["ap-events"], HELD);
        if !through {
            // All that lie there at start must load.
            dir.replace("through = [\"10-redact\"]\n", "");
        }
        dir.plugin_file("10-redact", b"\0asm broken", REDACT);
        let mut host = dir.run();
        host.wait_for_log("held: plugin \"10-redact\" has never loaded: it is not WebAssembly");
        wait_until("events to wait", || {
            host.metrics().contains("trommel_in_flight{pipeline=\"main\"} 3000")
        });
        assert_eq!(count_lines(&host.path("events.jsonl")), 0);
        host.dir.plugin("10-redact", "transform", REDACT);
        wait_until("all events", || count_lines(&host.path("events.jsonl")) == 3_000);
        host.stop();
        assert_all_redacted(&host);
    }
}

#[test]
fn removed_while_it_runs_the_pipeline_is_held_until_it_is_back() {
    let mut sim = Sim::start(&["--rate", "2000", "--streams", "ap-events"]);
    let dir = HostDir::new(&sim, &["ap-events"], HELD);
    dir.plugin("10-redact", "transform", REDACT);
    let mut host = dir.run();
    wait_until("events", || count_lines(&host.path("events.jsonl")) > 500);
    std::fs::remove_file(host.path("plugins.d/10-redact.wasm")).unwrap();
    host.wait_for_log("held: plugin \"10-redact\" is not there");
    let held_at = count_lines(&host.path("events.jsonl"));
    wait_until("a thousand more to wait", || {
        let received = host.metrics();
        let prefix = "trommel_in_flight{pipeline=\"main\"} ";
        let waiting = received.lines().find_map(|line| line.strip_prefix(prefix)?.parse().ok());
        waiting.is_some_and(|waiting: u64| waiting > 1_000)
    });
    assert_eq!(count_lines(&host.path("events.jsonl")), held_at);
    host.dir.plugin("10-redact", "transform", REDACT);
    wait_until("the pipeline to go on", || {
        count_lines(&host.path("events.jsonl")) > held_at + 1_000
    });
    let ledger = sim.stop();
    let sent: u64 = ledger.iter().map(|line| line.sent).sum();
    wait_until("all that was sent", || host.settled("main") >= sent);
    host.stop();
    assert_all_redacted(&host);
    let sent: Vec<_> = ledger.iter().filter(|l| l.sent > 0).map(|l| l.id.clone()).collect();
    assert_eq!(host.ids("events.jsonl", "ap-events"), sent, "nothing lost, nothing twice");
}

#[test]
fn a_held_pipeline_does_not_keep_the_host_from_stopping() {
    let sim = Sim::start(&["--rate", "max", "--streams", "ap-events"]);
    let mut host = HostDir::new(&sim, &["ap-events"], HELD).run();
    wait_until("the pipeline to be full", || {
        let metrics = host.metrics();
        let prefix = "trommel_in_flight{pipeline=\"main\"} ";
        metrics
            .lines()
            .find_map(|l| l.strip_prefix(prefix)?.parse::<u64>().ok())
            .is_some_and(|n| n > 10_000)
    });
    let tally = host.stop();
    assert_eq!(tally.delivered, 0);
    assert_eq!(tally.in_flight, tally.received);
}
