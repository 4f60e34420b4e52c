//! Dead letters that are taken again when something else goes wrong, too: many of them, a sink that hangs,
//! a host that is killed or stopped meanwhile. See also `dlq` and `crash::redrive`. Key type: [`Hanging`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::process::Signal;
use serde_json::Value;

use crate::dlq::{COUNT, Said, TO_FILE, command, sim, to_file_and_server};
use crate::support::{Collector, Host, HostDir, Reply, Sim, count_lines, wait_until};

const MENDED: &str = "[config]\nn = 1\n";

fn ids(sim: &Sim) -> Vec<String> {
    wait_until("all to be noted as sent", || sim.sent().len() == COUNT);
    sim.sent().into_iter().map(|line| line.id).collect()
}

fn letters(dir: &HostDir) -> Vec<Value> {
    let said = command(dir, &["dlq", "list", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    said.json()
}

/// Waits until all events are settled, and their dead letters can be read.
fn settle(host: &Host) {
    wait_until("all events to be settled", || host.settled("main") == COUNT as u64);
    let written = count_lines(&host.path("data/dead-letters.jsonl"));
    wait_until("the commit of all", || letters(&host.dir).len() == written);
}

fn mend(host: &mut Host) {
    let effects = |host: &Host| host.running.log().matches("plugin takes effect").count();
    let before = effects(host);
    host.dir.plugin("10-bad", "misbehave-filter", MENDED);
    wait_until("the plugin to take effect", || effects(host) > before);
}

#[test]
fn more_letters_than_a_batch_holds_arrive_in_their_order() {
    let sim = sim();
    let dir = HostDir::new(&sim, &["ap-events"], TO_FILE);
    dir.plugin("10-bad", "misbehave-filter", "[config]\nmode = \"fault\"\n");
    let mut host = dir.run();
    settle(&host);
    assert_eq!(letters(&host.dir).len(), COUNT);
    mend(&mut host);
    let said = command(&host.dir, &["dlq", "redrive", "--all"]);
    assert!(said.code == 0 && said.out.contains(" 2,000 delivered"), "{said:?}");
    assert_eq!(host.ids("events.jsonl", "ap-events"), ids(&sim));
    assert_eq!(letters(&host.dir).len(), 0);
    let tally = host.stop();
    assert_eq!((tally.received, tally.in_flight), (2 * COUNT as u64, 0));
}

#[test]
fn a_text_frame_is_taken_again_as_one() {
    let args = ["--count", "100", "--streams", "ap-events", "--fault", "text=10"];
    let sim = Sim::start(&args);
    let mut host = HostDir::new(&sim, &["ap-events"], TO_FILE).run();
    wait_until("the letters", || {
        count_lines(&host.path("events.jsonl")) == 100 && !letters(&host.dir).is_empty()
    });
    let said = command(&host.dir, &["dlq", "redrive", "--all"]);
    assert!(said.code == 1 && said.out.contains("dead letters again"), "{said:?}");
    let exported = command(&host.dir, &["dlq", "export"]).json();
    assert!(!exported.is_empty());
    for letter in exported {
        let detail = letter["detail"].as_str().unwrap();
        assert!(detail.contains("a text frame") && letter["frame"] == "text", "{letter}");
    }
    assert_eq!(count_lines(&host.path("events.jsonl")), 100);
    host.stop();
}

/// A host whose sinks are a file and a server that hangs while letters are taken again.
struct Hanging {
    host: Host,
    collector: Collector,
    hangs: Arc<AtomicBool>,
    sim: Sim,
    /// Those that are dead letters, in order.
    hit: Vec<String>,
}

impl Hanging {
    /// Up to the moment at which the file has them and the server does not.
    fn start() -> (Hanging, JoinHandle<Said>) {
        let sim = sim();
        let hangs = Arc::new(AtomicBool::new(false));
        let does_hang = Arc::clone(&hangs);
        let collector = Collector::start(move |_| match does_hang.load(Ordering::Relaxed) {
            true => Reply::hang(),
            false => Reply::status(200),
        });
        let toml = to_file_and_server(&collector) + "timeout = \"1s\"\n";
        let dir = HostDir::new(&sim, &["ap-events"], &toml);
        dir.plugin(
            "10-bad",
            "misbehave-filter",
            "[config]\nmode = \"fault\"\non_id_suffix = \"7\"\n",
        );
        let mut host = dir.run();
        settle(&host);
        let hit: Vec<String> = ids(&sim).into_iter().filter(|id| id.ends_with('7')).collect();
        mend(&mut host);
        hangs.store(true, Ordering::Relaxed);
        let asking = std::thread::spawn({
            let config = host.path("trommel.toml");
            move || ask(&config)
        });
        wait_until("it to hang", || host.get("/readyz").contains("waits for sink \"siem\""));
        assert_eq!(count_lines(&host.path("events.jsonl")), COUNT);
        (Hanging { host, collector, hangs, sim, hit }, asking)
    }

    /// All are in the file once, and at the server at least once; none is a dead letter any more.
    fn all_arrived(&self) {
        let lines = self.host.ids("events.jsonl", "ap-events");
        assert_eq!(lines.len(), COUNT, "some are twice in the file");
        let once: BTreeSet<String> = lines.into_iter().collect();
        assert_eq!(once, ids(&self.sim).into_iter().collect());
        let posted = self.collector.taken_text();
        let posted: BTreeSet<String> = posted
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string())
            .collect();
        assert_eq!(posted.len(), COUNT);
        assert_eq!(letters(&self.host.dir).len(), 0);
    }
}

fn ask(config: &std::path::Path) -> Said {
    let mut command = std::process::Command::new(crate::support::TROMMEL);
    let args = ["dlq", "redrive", "--all", "--config"];
    let output = crate::support::output_of(command.args(args).arg(config));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn letters_wait_for_a_sink_that_hangs_and_go_on() {
    let (mut hanging, asking) = Hanging::start();
    hanging.hangs.store(false, Ordering::Relaxed);
    let said = asking.join().unwrap();
    assert!(said.code == 0 && said.out.contains(&format!("{} delivered", hanging.hit.len())));
    hanging.all_arrived();
    hanging.host.stop();
}

#[test]
fn letters_that_wait_for_a_sink_that_hangs_are_neither_lost_nor_doubled_by_a_kill_or_a_stop() {
    for is_killed in [true, false] {
        let (mut hanging, asking) = Hanging::start();
        if is_killed {
            hanging.host.running.signal(Signal::KILL);
            hanging.host.running.wait();
        } else {
            hanging.host.stop();
        }
        let said = asking.join().unwrap();
        assert_ne!(said.code, 0, "{said:?}");
        let of = |rows: Vec<Value>| -> Vec<String> {
            rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(of(letters(&hanging.host.dir)), hanging.hit);
        hanging.hangs.store(false, Ordering::Relaxed);
        let Hanging { host, collector, hangs, sim, hit } = hanging;
        let mut host = host.dir.run();
        host.wait_for_log("plugin takes effect");
        let said = command(&host.dir, &["dlq", "redrive", "--all"]);
        assert_eq!(said.code, 0, "{said:?}");
        let mut hanging = Hanging { host, collector, hangs, sim, hit };
        hanging.all_arrived();
        hanging.host.stop();
    }
}
