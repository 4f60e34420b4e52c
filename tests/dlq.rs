//! Dead letters that are looked at, taken again and dropped: each ends once, wherever it goes.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::{
    Collector, Host, HostDir, Reply, Sim, TROMMEL, count_lines, output_of, wait_until,
};

pub const TO_FILE: &str = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";
pub const COUNT: usize = 2_000;

/// What a command said, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Its lines of JSON.
    pub fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

/// Runs a command on a host's folder, whether the host runs or not.
pub fn command(dir: &HostDir, args: &[&str]) -> Said {
    let mut command = Command::new(TROMMEL);
    let output = output_of(command.args(args).arg("--config").arg(dir.path("trommel.toml")));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn dlq(host: &Host, args: &[&str]) -> Said {
    command(&host.dir, &[&["dlq"], args].concat())
}

/// The dead letters there are, by what they were of.
fn left(host: &Host, args: &[&str]) -> Vec<String> {
    let said = dlq(host, &[&["list", "--json"], args].concat());
    assert_eq!(said.code, 0, "{said:?}");
    said.json().iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect()
}

/// A pipeline to a file and to a server, whose sink `siem` is the last table.
pub fn to_file_and_server(collector: &Collector) -> String {
    let url = &collector.url;
    let siem = format!("[sink.siem]\nkind = \"http\"\nurl = \"{url}/in\"\nformat = \"ndjson\"\n");
    TO_FILE.replace("[\"archive\"]", "[\"archive\", \"siem\"]") + &siem
}

pub fn sim() -> Sim {
    let count = COUNT.to_string();
    Sim::start(&["--rate", "max", "--count", &count, "--streams", "ap-events", "--seed", "11"])
}

/// The ids of what was sent, and of those among them that are hit.
fn ids_of(sim: &Sim) -> (Vec<String>, Vec<String>) {
    wait_until("all to be in the sent log", || sim.sent().len() >= COUNT);
    let ids: Vec<String> = sim.sent().into_iter().map(|line| line.id).collect();
    let hit: Vec<String> = ids.iter().filter(|id| id.ends_with("a7")).cloned().collect();
    assert!(hit.len() > 2, "no event was hit: choose another seed");
    (ids, hit)
}

/// Waits until all events are settled.
fn settle(host: &Host) {
    wait_until("all events to be settled", || host.settled("main") == COUNT as u64);
    // Dead letters can be read when they are committed, a moment later.
    let written = count_lines(&host.path("data/dead-letters.jsonl"));
    wait_until("the commit of all", || {
        dlq(host, &["list", "--json"]).out.lines().count() == written
    });
}

/// A host through which all events came, of which a plugin failed on some.
fn failed_on_some(toml: &str, built: &str) -> (Host, Sim) {
    let sim = sim();
    let host = HostDir::new(&sim, &["ap-events"], TO_FILE);
    host.plugin("10-bad", built, toml);
    let host = host.run();
    settle(&host);
    (host, sim)
}

/// Puts another configuration of the plugin into its place, and waits for it.
fn mend(host: &mut Host, built: &str, toml: &str) {
    let effects = |host: &Host| host.running.log().matches("plugin takes effect").count();
    let before = effects(host);
    host.dir.plugin("10-bad", built, toml);
    wait_until("the plugin to take effect", || effects(host) > before);
}

const FAULT: &str = "[config]\nmode = \"fault\"\non_id_suffix = \"a7\"\n";
const MENDED: &str = "[config]\nn = 1\n";

#[test]
fn letters_of_a_filter_that_was_mended_arrive_once() {
    let (mut host, sim) = failed_on_some(FAULT, "misbehave-filter");
    let (ids, hit) = ids_of(&sim);
    assert_eq!(left(&host, &[]), hit, "in order");

    // The plugin is as it was: all are dead letters again.
    let said = dlq(&host, &["redrive", "--all"]);
    assert_eq!(said.code, 1, "{said:?}");
    let count = hit.len();
    assert_eq!(said.out, format!("main: {count} dead letters: {count} dead letters again\n"));
    assert_eq!(left(&host, &[]), hit, "in order");

    mend(&mut host, "misbehave-filter", MENDED);
    let said = dlq(&host, &["redrive", "--plugin", "10-bad", "--reason", "fault", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let row = &said.json()[0]["pipelines"][0];
    assert_eq!((&row["pipeline"], &row["delivered"]), (&"main".into(), &count.into()), "{row}");
    assert_eq!(left(&host, &[]), Vec::<String>::new());
    assert_eq!(dlq(&host, &["list"]).out, "no dead letters\n");

    // Those that came late come last, in their order.
    let arrived = host.ids("events.jsonl", "ap-events");
    let (first, late) = arrived.split_at(ids.len() - count);
    assert_eq!(late, hit);
    assert!(first.iter().eq(ids.iter().filter(|id| !id.ends_with("a7"))));
    let file = std::fs::read_to_string(host.path("events.jsonl")).unwrap();
    let as_they_were = host.lines("data/dead-letters.jsonl");
    for (line, letter) in file.lines().skip(first.len()).zip(as_they_were) {
        assert_eq!(line, letter["event"].to_string(), "as it was");
    }
    let redriven = host.page().value("trommel_redriven_total", &[("pipeline", "main")]);
    assert_eq!(redriven, 2.0 * count as f64);
    let tally = host.stop();
    let (all, count) = (COUNT as u64, count as u64);
    assert_eq!(
        (tally.received, tally.delivered, tally.dead_lettered, tally.in_flight),
        (all + 2 * count, all, 2 * count, 0)
    );
}

#[test]
fn some_are_taken_by_filter_and_by_id_and_others_dropped() {
    let (mut host, sim) = failed_on_some(FAULT, "misbehave-filter");
    let (_, hit) = ids_of(&sim);
    let rows = dlq(&host, &["list", "--json"]).json();
    let id = |at: usize| rows[at]["id"].as_str().unwrap();

    let shown = dlq(&host, &["show", id(0)]);
    assert!(shown.code == 0 && shown.out.contains(&hit[0]), "{shown:?}");
    assert!(shown.out.contains("plugin 10-bad") && shown.out.contains("told to"), "{shown:?}");
    let exported = dlq(&host, &["export", id(1)]).json();
    assert_eq!((exported.len(), &exported[0]["event"]["id"]), (1, &hit[1].as_str().into()));
    assert!(exported[0]["raw"].is_string() && exported[0]["version"].is_string());

    for wrong in
        [&["--reason", "trap"][..], &["--stream", "x"], &["--until", "1h"], &["--pipeline", "x"]]
    {
        assert_eq!(left(&host, wrong), Vec::<String>::new(), "{wrong:?}");
    }
    assert_eq!(left(&host, &["--reason", "trap,fault", "--since", "1h", "--source", "hq"]), hit);

    // Nothing is done to all unless that is said.
    for what in ["redrive", "drop"] {
        let said = dlq(&host, &[what]);
        assert!(said.code == 2 && said.err.contains("hint: name ids"), "{said:?}");
    }
    let said = dlq(&host, &["drop", id(0), "9999.0"]);
    assert!(said.code == 1 && said.err.contains("no dead letter: 9999.0"), "{said:?}");
    assert_eq!(said.out, "1 dead letter dropped\n");
    for what in [&["list", "9999.0"][..], &["export", "9999.0"], &["redrive", "9999.0", "--json"]] {
        let said = dlq(&host, what);
        assert!(said.code == 1 && said.err.contains("no dead letter: 9999.0"), "{said:?}");
        if what[0] == "redrive" {
            assert_eq!(said.out, "{\"pipelines\":[],\"unknown\":[\"9999.0\"]}\n");
        }
    }
    // It is there, and does not fit what else is said.
    let said = dlq(&host, &["list", id(2), "--reason", "trap"]);
    assert_eq!((said.code, &*said.out), (0, "no dead letters\n"), "{said:?}");
    assert_eq!(left(&host, &[]), hit[1..]);
    mend(&mut host, "misbehave-filter", MENDED);
    let said = dlq(&host, &["redrive", id(2)]);
    assert_eq!((said.code, &*said.out), (0, "main: 1 dead letter: 1 delivered\n"), "{said:?}");
    assert_eq!(host.ids("events.jsonl", "ap-events").last(), Some(&hit[2]));
    host.stop();

    // Without a host letters are read and dropped, and taken again by none.
    let rest: Vec<String> = [&hit[1..2], &hit[3..]].concat();
    assert_eq!(left(&host, &[]), rest);
    let said = dlq(&host, &["redrive", "--all"]);
    assert!(said.code == 1 && said.err.contains("no host is running"), "{said:?}");
    let said = dlq(&host, &["drop", id(1)]);
    assert_eq!((said.code, &*said.out), (0, "1 dead letter dropped\n"), "{said:?}");
    let said = dlq(&host, &["show", id(1)]);
    assert!(said.code == 1 && said.err.contains("it may be dropped"), "{said:?}");
    assert_eq!(left(&host, &[]), hit[3..]);
}

#[test]
fn a_letter_whose_plugin_or_pipeline_is_gone_stays() {
    let (mut host, sim) = failed_on_some(FAULT, "misbehave-filter");
    let (_, hit) = ids_of(&sim);
    std::fs::remove_file(host.path("plugins.d/10-bad.wasm")).unwrap();
    host.wait_for_log("plugin removed");
    let said = dlq(&host, &["redrive", "--all"]);
    assert_eq!(said.code, 1, "{said:?}");
    let why = "plugin \"10-bad\" is not in the pipeline\n  hint: put it back, or drop them\n";
    assert!(said.out.contains(why), "{said:?}");
    assert_eq!(left(&host, &[]), hit);

    host.dir.replace("[pipeline.main]", "[pipeline.other]");
    host.dir.write_config();
    host.wait_for_log("the configuration has taken effect");
    let said = dlq(&host, &["redrive", "--all", "--json"]);
    let stay = &said.json()[0]["pipelines"][0]["stay"][0];
    assert!(said.code == 1 && stay["count"] == hit.len(), "{said:?}");
    assert!(
        stay["first"].as_str().is_some_and(|id| id.contains('.')),
        "an id as all others: {stay}"
    );
    assert_eq!(stay["why"], "the pipeline is not configured any more");
    assert_eq!(left(&host, &[]), hit);
    host.stop();
}

#[test]
fn letters_of_a_pipeline_that_is_held_stay() {
    let sim = sim();
    let toml = TO_FILE.replace("to = ", "through = [\"10-bad\"]\nto = ");
    let dir = HostDir::new(&sim, &["ap-events"], &toml);
    dir.plugin("10-bad", "misbehave-filter", FAULT);
    let mut host = dir.run();
    settle(&host);
    let (_, hit) = ids_of(&sim);
    std::fs::remove_file(host.path("plugins.d/10-bad.wasm")).unwrap();
    host.wait_for_log("held: plugin \"10-bad\" is not there");
    let said = dlq(&host, &["redrive", "--all"]);
    assert!(said.code == 1 && said.out.contains("the pipeline is held: plugin"), "{said:?}");
    assert_eq!(left(&host, &[]), hit);
    host.stop();
}

#[test]
fn what_a_sink_refused_goes_to_that_sink_alone() {
    let sim = sim();
    let refuses = Arc::new(AtomicBool::new(true));
    let does_refuse = Arc::clone(&refuses);
    let collector = Collector::start(move |post| {
        let text = String::from_utf8_lossy(&post.body);
        let is_bad = text.lines().any(|line| line.contains("a7\",\"source\""));
        match is_bad && does_refuse.load(Ordering::Relaxed) {
            true => Reply::status(422),
            false => Reply::status(200),
        }
    });
    let toml = to_file_and_server(&collector);
    let mut host = HostDir::new(&sim, &["ap-events"], &toml).run();
    settle(&host);
    let (ids, hit) = ids_of(&sim);
    assert_eq!(left(&host, &["--sink", "siem"]), hit);
    refuses.store(false, Ordering::Relaxed);
    let said = dlq(&host, &["redrive", "--sink", "siem"]);
    assert_eq!(said.code, 0, "{said:?}");
    let posted = collector.taken_text();
    let posted: Vec<String> = posted
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(posted[ids.len() - hit.len()..], hit);
    assert_eq!(posted.iter().collect::<BTreeSet<_>>().len(), ids.len());
    assert_eq!(host.ids("events.jsonl", "ap-events"), ids, "the other sink had them already");
    assert_eq!(left(&host, &[]), Vec::<String>::new());
    host.stop();
}

#[test]
fn what_an_export_or_alert_plugin_failed_on_goes_to_it_alone() {
    for (built, bad) in [("misbehave-export", "reject"), ("misbehave-alert", "fault")] {
        let toml = format!("[config]\nmode = \"{bad}\"\non_id_suffix = \"a7\"\n");
        let (mut host, sim) = failed_on_some(&toml, built);
        let (ids, hit) = ids_of(&sim);
        assert_eq!(left(&host, &["--plugin", "10-bad"]), hit, "{built}");
        mend(&mut host, built, MENDED);
        let said = dlq(&host, &["redrive", "--all"]);
        assert_eq!(said.code, 0, "{built}: {said:?}");
        assert_eq!(left(&host, &[]), Vec::<String>::new(), "{built}");
        assert_eq!(
            host.ids("events.jsonl", "ap-events"),
            ids,
            "{built}: the sink had them already"
        );
        host.stop();
    }
}

#[test]
fn frames_that_cannot_be_decoded_are_decoded_again() {
    let args = ["--count", "100", "--streams", "ap-events", "--fault", "garbage=10"];
    let sim = Sim::start(&args);
    let mut host = HostDir::new(&sim, &["ap-events"], TO_FILE).run();
    wait_until("all events", || count_lines(&host.path("events.jsonl")) == 100);
    wait_until("the letters", || dlq(&host, &["list", "--json"]).out.lines().count() == 10);
    let before = dlq(&host, &["list", "--json"]).json();
    assert!(before.iter().all(|row| row["stage"] == "decode" && row["stream"] == "ap-events"));
    let said = dlq(&host, &["redrive", "--all"]);
    assert!(said.code == 1 && said.out.contains("dead letters again"), "{said:?}");
    let after = dlq(&host, &["list", "--json"]).json();
    assert_eq!(after.len(), before.len());
    assert!(after.iter().all(|row| row["stage"] == "decode" && row["stream"] == "ap-events"));
    assert_ne!(after[0]["id"], before[0]["id"]);
    host.stop();
}

#[test]
fn only_who_can_read_the_key_may_have_the_host_do_something() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut host = HostDir::empty();
    host.add("[pipeline.main]\nfrom = [\"trommel\"]\n");
    let sim = sim();
    host.source("hq", &sim, &["ap-events"]);
    let mut host = host.run();
    host.wait_for_log("started");
    let key = host.path("data/control.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&key).unwrap();
    let ask = |secret: &str| {
        let path = "/api/v1/dead-letters/drop";
        let head = format!("POST {path} HTTP/1.0\r\nAuthorization: Bearer {secret}\r\n");
        host.ask(&format!("{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"))
    };
    assert!(ask("").0.contains("401") && ask(&"0".repeat(64)).0.contains("401"));
    let (head, body) = ask(secret.trim());
    assert!(head.contains("200") && body.contains("\"dropped\":0"), "{head} {body}");
    assert!(!host.running.log().contains(secret.trim()), "the key is in the log");
    let mode = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(&key, mode).unwrap();
    std::fs::remove_file(&key).unwrap();
    let said = dlq(&host, &["drop", "--all"]);
    assert!(said.code == 3 && said.err.contains("control.key"), "{said:?}");
    host.stop();
}

#[test]
fn where_nothing_is_kept_that_is_said() {
    let host = HostDir::empty();
    host.write_config();
    for args in [&["dlq", "list"][..], &["dlq", "drop", "--all"], &["dlq", "redrive", "1.0"]] {
        let said = command(&host, args);
        assert!(said.code == 1 && said.err.contains("no dead letters are kept in"), "{said:?}");
    }
    assert!(!host.path("data").exists(), "a command that looks makes nothing");
    let said = command(&host, &["dlq", "show", "seven"]);
    assert!(said.code == 2 && said.err.contains("such as \"812.0\""), "{said:?}");
}
