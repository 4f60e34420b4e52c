//! Tokens end, connections do not: a second one takes over before the first must go.

use crate::support::{Host, HostDir, LedgerLine, Sim, wait_until};

const ARCHIVE: &str = r#"
[pipeline.main]
from = ["hq"]
through = []
to = ["archive"]
[sink.archive]
kind = "file"
path = "events.jsonl"
"#;

const STREAMS: &[&str] = &["ap-events", "audit-trail-events"];

/// Streams under tokens that live two seconds, until so many were renewed.
fn run_through(sim: &[&str], extra: &str, says: &str, times: usize) -> (Host, Vec<LedgerLine>) {
    let args = ["--rate", "2000", "--token-life", "2", "--streams", &STREAMS.join(",")];
    let mut sim = Sim::start(&[&args[..], sim].concat());
    let mut dir = HostDir::new(&sim, STREAMS, ARCHIVE);
    dir.replace("kind = \"central\"\n", &format!("kind = \"central\"\n{extra}"));
    let mut host = dir.run();
    wait_until("renewals", || {
        assert!(host.running.ended().is_none(), "the host ended: {}", host.running.log());
        host.running.log().matches(says).count() >= times
    });
    let ledger = sim.stop();
    let sent = ledger.iter().filter(|line| line.sent >= 1).count() as u64;
    wait_until("all that was sent", || host.settled("main") >= sent);
    host.stop();
    (host, ledger)
}

/// The ids at the sink, and those of the ledger that were sent at all, with where the first and the
/// last of these stand.
fn assert_in_order(host: &Host, ledger: &[LedgerLine], stream: &str) -> (usize, usize, usize) {
    let of_stream: Vec<_> = ledger.iter().filter(|line| line.stream == stream).collect();
    let sent: Vec<_> = of_stream.iter().filter(|l| l.sent >= 1).map(|l| l.id.clone()).collect();
    assert_eq!(host.ids("events.jsonl", stream), sent, "{stream}: once each, and in order");
    let first = of_stream.iter().position(|line| line.sent >= 1).unwrap();
    let last = of_stream.iter().rposition(|line| line.sent >= 1).unwrap();
    (first, last, sent.len())
}

#[test]
fn a_second_connection_takes_over_without_a_gap() {
    let (host, ledger) = run_through(&[], "", "renewed; the connection before", 8);
    for stream in STREAMS {
        let (first, last, sent) = assert_in_order(&host, &ledger, stream);
        assert_eq!(last - first + 1, sent, "{stream}: nothing between was sent to nobody");
        assert!(ledger.iter().any(|line| line.sent == 2), "both connections were open at once");
    }
    let metrics = host.running.log();
    assert!(!metrics.contains("gap:"), "{metrics}");
}
