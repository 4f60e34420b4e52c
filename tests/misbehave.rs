//! Plugins that do harm: it costs the events at fault, and nobody else anything.

use crate::support::{Host, HostDir, Sim, count_lines, wait_until};

const TWO_PIPELINES: &str = r#"
[pipeline.bad]
from = ["hq"]
through = ["10-bad"]
to = ["bad"]
[pipeline.neighbour]
from = ["hq"]
through = []
to = ["neighbour"]
[sink.bad]
kind = "file"
path = "bad.jsonl"
[sink.neighbour]
kind = "file"
path = "neighbour.jsonl"
"#;

/// Runs a bad plugin on the events whose id ends in `a7`, and gives back the host, stopped, and how
/// many events were hit.
fn run_bad(built: &str, toml: &str, count: usize) -> (Host, Vec<String>, Vec<String>) {
    let count_text = count.to_string();
    let mut sim = Sim::start(&[
        "--rate",
        "max",
        "--count",
        &count_text,
        "--streams",
        "ap-events",
        "--seed",
        "11",
    ]);
    let host = HostDir::new(&sim, &["ap-events"], TWO_PIPELINES);
    host.plugin("10-bad", built, toml);
    let mut host = host.run();
    wait_until("the neighbour's events", || count_lines(&host.path("neighbour.jsonl")) == count);
    wait_until("all events to be settled", || host.settled("bad") == count as u64);
    host.stop();
    let ledger = sim.stop();
    let ids: Vec<_> = ledger.into_iter().map(|line| line.id).collect();
    let (hit, spared): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| id.ends_with("a7"));
    assert!(!hit.is_empty(), "no event was hit: choose another seed");
    (host, hit, spared)
}

/// Every event hit is a dead letter with this reason; all others arrived, in order.
fn only_those_hit(built: &str, mode: &str, limits: &str, count: usize, reason: &str, says: &str) {
    let toml = format!("[config]\nmode = \"{mode}\"\non_id_suffix = \"a7\"\n{limits}");
    let (host, hit, spared) = run_bad(built, &toml, count);
    let letters = host.lines("data/dead-letters.jsonl");
    let dead: Vec<_> =
        letters.iter().map(|letter| letter["event"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(dead, hit, "{mode}");
    for letter in &letters {
        assert_eq!(letter["reason"], reason, "{letter}");
        assert_eq!(letter["plugin"], "10-bad");
        assert!(letter["detail"].as_str().unwrap().contains(says), "{letter}");
    }
    assert_eq!(host.ids("bad.jsonl", "ap-events"), spared, "{mode}");
}

#[test]
fn a_trap_costs_the_event_alone() {
    let says = "told to trap at event";
    only_those_hit("misbehave-filter", "trap", "", 5_000, "trap", says);
    only_those_hit("misbehave-transform", "trap", "", 2_000, "trap", says);
}

#[test]
fn an_export_plugin_that_traps_loses_the_event_alone_and_sinks_still_get_it() {
    let toml = "[config]\nmode = \"trap\"\non_id_suffix = \"a7\"\n";
    let (host, hit, spared) = run_bad("misbehave-export", toml, 600);
    let letters = host.lines("data/dead-letters.jsonl");
    let dead: Vec<_> =
        letters.iter().map(|l| l["event"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(dead, hit);
    assert!(letters.iter().all(|letter| letter["reason"] == "trap"));
    assert_eq!(host.ids("bad.jsonl", "ap-events").len(), hit.len() + spared.len());
}

#[test]
fn an_endless_loop_costs_the_event_alone() {
    let limits = "[limits]\ntime = \"100ms\"\n";
    only_those_hit("misbehave-filter", "loop", limits, 600, "timeout", "longer than 100ms");
}

#[test]
fn limits_cost_the_event_alone() {
    let memory = "[limits]\nmemory = \"8MiB\"\n";
    only_those_hit("misbehave-filter", "grow", memory, 600, "limit", "8388608 is the limit");
    only_those_hit("misbehave-filter", "recurse", "", 600, "trap", "stack");
    only_those_hit("misbehave-filter", "state-flood", "", 600, "limit", "a value of 8388608 bytes");
}

#[test]
fn answers_of_the_wrong_shape_cost_the_event_alone() {
    for (built, mode, says) in [
        ("misbehave-filter", "too-short", "verdicts.keep has"),
        ("misbehave-filter", "too-long", "verdicts.keep has"),
        ("misbehave-filter", "bad-verdict", "verdicts.keep has 2"),
        ("misbehave-filter", "fault-index", "a fault names event"),
        ("misbehave-transform", "bad-json", "is not JSON"),
        ("misbehave-transform", "too-few-lines", "lines for"),
        ("misbehave-transform", "too-many-lines", "lines for"),
        ("misbehave-transform", "newline-in-line", "lines for"),
        ("misbehave-transform", "bad-fate", "takes -1, 0 or a count"),
        ("misbehave-transform", "too-short", "outcomes.fates has"),
        ("misbehave-transform", "bad-type-index", "1 of 1 values"),
        ("misbehave-transform", "fault-with-new-event", "both a fault and new events"),
    ] {
        only_those_hit(built, mode, "", 600, "answer", says);
    }
}

#[test]
fn a_fault_names_its_event() {
    only_those_hit("misbehave-filter", "fault", "", 2_000, "fault", "told to");
    only_those_hit("misbehave-transform", "fault", "", 2_000, "fault", "told to");
}

#[test]
fn a_log_flood_costs_nothing_but_lines() {
    let toml = "[config]\nmode = \"log-flood\"\non_id_suffix = \"a7\"\n[limits]\ntime = \"10s\"\n";
    let (host, hit, spared) = run_bad("misbehave-filter", toml, 600);
    assert_eq!(host.ids("bad.jsonl", "ap-events").len(), hit.len() + spared.len());
    assert!(host.running.log().len() < 1 << 20, "the log has {} bytes", host.running.log().len());
}

#[test]
fn an_alert_plugin_at_fault_is_noted_and_the_event_goes_on() {
    for (mode, reason) in [("trap", "trap"), ("fault", "fault")] {
        let toml = format!("[config]\nmode = \"{mode}\"\non_id_suffix = \"a7\"\n");
        let (host, hit, spared) = run_bad("misbehave-alert", &toml, 600);
        assert_eq!(host.ids("bad.jsonl", "ap-events").len(), hit.len() + spared.len());
        let letters = host.lines("data/dead-letters.jsonl");
        assert_eq!(letters.len(), hit.len());
        assert!(letters.iter().all(|letter| letter["reason"] == reason), "{letters:?}");
    }
}

#[test]
fn what_a_failed_call_did_to_state_is_undone() {
    // Counts every event, then traps on some: a count that were not undone would run ahead.
    let toml = "[config]\nmode = \"trap\"\ncount = true\non_id_suffix = \"a7\"\n";
    let count = 2_000;
    let count_text = count.to_string();
    let sim = Sim::start(&[
        "--rate",
        "max",
        "--count",
        &count_text,
        "--streams",
        "ap-events",
        "--seed",
        "11",
    ]);
    let host = HostDir::new(
        &sim,
        &["ap-events"],
        "[pipeline.main]\nfrom = [\"hq\"]\nthrough = [\"10-count\"]\nto = [\"archive\"]\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n",
    );
    host.plugin("10-count", "misbehave-alert", toml);
    let mut host = host.run();
    wait_until("all events", || host.settled("main") == count);
    // The same state, told by the next version.
    host.dir.plugin("10-count", "misbehave-alert", "[config]\nmode = \"tick-raise\"\n");
    host.wait_for_log("alert raise: tick at");
    let tally = host.stop();
    assert_eq!(tally.delivered, count);
    let hit = count_lines(&host.path("data/dead-letters.jsonl")) as u64;
    assert!(hit > 0);
    let alert = &host.lines("data/alerts.jsonl")[0]["data"]["summary"];
    let counted = format!("count {}", count - hit);
    assert!(alert.as_str().unwrap().ends_with(&counted), "{alert} does not end in {counted}");
}

#[test]
fn a_refused_event_is_a_dead_letter_once_and_others_still_get_it() {
    let (host, hit, spared) =
        run_bad("misbehave-export", "[config]\nmode = \"reject\"\non_id_suffix = \"a7\"\n", 1_000);
    let letters = host.lines("data/dead-letters.jsonl");
    assert_eq!(letters.len(), hit.len());
    assert!(letters.iter().all(|letter| letter["reason"] == "refused"));
    assert_eq!(host.ids("bad.jsonl", "ap-events").len(), hit.len() + spared.len());
}

#[test]
fn an_export_plugin_that_asks_again_gets_the_batch_again() {
    let (host, hit, spared) =
        run_bad("misbehave-export", "[config]\nmode = \"retry\"\namount = 3\n", 500);
    assert_eq!(count_lines(&host.path("data/dead-letters.jsonl")), 0);
    assert_eq!(host.ids("bad.jsonl", "ap-events").len(), hit.len() + spared.len());
}

#[test]
fn a_split_event_counts_once() {
    let toml = "[config]\nmode = \"split\"\namount = 3\non_id_suffix = \"a7\"\n";
    let (host, hit, spared) = run_bad("misbehave-transform", toml, 1_000);
    let ids = host.ids("bad.jsonl", "ap-events");
    assert_eq!(ids.len(), spared.len() + 3 * hit.len());
    for id in &hit {
        let parts: Vec<_> = ids.iter().filter(|part| part.starts_with(&**id)).collect();
        assert_eq!(parts, [&format!("{id}.1"), &format!("{id}.2"), &format!("{id}.3")]);
    }
    let log = host.running.log();
    let tally = crate::support::Tally::read(&log);
    assert_eq!((tally.received, tally.delivered), (2_000, 2_000));
}

#[test]
fn a_pipeline_on_another_source_is_not_held_up() {
    let args = ["--rate", "max", "--count", "2000", "--streams", "ap-events", "--seed", "11"];
    let sim = Sim::start(&args);
    let other = Sim::start(&["--rate", "1000", "--count", "2000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(
        &sim,
        &["ap-events"],
        "[pipeline.bad]\nfrom = [\"hq\"]\nthrough = [\"10-bad\"]\n\
         [pipeline.good]\nfrom = [\"branch\"]\nthrough = []\nto = [\"good\"]\n\
         [sink.good]\nkind = \"file\"\npath = \"good.jsonl\"\n",
    );
    dir.source("branch", &other, &["ap-events"]);
    // Every event loops: this pipeline never gets anywhere.
    let toml = "[config]\nmode = \"loop\"\n[limits]\ntime = \"5s\"\n";
    dir.plugin("10-bad", "misbehave-filter", toml);
    let mut host = dir.run();
    host.wait_for_log("plugin takes effect");
    wait_until("the other source's events", || count_lines(&host.path("good.jsonl")) == 2_000);
    let bad = [("pipeline", "bad")];
    wait_until("its own", || host.page().find("trommel_received_total", &bad) == Some(2_000.0));
    assert_eq!(host.settled("bad"), 0);
    let tally = host.stop();
    assert_eq!((tally.delivered, tally.in_flight), (2_000, 2_000));
}
