//! The vendor's own client against the simulator, and the CloudEvents SDKs against our lines.

use tempfile::TempDir;

use crate::support::{HostDir, Sim, count_lines, python, wait_until};

/// The streams that the client knows.
const STREAMS: &str = "ap-events,audit-trail-events,location,rssi-events,geofence,clients-events,\
    switch-events,alert-events";

#[test]
fn the_vendors_client_receives_what_the_ledger_says() {
    let mut ledgers = Vec::new();
    for _ in 0..2 {
        let dir = TempDir::new().unwrap();
        let mut sim =
            Sim::start(&["--rate", "2000", "--count", "600", "--seed", "5", "--streams", STREAMS]);
        let mut receive = python::script("vendor", "pycentral_conformance.py");
        receive
            .args(["receive", "--ready"])
            .arg(sim.dir.path().join("ready.json"))
            .args(["--count", "600", "--out"])
            .arg(dir.path());
        python::run(&mut receive);
        ledgers.push(sim.stop());
        let mut compare = python::script("vendor", "pycentral_conformance.py");
        compare.arg("compare").arg("--ledger").arg(sim.ledger()).arg("--out").arg(dir.path());
        python::run(&mut compare);
    }
    let [first, second] = &ledgers[..] else { panic!("two runs") };
    assert_eq!(first.len(), 8 * 600);
    let of = |ledger: &[crate::support::LedgerLine], stream: &str| -> Vec<_> {
        let lines = ledger.iter().filter(|line| line.stream == stream);
        lines.map(|line| (line.id.clone(), line.ty.clone(), line.data.clone())).collect()
    };
    for stream in STREAMS.split(',') {
        assert_eq!(of(first, stream), of(second, stream), "{stream}: the same seed sends the same");
    }
}

#[test]
fn the_cloudevents_sdks_accept_every_line() {
    let streams: Vec<&str> = trommel::decode::catalog::STREAMS.iter().map(|s| s.name).collect();
    let sim = Sim::start(&["--rate", "max", "--count", "500"]);
    let mut host = HostDir::new(
        &sim,
        &streams,
        "[pipeline.main]\nfrom = [\"hq\", \"trommel\"]\nto = [\"archive\"]\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n",
    )
    .run();
    wait_until("all events", || count_lines(&host.path("events.jsonl")) >= 500 * streams.len());
    host.stop();
    for environment in ["cloudevents1", "vendor"] {
        let mut check = python::script(environment, "cloudevents_sdk.py");
        check.arg(host.path("events.jsonl"));
        python::run(&mut check);
    }
}
