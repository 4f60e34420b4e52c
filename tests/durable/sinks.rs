//! Sinks that do not work, for long, while events come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

/// Waits for a figure to come to another, for as long as it moves.
fn moves_up_to(what: &str, end: impl Fn() -> u64, now: impl Fn() -> u64) {
    let mut last = 0;
    while last < end() {
        wait_until(what, || now() > last);
        last = now();
    }
}

/// What holds the journal is what pipelines may go back to: when it is full they see to it.
#[test]
fn a_small_journal_does_not_stand_still() {
    let count = 400_000;
    let count_arg = count.to_string();
    let args = ["--rate", "max", "--count", &count_arg, "--streams", "ap-events"];
    let sim = Sim::without_ledger(&args);
    let mut dir = HostDir::new(&sim, &["ap-events"], "");
    dir.add("[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n");
    dir.add("[sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n");
    // Filled many times over.
    dir.add("[journal]\nmax_size = \"64MiB\"\nkeep_size = \"1MiB\"\n");
    let mut host = dir.run();
    moves_up_to("more to be settled", || count, || host.settled("main"));
    let tally = host.stop();
    assert_eq!((tally.received, tally.delivered), (count, count));
    assert_eq!(count_lines(&host.path("events.jsonl")) as u64, count);
}

/// Nobody knows which of them were whose, so each pipeline accounts for all of them.
#[test]
fn what_a_full_journal_gives_up_is_a_dead_letter_of_every_pipeline_and_the_tally_balances() {
    let count = 150_000;
    let count_arg = count.to_string();
    let args = ["--rate", "max", "--count", &count_arg, "--streams", "ap-events"];
    let sims = [Sim::without_ledger(&args), Sim::without_ledger(&args)];
    let mut dir = HostDir::empty();
    for (name, sim) in ["one", "two"].iter().zip(&sims) {
        dir.source(name, sim, &["ap-events"]);
        dir.add(&format!("[pipeline.{name}]\nfrom = [\"{name}\"]\nthrough = [\"10-late\"]\n"));
        dir.add("to = [\"nowhere\"]\n");
    }
    dir.add("[sink.nowhere]\nkind = \"null\"\n");
    dir.add("[journal]\nmax_size = \"64MiB\"\nkeep_size = \"1MiB\"\nwhen_full = \"drop-oldest\"\n");
    let mut host = dir.run();
    for pipeline in ["one", "two"] {
        moves_up_to("more to be received", || count, || host.received(pipeline));
    }
    wait_until("all that was sent", || {
        ["one", "two"].iter().all(|pipeline| host.received(pipeline) == count)
    });
    host.wait_for_log("records were given up");
    // Though no pipeline can come to it.
    host.wait_for_log("reason=\"dropped\"");
    host.dir.plugin("10-late", "filter", "");
    for pipeline in ["one", "two"] {
        let (received, settled) = (|| host.received(pipeline), || host.settled(pipeline));
        moves_up_to("more to be settled", received, settled);
    }
    wait_until("all to be settled", || {
        ["one", "two"].iter().all(|pipeline| {
            let settled = host.settled(pipeline);
            settled > 0 && settled == host.received(pipeline)
        })
    });
    // Which holds the sum against what was received.
    let tally = host.stop();
    assert_eq!(tally.in_flight, 0);
    assert!(tally.dead_lettered > 0 && tally.received > 2 * count, "{tally:?}");
    let delivered = tally.delivered + tally.filtered;
    // Those that were given up are lost to both, and each was of one.
    assert_eq!(2 * count, delivered + tally.dead_lettered / 2);
}

/// A server that takes some, and then nothing more: what it took is not sent again, whoever is started
/// anew meanwhile.
#[test]
fn what_a_sink_acknowledged_before_it_failed_is_not_sent_again() {
    let (taken, works) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let collector = Collector::start({
        let (taken, works) = (Arc::clone(&taken), Arc::clone(&works));
        move |post| {
            let is_taken = works.load(Ordering::Acquire) || taken.load(Ordering::Acquire) < 1_000;
            if is_taken {
                let lines = post.body.iter().filter(|byte| **byte == b'\n').count();
                taken.fetch_add(lines, Ordering::AcqRel);
            }
            Reply::status(if is_taken { 200 } else { 503 })
        }
    });
    let sim = Sim::start(&["--rate", "2000", "--count", "4000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], TO_SERVER);
    dir.add(&server(&collector.url));
    let mut host = dir.run();
    wait_until("all to be received", || host.received("main") == 4_000);
    wait_until("it to fail", || host.get("/readyz").contains("waits for sink \"siem\""));
    let before = host.stop();
    assert!(before.in_flight > 0, "{before:?}");
    works.store(true, Ordering::Release);
    let mut host = host.dir.run();
    wait_until("all to be delivered", || host.settled("main") == before.in_flight);
    settles(&mut host);
    let lines: Vec<_> = collector.taken_text().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(arrived_in_order(&sim, &lines, "ap-events"), 4_000);
    assert_eq!(lines.len(), 4_000, "some came twice");
}
