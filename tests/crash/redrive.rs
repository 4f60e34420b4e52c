//! Kills and power losses while dead letters are taken again: what is lost is nothing, what is done
//! with is so once. Key function: `a_kill_during_each_stage_of_redrive_loses_nothing`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rustix::process::Signal;

use super::preload::Preload;
use super::run::copy_tree;
use super::scenario::{Places, places};
use crate::dlq::{Said, command};
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
    wait_until("all to be noted as sent", || sim.sent().len() == COUNT);
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

    /// Takes all dead letters again, in a host that is harmed meanwhile; then, in one that is not, those
    /// that are left.
    fn run(&self, plan: &str, seed: u64) -> Result<bool, String> {
        let mut started = Started::new(self.copy(), plan, seed);
        started.redrive();
        let reached = started.preload.trace().iter().any(|op| op.fate != "ok");
        let Started { mut host, .. } = started;
        if host.running.ended().is_none() {
            host.running.signal(Signal::KILL);
        }
        host.running.wait();

        let mut host = host.dir.run();
        wait_for_start(&mut host);
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

/// A host that has started, to which nothing happens before it takes dead letters again.
struct Started {
    host: Host,
    preload: Preload,
    /// Once this is there, operations count.
    since: PathBuf,
}

fn wait_for_start(host: &mut Host) {
    host.wait_for_log("plugin takes effect");
    host.wait_for_log(" started ");
}

impl Started {
    fn new(dir: HostDir, plan: &str, seed: u64) -> Started {
        let preload = Preload::new(dir.dir.path());
        let since = preload.side("redriving");
        let plan = format!("since={}; {plan}", since.display());
        let mut host = dir.run_with(|command| preload.apply(command, &plan, seed));
        wait_for_start(&mut host);
        Started { host, preload, since }
    }

    /// What the command says: the host may not live to answer.
    fn redrive(&mut self) -> Said {
        std::fs::write(&self.since, "").unwrap();
        command(&self.host.dir, &["dlq", "redrive", "--all"])
    }
}

/// What a host does while it takes them, by kind and place, and how often.
fn stages(left: &Left) -> Places {
    let mut started = Started::new(left.copy(), "", 0);
    let before = started.preload.trace().len();
    let said = started.redrive();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains(&format!("{} delivered", left.dead)), "{said:?}");
    places(&started.preload.trace()[before..])
}

/// What it does each time, once at least. The rest it does by the clock, or by how busy the machine is.
const SURE: [&str; 4] =
    ["write events.jsonl", "sync events.jsonl", "write data/store", "sync data/store"];

#[test]
fn a_kill_during_each_stage_of_redrive_loses_nothing() {
    let left = left();
    let stages = stages(&left);
    let mut seed = 0;
    let mut sure = SURE.to_vec();
    for (kind, place, count) in &stages {
        for number in 1..=POINTS.min(*count) {
            for moment in ["before", "half", "after"] {
                seed += 1;
                let what = if seed % 2 == 0 { "power" } else { "kill" };
                let plan = format!("{what}={kind}:{number}@{place},{moment}");
                let reached = left.run(&plan, seed).unwrap_or_else(|error| {
                    panic!("{plan}, seed {seed}: {error}");
                });
                let stage = format!("{kind} {place}");
                let is_sure = number == 1 && SURE.contains(&stage.as_str());
                assert!(reached || !is_sure, "{plan}, seed {seed}, did not come: {stages:?}");
                sure.retain(|sure| *sure != stage);
            }
        }
    }
    assert!(sure.is_empty(), "{sure:?} did not come: {stages:?}");
    println!("{seed} runs: {stages:?}");
}
