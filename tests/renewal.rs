//! Tokens end, connections do not: a second one takes over before the first must go.

use serde_json::Value;

use crate::support::{Host, HostDir, LedgerLine, Sim, wait_for, wait_until};

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
/// The host, its log before the simulator ended, and the ledger.
fn run_through(says: &str, times: usize) -> (Host, String, Vec<LedgerLine>) {
    let mut sim =
        Sim::start(&["--rate", "2000", "--token-life", "4", "--streams", &STREAMS.join(",")]);
    let mut host = HostDir::new(&sim, STREAMS, ARCHIVE).run();
    wait_until("renewals", || {
        assert!(host.running.ended().is_none(), "the host ended: {}", host.running.log());
        host.running.log().matches(says).count() >= times
    });
    let log = host.running.log();
    let ledger = sim.stop();
    let sent = ledger.iter().filter(|line| line.sent >= 1).count() as u64;
    wait_until("all that was sent", || host.settled("main") >= sent);
    host.stop();
    (host, log, ledger)
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
    for attempt in 0.. {
        assert!(attempt < 5, "no token was renewed before it ended");
        let (host, log, ledger) = run_through("renewed; the connection before", 4);
        let ranges: Vec<_> =
            STREAMS.iter().map(|stream| assert_in_order(&host, &ledger, stream)).collect();
        if log.contains("disconnected after") || log.contains("not connected") {
            // On a machine that stood still for too long the token has ended first.
            continue;
        }
        for (stream, (first, last, sent)) in STREAMS.iter().zip(ranges) {
            assert_eq!(last - first + 1, sent, "{stream}: nothing between was sent to nobody");
        }
        assert!(ledger.iter().any(|line| line.sent == 2), "both connections were open at once");
        assert!(!log.contains("gap:"), "{log}");
        return;
    }
}

/// What `/api/v1/status` says of a stream.
fn status(host: &Host, stream: &str) -> Value {
    let report: Value = serde_json::from_str(&host.get("/api/v1/status")).unwrap();
    let sources = report["sources"].as_array().unwrap();
    sources.iter().find(|source| source["stream"] == stream).unwrap().clone()
}

#[test]
fn where_a_second_connection_is_refused_the_gap_is_told_and_nothing_sent_is_lost() {
    let mut sim = Sim::start(&[
        "--rate",
        "500",
        "--token-life",
        "3",
        "--streams",
        "ap-events",
        "--fault",
        "second-socket=403",
    ]);
    let mut host = HostDir::new(&sim, &["ap-events"], ARCHIVE).run();
    host.wait_for_log("no second connection: ");
    host.wait_for_log("gap: the server takes no second connection, so the old one is closed first");
    let status = wait_for("a connection after the gap", || {
        let status = status(&host, "ap-events");
        (status["gaps"].as_u64() >= Some(2) && status["state"] == "streaming").then_some(status)
    });
    assert!(status["connections"].as_u64() >= Some(3), "{status}");
    let labels = [("source", "hq"), ("stream", "ap-events")];
    assert!(host.page().value("trommel_stream_gaps_total", &labels) >= 2.0);
    let ledger = sim.stop();
    let sent = ledger.iter().filter(|line| line.sent >= 1).count() as u64;
    wait_until("all that was sent", || host.settled("main") >= sent);
    host.stop();
    assert_in_order(&host, &ledger, "ap-events");
}

#[test]
fn an_id_is_handed_over_without_loss_and_kept_across_restarts() {
    let args = ["--rate", "500", "--token-life", "2", "--streams", "ap-events"];
    let mut sim = Sim::start(&[&args[..], &["--fault", "redeliver=60"]].concat());
    let mut dir = HostDir::new(&sim, &["ap-events"], ARCHIVE);
    dir.replace("kind = \"central\"\n", "kind = \"central\"\nsubscriber_id = true\n");
    let handed_over = |host: &Host| host.running.log().matches("handing over: ").count();
    let id = |host: &Host| std::fs::read_to_string(host.path("data/subscriber-id.hq")).unwrap();
    let mut host = dir.run();
    wait_until("tokens renewed", || handed_over(&host) >= 2);
    let first_id = id(&host);
    let first = host.stop();
    let Host { dir, .. } = host;
    let mut host = dir.run();
    wait_until("tokens renewed after the restart", || handed_over(&host) >= 2);
    assert_eq!(id(&host), first_id);
    let log = host.running.log();
    assert!(!log.contains("gap:"), "the server keeps what comes meanwhile: {log}");
    let ledger = sim.stop();
    let sent = ledger.iter().filter(|line| line.sent >= 1).count() as u64;
    wait_until("all that was sent", || first.delivered + host.settled("main") >= sent);
    host.stop();
    let (begin, end, sent) = assert_in_order(&host, &ledger, "ap-events");
    assert_eq!(end - begin + 1, sent, "what came while the host was away was kept for it");
}

#[test]
fn what_is_wrong_with_a_stream_is_told_with_what_to_do() {
    for (fault, state, detail, hint) in [
        ("status=403", "failing", "the server answered 403: ", "Advanced licence"),
        (
            "status=404",
            "failing",
            "the server answered 404: ",
            "does this cluster have the stream?",
        ),
        ("status=400", "failing", "the server answered 400: ", "event_types"),
        ("status=503", "waiting", "the server answered 503: ", ""),
        ("status=429", "waiting", "the server answered 429: ", "fewer connections"),
        ("token=down", "waiting", "no token: ", ""),
        ("token=401", "failing", "invalid_client", "client id and secret"),
        ("certificate=expired", "failing", "expired on ", "must renew it"),
    ] {
        let sim = Sim::start(&["--streams", "ap-events", "--fault", fault]);
        let mut host = HostDir::new(&sim, &["ap-events"], ARCHIVE).run();
        wait_until(&format!("{state} under {fault}"), || {
            let status = status(&host, "ap-events");
            let text = |key: &str| status[key].as_str().unwrap().to_owned();
            assert!(text("state") != "stopped" && text("state") != "streaming", "{status}");
            text("state") == state && text("detail").contains(detail) && text("hint").contains(hint)
        });
        let ready = host.get("/readyz");
        assert!(ready.contains("stream hq/ap-events is "), "{ready}");
        assert_eq!(host.get("/healthz"), "ok\n");
        host.stop();
    }
}

#[test]
fn after_max_retries_a_stream_is_given_up_and_the_others_go_on() {
    let gone = Sim::start(&["--streams", "ap-events", "--fault", "status=503"]);
    let good = Sim::start(&["--rate", "100", "--streams", "audit-trail-events"]);
    let mut dir = HostDir::new(&gone, &["ap-events"], "");
    dir.replace("kind = \"central\"\n", "kind = \"central\"\nmax_retries = 2\n");
    dir.source("branch", &good, &["audit-trail-events"]);
    dir.add(&ARCHIVE.replace("[\"hq\"]", "[\"hq\", \"branch\"]"));
    let mut host = dir.run();
    host.wait_for_log("given up after 3 tries: not connected: the server answered 503");
    let log = host.running.log();
    let line = log.lines().find(|line| line.contains("given up after")).unwrap();
    assert!(line.contains("ERROR") && line.contains("ap-events"), "{line}");
    wait_until("it to be stopped", || status(&host, "ap-events")["state"] == "stopped");
    let stopped = status(&host, "ap-events");
    assert_eq!((&stopped["state"], &stopped["failures"]), (&"stopped".into(), &3.into()));
    let ready = host.get("/readyz");
    assert!(ready.contains("stream hq/ap-events is stopped: given up after 3 tries"), "{ready}");
    let before = host.settled("main");
    wait_until("events of the other source", || host.settled("main") > before + 100);
    assert_eq!(status(&host, "audit-trail-events")["state"], "streaming");
    host.stop();
}
