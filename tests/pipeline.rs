//! Events through a pipeline: all of them, in order, accounted for.

use std::collections::BTreeSet;

use base64::Engine as _;

use crate::support::{HostDir, Sim, TROMMEL, Tally, count_lines, wait_until};

const ARCHIVE: &str = r#"
[pipeline.main]
from = ["hq"]
to = ["archive"]
[sink.archive]
kind = "file"
path = "events.jsonl"
"#;

#[test]
fn every_event_of_every_stream_arrives_in_order_and_equals_the_ledger() {
    let streams = [
        "ap-events",
        "audit-trail-events",
        "location",
        "rssi-events",
        "geofence",
        "clients-events",
        "switch-events",
        "alert-events",
        "gw-events",
        "wids",
    ];
    let mut sim = Sim::start(&["--rate", "max", "--count", "500", "--seed", "3"]);
    let mut host = HostDir::new(&sim, &streams, ARCHIVE).run();
    wait_until("5,000 events", || count_lines(&host.path("events.jsonl")) == 5_000);
    let tally = host.stop();
    assert_eq!((tally.received, tally.delivered), (5_000, 5_000));
    let ledger = sim.stop();
    let events = host.lines("events.jsonl");
    for stream in streams {
        let sent = ledger.iter().filter(|line| line.stream == stream);
        let arrived = events.iter().filter(|event| event["stream"] == stream);
        for (sent, arrived) in sent.zip(arrived) {
            assert_eq!(
                (&*sent.id, &*sent.ty),
                (arrived["id"].as_str().unwrap(), arrived["type"].as_str().unwrap())
            );
            assert_eq!(sent.data, arrived["data"], "{stream} {}", sent.id);
        }
    }
    let types: BTreeSet<_> = events.iter().map(|event| event["type"].to_string()).collect();
    assert!(types.len() >= 46, "every payload has a type of its own: {types:#?}");
}

#[test]
fn undecodable_and_text_frames_are_dead_letters_with_their_bytes() {
    let sim = Sim::start(&[
        "--rate",
        "max",
        "--count",
        "300",
        "--streams",
        "ap-events",
        "--fault",
        "garbage=50",
        "--fault",
        "text=100",
    ]);
    let mut host = HostDir::new(&sim, &["ap-events"], ARCHIVE).run();
    wait_until("300 events", || count_lines(&host.path("events.jsonl")) == 300);
    wait_until("9 dead letters", || count_lines(&host.path("data/dead-letters.jsonl")) == 9);
    let tally = host.stop();
    assert_eq!((tally.received, tally.delivered, tally.dead_lettered), (309, 300, 9));
    let letters = host.lines("data/dead-letters.jsonl");
    for letter in &letters {
        assert_eq!(letter["reason"], "decode");
        assert_eq!(letter["pipeline"], "main");
        assert!(letter["event"].is_null() && letter["plugin"].is_null(), "{letter}");
        let raw = base64::prelude::BASE64_STANDARD.decode(letter["raw"].as_str().unwrap());
        assert!(!raw.unwrap().is_empty());
    }
    let texts =
        letters.iter().filter(|letter| letter["detail"].as_str().unwrap().contains("text frame"));
    assert_eq!(texts.count(), 3);
}

#[test]
fn sinks_share_and_differ() {
    let sim = Sim::start(&["--rate", "max", "--count", "200", "--streams", "ap-events"]);
    let mut host = HostDir::new(
        &sim,
        &["ap-events"],
        r#"
        [pipeline.one]
        from = ["hq"]
        to = ["both", "screen", "nowhere"]
        [pipeline.two]
        from = ["hq"]
        to = ["both"]
        [sink.both]
        kind = "file"
        path = "both.jsonl"
        [sink.screen]
        kind = "stdout"
        [sink.nowhere]
        kind = "null"
        "#,
    )
    .run();
    wait_until("200 events twice", || count_lines(&host.path("both.jsonl")) == 400);
    wait_until("200 events on screen", || count_lines(&host.path("stdout")) == 200);
    let tally = host.stop();
    assert_eq!((tally.received, tally.delivered), (400, 400));
    assert_eq!(host.lines("both.jsonl").len(), 400, "every line is whole");
}

#[test]
fn bundled_plugins_filter_transform_alert() {
    let sim = Sim::start(&["--rate", "max", "--count", "3000", "--streams", "ap-events"]);
    let host = HostDir::new(
        &sim,
        &["ap-events"],
        r#"
        [pipeline.main]
        from = ["hq"]
        to = ["archive"]
        [pipeline.alerts]
        from = ["trommel"]
        through = []
        to = ["alerts"]
        [sink.archive]
        kind = "file"
        path = "events.jsonl"
        [sink.alerts]
        kind = "file"
        path = "told.jsonl"
        "#,
    );
    host.plugin("10-filter", "filter", "[config]\ndrop = [{ type = \"*.stats.*\" }]\n");
    host.plugin("20-transform", "transform", "[config]\nredact = [\"/tenant_id\"]\n");
    host.plugin(
        "30-alert",
        "alert",
        r#"
        [[config.rules]]
        name = "ap-down"
        type = "*.aps.state.device"
        pointer = "/status"
        equals = false
        group = "/zone"
        distinct = "/serial_number"
        count = 3
        window = "60s"
        severity = "critical"
        summary = "{count} APs down at {group}"
        "#,
    );
    let mut host = host.run();
    wait_until("an alert", || {
        host.lines("told.jsonl").iter().any(|event| event["type"] == "trommel.alert")
    });
    wait_until("all events", || host.settled("main") == 3_000);
    let tally = host.stop();
    let events = host.lines("events.jsonl");
    assert!(tally.filtered > 0 && !events.is_empty());
    for event in &events {
        assert!(!event["type"].as_str().unwrap().contains(".stats."), "{event}");
        assert_eq!(event["data"]["tenant_id"], "***");
    }
    let alerts = host.lines("data/alerts.jsonl");
    let told: Vec<_> = host.lines("told.jsonl");
    let told_alerts: Vec<_> =
        told.iter().filter(|event| event["type"] == "trommel.alert").cloned().collect();
    assert_eq!(alerts, told_alerts, "every alert is told, and written, once");
    assert_eq!(alerts[0]["data"]["edge"], "raise");
    assert_eq!(alerts[0]["data"]["severity"], "critical");
    assert!(told.iter().any(|event| event["type"] == "trommel.reload"), "{told:?}");
}

/// A host that replays 50 events, without pipelines.
fn replaying(dir: &tempfile::TempDir) -> HostDir {
    let frames = std::process::Command::new(TROMMEL)
        .args(["sim", "frames", "--stream", "ap-events", "--count", "50"])
        .output()
        .unwrap();
    std::fs::write(dir.path().join("input.frames"), frames.stdout).unwrap();
    let mut host = HostDir::empty();
    host.add(&format!(
        "[source.recorded]\nkind = \"replay\"\npath = \"{}/input.frames\"\nstream = \"ap-events\"\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n",
        dir.path().display()
    ));
    host.plugin("10-redact", "transform", "[config]\nredact = [\"/tenant_id\"]\n");
    host
}

#[test]
fn a_short_replay_waits_for_its_plugins_and_ends_by_itself() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut host = replaying(&dir);
    host.add("[pipeline.main]\nfrom = [\"recorded\"]\nto = [\"archive\"]\n");
    let mut host = host.run();
    assert!(host.running.wait().success());
    let tally = Tally::read(&host.running.log());
    assert_eq!((tally.received, tally.delivered), (50, 50));
    assert!(host.lines("events.jsonl").iter().all(|event| event["data"]["tenant_id"] == "***"));
}

#[test]
fn a_replay_also_waits_for_those_that_tell_of_it() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut host = replaying(&dir);
    host.add(
        "[pipeline.main]\nfrom = [\"recorded\"]\nthrough = [\"10-redact\"]\nto = [\"archive\"]\n\
         [pipeline.tell]\nfrom = [\"trommel\"]\nthrough = [\"20-late\"]\nto = [\"told\"]\n\
         [sink.told]\nkind = \"file\"\npath = \"told.jsonl\"\n",
    );
    let mut host = host.run();
    // The first pipeline is done; the other holds what it was told, for want of its plugin.
    host.wait_for_log("tally received=50 delivered=50");
    host.dir.plugin("20-late", "filter", "");
    assert!(host.running.wait().success());
    let tally = Tally::read(&host.running.log());
    assert_eq!(tally.in_flight, 0, "{}", host.running.log());
    assert!(!host.lines("told.jsonl").is_empty());
}
