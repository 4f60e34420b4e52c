//! The connection to Central: it breaks, and goes on by itself.

use crate::support::{Host, HostDir, LedgerLine, Sim, count_lines, wait_until};

const ARCHIVE: &str = r#"
[pipeline.main]
from = ["hq"]
through = []
to = ["archive"]
[sink.archive]
kind = "file"
path = "events.jsonl"
"#;

/// Runs until so many connections have ended, and gives back what was sent and what arrived.
fn run_through(fault: &str, ends: usize, says: &str) -> (Host, Vec<LedgerLine>) {
    let mut sim = Sim::start(&["--rate", "max", "--streams", "ap-events", "--fault", fault]);
    let mut host = HostDir::new(&sim, &["ap-events"], ARCHIVE).run();
    wait_until("connections to end", || host.running.log().matches(says).count() > ends);
    let ledger = sim.stop();
    let sent: u64 = ledger.iter().map(|line| line.sent).sum();
    wait_until("all that was sent", || host.settled("main") >= sent);
    host.stop();
    (host, ledger)
}

fn assert_all_arrived(host: &Host, ledger: &[LedgerLine]) {
    let sent: Vec<_> = ledger.iter().filter(|l| l.sent >= 1).map(|l| l.id.clone()).collect();
    assert_eq!(host.ids("events.jsonl", "ap-events"), sent);
}

#[test]
fn dropped_twenty_times_it_goes_on_and_loses_nothing_that_was_sent() {
    let (host, ledger) = run_through("drop=3000", 20, "disconnected after");
    assert_all_arrived(&host, &ledger);
}

#[test]
fn expired_twenty_times_it_gets_new_tokens_and_loses_nothing_that_was_sent() {
    let (host, ledger) = run_through("expire=3000", 20, "disconnected after");
    assert_all_arrived(&host, &ledger);
}

#[test]
fn event_types_are_asked_of_the_server() {
    let sim = Sim::start(&["--rate", "max", "--count", "500", "--streams", "ap-events,location"]);
    let wanted = "com.hpe.greenlake.network-monitoring.v1alpha1.aps.state.device";
    let mut dir = HostDir::new(&sim, &[], ARCHIVE);
    dir.streams(
        "hq",
        &format!(
            "[{{ name = \"ap-events\", event_types = [\"{wanted}\"] }}, \
        {{ path = \"network-services/v1alpha1/location\", name = \"where\" }}]"
        ),
    );
    let mut host = dir.run();
    wait_until("events by path", || host.ids("events.jsonl", "where").len() == 500);
    wait_until("events by type", || !host.ids("events.jsonl", "ap-events").is_empty());
    host.stop();
    for event in host.lines("events.jsonl").iter().filter(|e| e["stream"] == "ap-events") {
        assert_eq!(event["type"], wanted);
    }
}

#[test]
fn a_token_endpoint_that_refuses_is_told_and_tried_again() {
    let sim = Sim::start(&["--rate", "max", "--count", "10", "--streams", "ap-events"]);
    let dir = HostDir::new(&sim, &["ap-events"], ARCHIVE);
    let secret = dir.path("hq.secret");
    std::fs::write(&secret, "wrong").unwrap();
    let mut host = dir.run();
    host.wait_for_log("status 401");
    host.wait_for_log("invalid_client");
    assert!(host.get("/readyz").contains("hq/ap-events"), "{}", host.get("/readyz"));
    assert_eq!(host.get("/healthz"), "ok\n");
    assert_eq!(count_lines(&host.path("events.jsonl")), 0);
    host.stop();
}

#[test]
fn a_server_whose_certificate_nobody_signed_is_not_trusted() {
    let sim = Sim::start(&["--streams", "ap-events"]);
    let other = Sim::start(&["--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], ARCHIVE);
    dir.replace(sim.ready.ca_file.to_str().unwrap(), other.ready.ca_file.to_str().unwrap());
    let mut host = dir.run();
    host.wait_for_log("certificate");
    host.stop();
    assert_eq!(count_lines(&host.path("events.jsonl")), 0);
}
