//! Sinks that do not work, for long, while events come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{arrived_in_order, settles};
use crate::support::{Collector, HostDir, Reply, Sim, count_lines, wait_until};

const TO_SERVER: &str = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"siem\"]\n";

fn server(url: &str) -> String {
    format!("[sink.siem]\nkind = \"http\"\nurl = \"{url}\"\nformat = \"ndjson\"\n")
}

#[test]
fn what_came_while_a_sink_refused_arrives_in_order_though_the_host_was_killed() {
    let works = Arc::new(AtomicBool::new(false));
    let collector = Collector::start({
        let works = Arc::clone(&works);
        move |_| Reply::status(if works.load(Ordering::Acquire) { 200 } else { 503 })
    });
    let sim = Sim::without_ledger(&["--rate", "3000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], TO_SERVER);
    dir.add(&server(&collector.url));
    let mut counted = 0;
    for _ in 0..2 {
        let host = dir.run();
        host.receives("main", 1_500);
        // All that an earlier process counted is in the journal still.
        (dir, counted) = host.kill("main");
    }
    let mut host = dir.run();
    host.receives("main", 500);
    works.store(true, Ordering::Release);
    wait_until("all to be delivered", || host.settled("main") > counted + 500);
    let tally = settles(&mut host);
    let lines: Vec<_> = collector.taken_text().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(arrived_in_order(&sim, &lines, "ap-events"), tally.received);
    assert!(tally.received >= counted);
}

#[test]
fn a_sink_that_hangs_holds_up_its_own_pipeline_alone() {
    let collector = Collector::start(|_| Reply::hang());
    // More than a queue in memory would hold.
    let sim = Sim::without_ledger(&["--rate", "max", "--count", "40000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], TO_SERVER);
    dir.add(&server(&collector.url));
    dir.add("[pipeline.next]\nfrom = [\"hq\"]\nto = [\"archive\"]\n");
    dir.add("[sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n");
    let host = dir.run();
    wait_until("the neighbour to take all", || count_lines(&host.path("events.jsonl")) == 40_000);
    assert_eq!(host.settled("main"), 0);
    assert_eq!(host.received("main"), 40_000);
}
