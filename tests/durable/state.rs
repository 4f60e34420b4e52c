//! What plugins remember: exact across kills and reloads, within its limits, and for as long as it may.

use std::collections::BTreeSet;

use super::{MAIN, arrived_in_order, settles};
use crate::support::{HostDir, Sim, wait_until};

#[test]
fn each_event_changes_state_once_though_the_host_is_killed() {
    let sim = Sim::without_ledger(&["--rate", "2000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], MAIN);
    dir.plugin("10-number", "misbehave-transform", "[config]\nmode = \"number\"\n");
    for version in 0..3 {
        let host = dir.run();
        host.receives("main", 300);
        // Another version of the plugin takes over what the one before remembered.
        let toml = format!("[config]\nmode = \"number\"\nn = {version}\n");
        host.dir.plugin("10-number", "misbehave-transform", &toml);
        host.receives("main", 300);
        (dir, _) = host.kill("main");
    }
    let mut host = dir.run();
    host.receives("main", 300);
    settles(&mut host);
    let lines = host.lines("events.jsonl");
    arrived_in_order(&sim, &lines, "ap-events");
    for (number, line) in (1..).zip(&lines) {
        assert_eq!(line["count"], number, "{line}");
    }
}

#[test]
fn a_plugin_that_remembers_too_much_makes_dead_letters() {
    let mut dir = HostDir::empty();
    dir.replay("ap-events", 20);
    dir.add(MAIN);
    let toml = "[config]\nmode = \"number\"\n[limits]\nstate = \"16B\"\n";
    dir.plugin("10-number", "misbehave-transform", toml);
    let mut host = dir.run();
    let tally = host.end();
    assert_eq!((tally.received, tally.dead_lettered), (20, 20));
    let letter = &host.lines("data/dead-letters.jsonl")[0];
    let detail = letter["detail"].as_str().unwrap();
    assert!(detail.contains("state: a whole of") && detail.contains("16 is the most"), "{letter}");
}

#[test]
fn what_was_not_set_for_long_is_forgotten() {
    // Each type comes less often than once in a second.
    let sim = Sim::without_ledger(&["--rate", "3", "--streams", "ap-events"]);
    let dir = HostDir::new(&sim, &["ap-events"], MAIN);
    let toml = "[config]\nmode = \"number\"\n[limits]\nstate_life = \"1s\"\n";
    dir.plugin("10-number", "misbehave-transform", toml);
    let host = dir.run();
    wait_until("a number that is given again to a type", || {
        let lines = host.lines("events.jsonl");
        let firsts: Vec<_> = lines.iter().filter(|line| line["countoftype"] == 1).collect();
        let types: BTreeSet<_> = firsts.iter().map(|line| line["type"].to_string()).collect();
        types.len() < firsts.len()
    });
}

#[test]
fn no_two_alerts_have_the_same_id_though_the_pipeline_comes_back_or_the_store_is_lost() {
    let mut dir = HostDir::empty();
    dir.replay("ap-events", 50);
    dir.add(MAIN);
    dir.plugin("10-alert", "misbehave-alert", "[config]\nmode = \"raise\"\n");
    let (mut ids, mut before) = (BTreeSet::new(), 0);
    for (is, was, is_lost) in [
        ("main", "main", false),
        ("other", "main", false),
        ("main", "other", false),
        ("main", "main", true),
    ] {
        dir.replace(&format!("[pipeline.{was}]"), &format!("[pipeline.{is}]"));
        if is_lost {
            std::fs::remove_dir_all(dir.path("data/store")).unwrap();
        }
        let mut host = dir.run();
        host.end();
        let told = host.lines("data/alerts.jsonl");
        assert!(told.len() > before, "nothing is told of {is}");
        before = told.len();
        ids = told.iter().map(|event| event["id"].to_string()).collect();
        assert_eq!(ids.len(), before, "{is}: {ids:?}");
        dir = host.dir;
    }
    assert!(ids.iter().all(|id| id.contains("main-") || id.contains("other-")), "{ids:?}");
}
