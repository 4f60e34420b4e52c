//! A system clock that is set back, and forth again, while a host runs and between two of its starts:
//! nothing is lost, comes twice, or stands still. Key function: `set_clock` of the preloaded library.

use super::{MAIN, arrived_in_order, settles};
use crate::crash::preload::Preload;
use crate::dlq::command;
use crate::support::{Host, HostDir, Sim, wait_until};

const DAY: i64 = 86_400;

/// All that was received is at the sink once, in order, and a plugin's state has changed once for each.
fn all_arrived(sim: &Sim, host: &Host) -> u64 {
    let mut names: Vec<_> = std::fs::read_dir(host.dir.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("events") && name != "events.jsonl")
        .collect();
    // By their names, which tell the order whatever the clock said.
    names.sort();
    assert!(!names.is_empty(), "nothing was put aside");
    names.push("events.jsonl".to_owned());
    let lines: Vec<_> = names.iter().flat_map(|name| host.lines(name)).collect();
    for (number, line) in (1..).zip(&lines) {
        assert_eq!(line["count"], number, "{line}");
    }
    arrived_in_order(sim, &lines, "ap-events")
}

#[test]
fn a_clock_that_is_set_back_costs_nothing() {
    // What one connection brought last begins the next one: more than may be unread when the host is killed.
    let args = ["--rate", "2000", "--streams", "ap-events", "--fault", "duplicates=10000"];
    let sim = Sim::without_ledger(&args);
    let mut dir = HostDir::new(&sim, &["ap-events"], MAIN);
    dir.add("rotate_size = \"200KiB\"\nrotate_age = \"1h\"\n");
    dir.add("[journal]\nkeep_age = \"1h\"\n");
    dir.plugin("10-number", "misbehave-transform", "[config]\nmode = \"number\"\n");
    let preload = Preload::new(dir.dir.path());

    let host = dir.run_with(|command| preload.apply(command, "", 1));
    host.receives("main", 500);
    preload.set_clock(-DAY);
    host.receives("main", 1_000);
    // The plugin may be compiled still.
    wait_until("the host to be ready", || host.get("/readyz") == "ready\n");
    let (dir, before) = host.kill("main");

    preload.set_clock(-3 * DAY);
    let host = dir.run_with(|command| preload.apply(command, "", 2));
    host.receives("main", 1_000);
    let dropped = || {
        host.page().value("trommel_duplicates_total", &[("source", "hq"), ("stream", "ap-events")])
    };
    wait_until("duplicates of the first connection to be dropped", || dropped() > 0.0);
    preload.set_clock(2 * DAY);
    host.receives("main", 1_000);
    preload.set_clock(0);
    host.receives("main", 1_000);
    let (dir, _) = host.kill("main");

    let mut host = dir.run_with(|command| preload.apply(command, "", 3));
    wait_until("the host to be ready", || host.get("/readyz") == "ready\n");
    host.receives("main", 500);
    settles(&mut host);
    let arrived = all_arrived(&sim, &host);
    assert!(arrived >= before + 3_500, "{arrived}, {before} before the first kill");
    let log = host.running.log();
    assert!(!log.contains("panicked") && !log.contains("overflow"), "{log}");

    let gaps = command(&host.dir, &["gaps", "--json"]).json();
    // The stop has begun another one.
    let crashes = gaps.iter().filter(|gap| gap["reason"] == "crash");
    assert_eq!(crashes.clone().count(), 2, "{gaps:?}");
    for gap in crashes {
        let (from, to) = (gap["from"].as_str().unwrap(), gap["to"].as_str().unwrap());
        assert!(from <= to, "{gap}");
        assert!(gap["last_id"] != "" && gap["first_id"] != "", "{gap}");
    }
    let verified = command(&host.dir, &["journal", "verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}
