//! Kills and power losses while dead letters are taken again: what is lost is nothing, what is done
//! with is so once. Key function: `a_kill_during_each_stage_of_redrive_loses_nothing`.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::preload::Preload;
use super::run::copy_tree;
use super::scenario::{Places, places};
use crate::dlq::command;
use crate::support::{Host, HostDir, Sim, count_lines, wait_until};

const TO_FILE: &str = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";
const COUNT: usize = 500;
/// Most points of one kind in one place.
const POINTS: u64 = 4;

/// What a host left that could not use some of its events: a folder to be copied, and all ids.
struct Left {
    sim: Sim,
    host: Host,
    ids: BTreeSet<String>,
    dead: usize,
}

fn left() -> Left {
    let count = COUNT.to_string();
    let sim = Sim::start(&["--rate", "max", "--count", &count, "--streams", "ap-events"]);
    let dir = HostDir::new(&sim, &["ap-events"], TO_FILE);
    let fails = "[config]\nmode = \"fault\"\non_id_suffix = \"7\"\n";
    dir.plugin("10-bad", "misbehave-filter", fails);
    let mut host = dir.run();
    wait_until("all events to be settled", || host.settled("main") == COUNT as u64);
    host.stop();
    let dead = count_lines(&host.path("data/dead-letters.jsonl"));
    assert!(dead > 10, "{dead} dead letters");
    let ids = sim.sent().into_iter().map(|line| line.id).collect();
    Left { sim, host, ids, dead }
}

impl Left {
    /// A copy, with a plugin that was mended.
    fn copy(&self) -> HostDir {
        let dir = HostDir::new(&self.sim, &["ap-events"], TO_FILE);
        for name in ["data", "plugins.d"] {
            copy_tree(&self.host.path(name), &dir.path(name)).unwrap();
        }
        std::fs::copy(self.host.path("events.jsonl"), dir.path("events.jsonl")).unwrap();
        std::fs::write(dir.path("plugins.d/10-bad.toml"), "[config]\nn = 1\n").unwrap();
        dir
    }

    /// Takes all dead letters again, in a host that is harmed; then, in one that is not, those that are
    /// left.
    fn run(&self, plan: &str, seed: u64) -> Result<bool, String> {
        let (mut host, preload) = start(self.copy(), plan, seed);
        // It may not live to answer.
        command(&host.dir, &["dlq", "redrive", "--all"]);
        let reached = preload.trace().iter().any(|op| op.fate != "ok");
        if host.running.ended().is_none() {
            host.running.signal(Signal::KILL);
        }
        host.running.wait();

        let mut host = host.dir.run();
        host.wait_for_log("plugin takes effect");
        let listed = command(&host.dir, &["dlq", "list", "--json"]).out.lines().count();
        let said = command(&host.dir, &["dlq", "redrive", "--all"]);
        if said.code != 0 {
            return Err(format!("the second time: {said:?}"));
        }
        let left = command(&host.dir, &["dlq", "list", "--json"]).out;
        let arrived = host.ids("events.jsonl", "ap-events");
        let once: BTreeSet<String> = arrived.iter().cloned().collect();
        let tally = host.stop();
        match () {
            () if !left.is_empty() => Err(format!("still there: {left}")),
            () if once != self.ids => Err(format!("{} of {} arrived", once.len(), COUNT)),
            () if arrived.len() != COUNT => Err(format!("{} arrived, some twice", arrived.len())),
            () if tally.delivered != listed as u64 => Err(format!("{listed} were left: {tally:?}")),
            () => Ok(reached),
        }
    }
}

fn start(dir: HostDir, plan: &str, seed: u64) -> (Host, Preload) {
    let preload = Preload::new(dir.dir.path());
    let mut host = dir.run_with(|command| preload.apply(command, plan, seed));
    // On a busy machine it does more before it has started, and its end may come as early.
    wait_until("the host to have started, or ended", || {
        let log = host.running.log();
        let has_started = log.contains("plugin takes effect") && log.contains(" started ");
        has_started || host.running.ended().is_some()
    });
    (host, preload)
}

/// What a host does while it takes them, by kind and place: from which on, and up to which.
fn stages(left: &Left) -> Vec<(String, String, u64, u64)> {
    let (host, preload) = start(left.copy(), "", 0);
    let before = places(&preload.trace());
    let said = command(&host.dir, &["dlq", "redrive", "--all"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains(&format!("{} delivered", left.dead)), "{said:?}");
    let after = places(&preload.trace());
    let count = |places: &Places, kind: &str, place: &str| {
        let found = places.iter().find(|other| other.0 == kind && other.1 == place);
        found.map_or(0, |found| found.2)
    };
    let stages = after.iter().map(|(kind, place, to)| {
        (kind.clone(), place.clone(), count(&before, kind, place) + 1, *to)
    });
    stages.filter(|(_, _, from, to)| from <= to).collect()
}

#[test]
fn a_kill_during_each_stage_of_redrive_loses_nothing() {
    let left = left();
    let stages = stages(&left);
    let has =
        |wanted: &str| stages.iter().any(|(kind, place, ..)| format!("{kind} {place}") == wanted);
    assert!(has("write data/store") && has("write events.jsonl"), "{stages:?}");
    let (mut runs, mut reached) = (0, 0);
    for (kind, place, from, to) in &stages {
        for number in (*from..=*to).take(POINTS as usize) {
            for moment in ["before", "half", "after"] {
                runs += 1;
                let what = if runs % 2 == 0 { "power" } else { "kill" };
                let plan = format!("{what}={kind}:{number}@{place},{moment}");
                match left.run(&plan, runs) {
                    Ok(was_reached) => reached += u64::from(was_reached),
                    Err(error) => panic!("{plan}, seed {runs}: {error}"),
                }
            }
        }
    }
    println!("{runs} runs, {reached} of them came to their point");
    // What a host does by the clock comes earlier or later.
    assert!(reached * 2 > runs, "{reached} of {runs} came to their point: {stages:?}");
}
