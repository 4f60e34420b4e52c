//! The gap ledger and the window of duplicates: what was not received is written down, next to what was,
//! and what a server sends again is not received twice, whatever happened in between.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;

use crate::dlq::command;
use crate::support::{
    Host, HostDir, LedgerLine, Sim, TROMMEL, count_lines, output_of, wait_for, wait_until,
};

const MAIN: &str = r#"
[pipeline.main]
from = ["hq"]
through = []
to = ["archive"]
[pipeline.own]
from = ["trommel"]
through = []
to = ["own"]
[sink.archive]
kind = "file"
path = "events.jsonl"
[sink.own]
kind = "file"
path = "own.jsonl"
"#;

const AP: &str = "ap-events";

/// What `trommel gaps` says.
fn ask(host: &Host, args: &[&str]) -> Output {
    let config = host.path("trommel.toml");
    output_of(Command::new(TROMMEL).args(["gaps", "--config"]).arg(config).args(args))
}

fn gaps(host: &Host) -> Vec<Value> {
    if !host.path("data/store").is_dir() {
        // It has just been started.
        return Vec::new();
    }
    let output = ask(host, &["--json"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(gap: &'a Value, key: &str) -> &'a str {
    gap[key].as_str().unwrap_or_else(|| panic!("{key} of {gap}"))
}

fn reasons(gaps: &[Value]) -> BTreeSet<&str> {
    gaps.iter().map(|gap| text(gap, "reason")).collect()
}

/// Where something is missing between two events at the sink, a gap names these two; each gap that is over
/// names two neighbours at the sink. Gives back how many holes there are.
fn check(host: &Host, ledger: &[LedgerLine], gaps: &[Value]) -> usize {
    let of_stream = ledger.iter().filter(|line| line.stream == AP);
    let place: HashMap<&str, usize> = of_stream.map(|line| &*line.id).zip(0..).collect();
    let ids = host.ids("events.jsonl", AP);
    let unique: HashSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "nothing is twice at the sink");
    let told: HashSet<(&str, &str)> = gaps
        .iter()
        .filter(|gap| !gap["to"].is_null())
        .map(|gap| (text(gap, "last_id"), text(gap, "first_id")))
        .collect();
    let mut holes = 0;
    let mut neighbours = HashSet::new();
    for pair in ids.windows(2) {
        let (last, first) = (&*pair[0], &*pair[1]);
        neighbours.insert((last, first));
        assert!(place[last] < place[first], "in order");
        if place[first] > place[last] + 1 {
            holes += 1;
            assert!(told.contains(&(last, first)), "{last} to {first} is in no gap: {gaps:?}");
        }
    }
    for pair in told {
        assert!(neighbours.contains(&pair), "{pair:?} are no neighbours: {gaps:?}");
    }
    holes
}

/// How many whole lines there are at the sink, which may be writing.
fn events(host: &Host) -> usize {
    count_lines(&host.path("events.jsonl"))
}

/// How many gaps are over.
fn over(host: &Host) -> usize {
    gaps(host).iter().filter(|gap| !gap["to"].is_null()).count()
}

/// Ends both, and checks what is missing against the gaps; says how many holes there are.
fn end(mut sim: Sim, mut host: Host) -> (Host, Vec<Value>, usize) {
    host.stop();
    let told = gaps(&host);
    let ledger = sim.stop();
    let holes = check(&host, &ledger, &told);
    (host, told, holes)
}

#[test]
fn however_a_connection_ends_what_is_missing_is_between_two_ids() {
    for fault in ["drop=300", "reset=300", "truncated=300", "close=1011:300"] {
        let sim = Sim::start(&["--rate", "3000", "--streams", AP, "--fault", fault]);
        let host = HostDir::new(&sim, &[AP], MAIN).run();
        wait_until("some gaps", || over(&host) >= 4);
        let (host, gaps, holes) = end(sim, host);
        assert!(holes >= 1, "{fault}: no holes");
        let (last, over) = gaps.split_last().unwrap();
        assert_eq!(reasons(over), BTreeSet::from(["disconnected"]), "{fault}");
        assert!(over.iter().all(|gap| gap["replayed"] == false), "{fault}: {gaps:?}");
        assert!(over.iter().all(|gap| gap["seconds"].as_f64().unwrap() > 0.0), "{gaps:?}");
        // The host was stopped: from then on it is away, if it was not before.
        assert_eq!(last["to"], Value::Null, "{last}");
        // Each was told once it was over.
        let own = host.lines("own.jsonl");
        let told: Vec<&Value> = own.iter().filter(|event| event["type"] == "trommel.gap").collect();
        assert!(told.len() + 1 >= over.len(), "{told:?}");
        for (event, gap) in told.iter().zip(over) {
            assert_eq!(event["subject"], "hq/ap-events");
            assert_eq!(event["id"], format!("gap-{}", gap["number"]));
            for key in ["reason", "from", "to", "last_id", "first_id"] {
                assert_eq!(event["data"][key], gap[key], "{fault}: {key}");
            }
        }
    }
}

#[test]
fn a_connection_that_says_nothing_more_is_a_gap_from_its_last_event_on() {
    let sim = Sim::start(&["--rate", "200", "--streams", AP, "--fault", "half-open=100"]);
    let host = HostDir::new(&sim, &[AP], MAIN).run();
    wait_until("a gap that lasts", || !gaps(&host).is_empty());
    assert!(text(&gaps(&host)[0], "detail").contains("no pong"), "{:?}", gaps(&host));
    wait_until("its end", || over(&host) == 1);
    let (_, gaps, holes) = end(sim, host);
    // No answer to a ping for five seconds.
    assert!(holes >= 1 && gaps[0]["seconds"].as_f64().unwrap() > 5.0, "{gaps:?}");
}

#[test]
fn the_time_in_which_the_host_is_away_is_a_gap() {
    let sim = Sim::start(&["--rate", "2000", "--streams", AP]);
    let mut host = HostDir::new(&sim, &[AP], MAIN).run();
    for (count, signal) in
        [(1, Signal::TERM), (2, Signal::KILL), (3, Signal::KILL), (4, Signal::TERM)]
    {
        let before = events(&host);
        wait_until("events", || events(&host) > before + 300);
        host.running.signal(signal);
        host.running.wait();
        host = host.dir.run();
        wait_until("the end of the gap", || {
            let gaps = gaps(&host);
            gaps.len() == count && !gaps[count - 1]["to"].is_null()
        });
    }
    let told: Vec<_> = gaps(&host).iter().map(|gap| text(gap, "reason").to_owned()).collect();
    assert_eq!(told, ["restart", "crash", "crash", "restart"]);
    let page = host.page();
    let count = |reason| {
        let labels = [("source", "hq"), ("stream", AP), ("reason", reason)];
        page.value("trommel_gaps_total", &labels) as u64
    };
    assert_eq!((count("restart"), count("disconnected")), (0, 0), "earlier processes counted them");
    assert_eq!(page.value("trommel_gap_open", &[("source", "hq"), ("stream", AP)]) as u64, 0);
    let (_, gaps, holes) = end(sim, host);
    assert_eq!((gaps.len(), holes), (5, 4));
}

/// What is put into the journal by hand is nothing that the stream brought, and nobody stopped the host.
#[test]
fn an_import_after_a_crash_changes_nothing_of_the_gap() {
    let sim = Sim::start(&["--rate", "2000", "--streams", AP]);
    let mut host = HostDir::new(&sim, &[AP], MAIN).run();
    wait_until("events", || events(&host) > 300);
    host.running.signal(Signal::KILL);
    host.running.wait();
    let well = |args: &[&str]| {
        let said = command(&host.dir, args);
        assert_eq!(said.code, 0, "{said:?}");
        said.out
    };
    let last: Value = serde_json::from_str(well(&["replay"]).lines().last().unwrap()).unwrap();
    let frame = well(&["journal", "export", "--to-seq", "1"]);
    let file = host.path("frame.jsonl");
    std::fs::write(&file, frame).unwrap();
    well(&["journal", "import", file.to_str().unwrap()]);
    well(&["journal", "import", file.to_str().unwrap()]);
    let mut host = host.dir.run();
    wait_until("the end of the gap", || over(&host) == 1);
    let gap = &gaps(&host)[0];
    assert_eq!((text(gap, "reason"), &gap["last_id"]), ("crash", &last["id"]), "{gap}");
    host.stop();
}

#[test]
fn a_server_that_refuses_goes_into_the_gap() {
    let first = Sim::start(&["--rate", "1000", "--streams", AP]);
    let mut host = HostDir::new(&first, &[AP], MAIN).run();
    wait_until("events", || events(&host) > 100);
    host.stop();
    let last = host.ids("events.jsonl", AP).pop().unwrap();
    // Another server, which refuses at first.
    let refuses = ["--rate", "1000", "--streams", AP, "--seed", "2", "--fault", "status=403"];
    let other = Sim::start(&refuses);
    let dir = HostDir::new(&other, &[AP], MAIN);
    let from = host.path("data");
    std::fs::rename(from, dir.path("data")).unwrap();
    let host = dir.run();
    let gap = wait_for("the refusal in the gap", || {
        let gap = gaps(&host).pop().unwrap();
        text(&gap, "detail").contains("the server answered 403").then_some(gap)
    });
    assert_eq!((text(&gap, "reason"), text(&gap, "last_id")), ("restart", &*last));
    assert_eq!((&gap["to"], gap["number"].as_u64()), (&Value::Null, Some(2)));
    assert_eq!(
        host.page().value("trommel_gap_open", &[("source", "hq"), ("stream", AP)]) as u64,
        1
    );
}

#[test]
fn a_stream_that_never_came_about_has_no_gap() {
    let sim = Sim::start(&["--streams", AP, "--fault", "status=404"]);
    let mut host = HostDir::new(&sim, &[AP], MAIN).run();
    host.wait_for_log("the server answered 404");
    host.stop();
    assert!(gaps(&host).is_empty());
    let table = ask(&host, &[]);
    assert_eq!(String::from_utf8_lossy(&table.stdout), "no gaps\n");
}

/// Does it again where a token ended before it was renewed: the machine stood still for too long.
fn in_time<T>(run: impl Fn() -> (Vec<Value>, T)) -> (Vec<Value>, T) {
    for _ in 0..5 {
        let (gaps, rest) = run();
        if !reasons(&gaps).contains("disconnected") {
            return (gaps, rest);
        }
    }
    panic!("each time a token ended before it was renewed")
}

#[test]
fn where_no_second_connection_is_taken_the_gap_is_a_refusal() {
    let (gaps, ()) = in_time(|| {
        let args = ["--rate", "1000", "--token-life", "2", "--streams", AP];
        let sim = Sim::start(&[&args[..], &["--fault", "second-socket=403"]].concat());
        let host = HostDir::new(&sim, &[AP], MAIN).run();
        wait_until("gaps", || over(&host) >= 2);
        let (_, gaps, _) = end(sim, host);
        (gaps, ())
    });
    assert_eq!(reasons(&gaps[..2]), BTreeSet::from(["refused"]));
}

#[test]
fn what_a_server_may_have_kept_is_a_possible_gap() {
    let (gaps, holes) = in_time(|| {
        let args = ["--rate", "1000", "--token-life", "2", "--streams", AP];
        let sim = Sim::start(&[&args[..], &["--fault", "redeliver=60"]].concat());
        let mut dir = HostDir::new(&sim, &[AP], MAIN);
        dir.replace("kind = \"central\"\n", "kind = \"central\"\nsubscriber_id = true\n");
        let host = dir.run();
        wait_until("gaps", || over(&host) >= 2);
        let (_, gaps, holes) = end(sim, host);
        (gaps, holes)
    });
    assert_eq!(holes, 0, "the server kept what came meanwhile");
    assert_eq!(reasons(&gaps[..2]), BTreeSet::from(["handover"]));
    assert!(gaps.iter().all(|gap| gap["replayed"].is_null()), "{gaps:?}");
}

#[test]
fn an_overlap_is_no_gap() {
    let (gaps, ()) = in_time(|| {
        let sim = Sim::start(&["--rate", "1000", "--token-life", "4", "--streams", AP]);
        let mut host = HostDir::new(&sim, &[AP], MAIN).run();
        let renewals = |host: &Host| host.running.log().matches("renewed; the connection").count();
        wait_until("renewals", || renewals(&host) >= 2);
        host.stop();
        (gaps(&host), ())
    });
    assert_eq!(reasons(&gaps), BTreeSet::from(["restart"]));
}

#[test]
fn reading_that_is_held_back_is_written_down() {
    let sim = Sim::start(&["--rate", "max", "--streams", AP]);
    let mut dir = HostDir::new(&sim, &[AP], MAIN);
    dir.replace("through = []", "through = [\"10-late\"]");
    dir.add("[journal]\nmax_size = \"64MiB\"\nkeep_size = \"1MiB\"\n");
    let host = dir.run();
    let gap = wait_for("reading held back", || gaps(&host).pop());
    assert_eq!((text(&gap, "reason"), &gap["to"]), ("held-back", &Value::Null));
    assert!(text(&gap, "detail").contains("the journal is full"), "{gap}");
    assert!(gap["seconds"].as_f64().unwrap() >= 10.0, "{gap}");
    let status: Value = serde_json::from_str(&host.get("/api/v1/status")).unwrap();
    let full = "the journal is full: it may have 67108864 bytes";
    let troubles = status["journal"]["troubles"].as_array().unwrap();
    assert_eq!(troubles.len(), 1, "its disk is well: {status}");
    let trouble = troubles[0].as_str().unwrap();
    assert!(trouble.contains(full) && trouble.contains("pipeline \"main\""), "{status}");
    let on_disk = [("what", "journal")];
    assert_eq!(host.page().value("trommel_disk_failing", &on_disk), 0.0);
    assert!(status["journal"]["bytes"].as_u64().unwrap() > 16 << 20, "{status}");
    let config = host.dir.write_config();
    let shown = output_of(Command::new(TROMMEL).args(["status", "--config"]).arg(config));
    assert!(String::from_utf8(shown.stdout).unwrap().contains(full));
    host.dir.plugin("10-late", "filter", "");
    wait_until("the end of it", || !gaps(&host)[0]["to"].is_null());
    let gap = gaps(&host).remove(0);
    assert_eq!(gap["replayed"], true, "the server waited: {gap}");
    let (last, first) = (text(&gap, "last_id").to_owned(), text(&gap, "first_id").to_owned());
    let sent = wait_for("both in the sent log", || {
        let sent = sim.sent();
        sent.iter().any(|line| line.id == first).then_some(sent)
    });
    let at = sent.iter().position(|line| line.id == last).unwrap();
    assert_eq!(sent[at + 1].id, first, "nothing between them was sent");
    let own = [("source", "hq"), ("stream", AP), ("reason", "held-back")];
    assert_eq!(host.page().value("trommel_gaps_total", &own) as u64, 1);
}

#[test]
fn what_a_server_sends_again_is_not_received_again() {
    // More than may be unread when the host is killed.
    let args = ["--rate", "1000", "--streams", AP, "--fault", "duplicates=10000"];
    let mut sim = Sim::without_ledger(&args);
    let mut dir = HostDir::new(&sim, &[AP], MAIN);
    dir.replace("kind = \"central\"\n", "kind = \"central\"\nmax_frame = \"1MiB\"\n");
    let mut host = dir.run();
    let duplicates = |host: &Host| {
        let labels = [("source", "hq"), ("stream", AP)];
        host.page().find("trommel_duplicates_total", &labels).unwrap_or(0.0) as u64
    };
    // After an orderly stop, and after a kill.
    for signal in [Signal::TERM, Signal::KILL] {
        let before = events(&host);
        wait_until("events", || events(&host) > before + 500);
        host.running.signal(signal);
        host.running.wait();
        // So that nobody asks at the address of the process before.
        let _ = std::fs::remove_file(host.path("data/listen.addr"));
        host = host.dir.run();
        wait_until("duplicates", || duplicates(&host) >= 200);
    }
    // After a change of the configuration, too.
    let before = duplicates(&host);
    let config = host.dir.write_config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"1MiB\"", "\"2MiB\"")).unwrap();
    host.wait_for_log("sent again: the configuration changed");
    wait_until("duplicates again", || duplicates(&host) >= before + 200);
    let count = events(&host);
    wait_until("more events", || events(&host) > count + 300);
    host.stop();
    sim.end();
    let ids = host.ids("events.jsonl", AP);
    let unique: HashSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{} are there twice", ids.len() - unique.len());
    assert!(reasons(&gaps(&host)).contains("reconfigured"));
}

/// Flips one bit in the id of an event.
fn flip_in_journal(host: &Host, id: &str) {
    let id = id.as_bytes();
    let mut is_flipped = false;
    for entry in std::fs::read_dir(host.path("data/journal")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(id.len()).position(|window| window == id) {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            is_flipped = true;
        }
    }
    assert!(is_flipped);
}

#[test]
fn a_damaged_record_is_a_gap_told_once() {
    let sim = Sim::start(&["--rate", "max", "--count", "1000", "--streams", AP]);
    let mut dir = HostDir::new(&sim, &[AP], MAIN);
    dir.replace("through = []", "through = [\"10-late\"]");
    let mut host = dir.run();
    wait_until("events", || {
        host.page().find("trommel_received_total", &[("pipeline", "main")]) == Some(1000.0)
    });
    host.stop();
    let sent = sim.sent();
    flip_in_journal(&host, &sent[500].id);
    host.dir.plugin("10-late", "filter", "");
    for _ in 0..2 {
        host = host.dir.run();
        // What is looked at below is there already the second time.
        host.wait_for_log("started");
        wait_until("the others", || events(&host) == 999);
        let damaged = wait_for("the gap", || {
            let gaps = gaps(&host);
            let damaged: Vec<_> =
                gaps.into_iter().filter(|gap| gap["reason"] == "damaged").collect();
            (!damaged.is_empty()).then_some(damaged)
        });
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        assert_eq!(text(&damaged[0], "last_id"), sent[499].id);
        assert_eq!(text(&damaged[0], "first_id"), sent[501].id);
        assert_eq!(damaged[0]["records"][0], damaged[0]["records"][1]);
        host.stop();
    }
    let own = host.lines("own.jsonl");
    let told = own.iter().filter(|event| event["data"]["reason"] == "damaged").count();
    assert_eq!(told, 1, "found at the start, told once who takes from trommel was there: {own:?}");
    // One that nobody can be told of keeps no host from ending that cannot start.
    flip_in_journal(&host, &sent[600].id);
    std::fs::remove_file(host.path("own.jsonl")).unwrap();
    std::fs::create_dir(host.path("own.jsonl")).unwrap();
    let config = host.path("trommel.toml");
    let refused = output_of(Command::new(TROMMEL).args(["run", "--config"]).arg(config));
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(gaps(&host).iter().filter(|gap| gap["reason"] == "damaged").count(), 2);
}

#[test]
fn gaps_are_chosen_and_shown() {
    let sim = Sim::start(&["--rate", "2000", "--streams", AP, "--fault", "drop=200"]);
    let mut host = HostDir::new(&sim, &[AP], MAIN).run();
    wait_until("gaps", || over(&host) >= 3);
    host.stop();
    let lines = |args: &[&str]| {
        let output = ask(&host, args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = gaps(&host).len();
    assert_eq!(
        lines(&["--json", "--source", "hq", "--stream", AP, "--since", "1h"]).lines().count(),
        all
    );
    assert_eq!(lines(&["--json", "--source", "lab"]), "");
    assert_eq!(lines(&["--stream", "wids"]), "no gaps\n");
    for time in ["2100-01-01T00:00:00Z", "2100-01-01"] {
        assert_eq!(lines(&["--json", "--since", time]), "");
    }
    let table = lines(&[]);
    assert!(table.contains("hq/ap-events") && table.contains("disconnected"), "{table}");
    assert!(table.contains(&format!("{all} gaps, 1 of them lasting")), "{table}");
    let wrong = ask(&host, &["--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn without_a_journal_gaps_are_told_and_counted() {
    let sim = Sim::start(&["--rate", "2000", "--streams", AP, "--fault", "drop=200"]);
    let mut host = HostDir::new(&sim, &[AP], MAIN).without_journal().run();
    host.wait_for_log("a gap is over: ");
    let labels = [("source", "hq"), ("stream", AP), ("reason", "disconnected")];
    assert!(host.page().value("trommel_gaps_total", &labels) >= 1.0);
    wait_until("the event", || host.lines("own.jsonl").iter().any(|e| e["type"] == "trommel.gap"));
    host.stop();
    let output = ask(&host, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: "), "{output:?}");
}
