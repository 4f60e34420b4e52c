//! What a host keeps when it is killed, when calls fail and when the power goes: it is started again on
//! the same data, and then what is at the sink is held against what was sent, and against what it had
//! counted as received. `scenario` decides what is done, `run` and `watch` do it, `check` says what must
//! hold; `library` tests the preloaded library by which much of it is done. `tools/crash` does many runs.

pub mod check;
mod library;
mod many;
pub mod preload;
mod redrive;
mod run;
mod scenario;
mod watch;

use std::time::Duration;

use many::{Outcome, Table, failed_scenario, many, one};
use run::{Bed, Ground};
use scenario::{By, Kind, Life, Scenario};

use crate::support::repository;

/// How many runs are part of all tests.
const RUNS: u64 = 100;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

fn tell(done: u64, outcome: &Outcome) {
    if let Err(error) = &outcome.result {
        let seed = outcome.scenario.seed;
        println!(
            "run {done} failed: {}\n  {error}\n  again: tools/crash --again {seed}; what is left: target/crash/failed/{seed}",
            outcome.scenario
        );
    }
    if done.is_multiple_of(100) {
        println!("{done} runs");
    }
}

#[test]
fn a_host_to_which_nothing_happens_passes() {
    let mut bed = Bed::new(None);
    for (seed, rotates) in [(0, false), (1, true)] {
        let outcome = one(&mut bed, Scenario { rotates, ..Scenario::peaceful(seed) });
        let summary = outcome.result.unwrap();
        assert!(summary.events > 0, "{summary:?}");
    }
}

/// Without a journal what was in memory is lost, and so is state: the checks see that.
#[test]
fn a_killed_host_without_a_journal_does_not_pass() {
    let mut bed = Bed::new(None);
    bed.has_journal = false;
    let mut scenario = Scenario::peaceful(0);
    scenario.lives = vec![Life::ended(By::Signal)];
    let error = one(&mut bed, scenario).result.unwrap_err();
    assert!(error.starts_with("state: ") || error.starts_with("received: "), "{error}");
}

#[test]
fn what_was_received_survives() {
    if std::env::var_os("CRASH_AGAIN").is_some() {
        return again(number("CRASH_AGAIN", 0));
    }
    // Another seed each day would find more; one that fails is told with how to do it again.
    let (runs, seed) = (number("CRASH_RUNS", RUNS), number("CRASH_FIRST_SEED", 1));
    let jobs = number("CRASH_JOBS", 2).min(runs);
    let outcomes = many(runs, seed, jobs, tell);
    let table = format!("seeds {seed} to {}\n{}", seed + runs - 1, Table(&outcomes));
    println!("{table}");
    std::fs::write(repository().join("target/crash/table.txt"), &table).unwrap();
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    assert_eq!(failed, 0, "of {runs} runs");
}

/// Runs with one life each, which ends at a point, and has to come there.
fn at_points(points: &[&str], change: impl Fn(&mut Scenario)) {
    let ground = Ground::new();
    let mut bed = Bed::new(Some(&ground));
    for (seed, (point, end)) in (1..).zip(points.iter().flat_map(|point| {
        ["kill", "power"].into_iter().flat_map(move |what| {
            ["before", "half", "after"].map(|moment| (point, format!("{what}={point},{moment}")))
        })
    })) {
        let mut scenario = Scenario::peaceful(seed);
        let mut life = Life { seed, ..Life::planned(&end) };
        // On a busy machine the point may be long in coming.
        life.ending.after = Duration::from_secs(40);
        scenario.lives = vec![life];
        change(&mut scenario);
        let outcome = one(&mut bed, scenario);
        assert_eq!(outcome.result.err(), None, "{}", outcome.scenario);
        assert!(outcome.reached, "{point} did not come: {}", outcome.scenario);
    }
}

#[test]
fn a_kill_during_each_stage_of_rotation_loses_nothing() {
    let points = [
        "rename:1@events.jsonl",
        "create:2@events.jsonl",
        "sync:3@events.jsonl",
        "dirsync:2@.",
        "write:2@events.jsonl",
        "rename:2@events.jsonl",
    ];
    at_points(&points, |scenario| scenario.rotates = true);
}

#[test]
fn a_kill_during_each_stage_of_a_reload_loses_nothing() {
    let points =
        ["create:1@data/cache", "write:1@data/cache", "write:2@data/cache", "rename:1@data/cache"];
    at_points(&points, |scenario| {
        for life in &mut scenario.lives {
            (life.reload, life.recompiles) = (Some(Duration::from_millis(10)), true);
        }
    });
    // While it is compiled, taken over, and just after.
    let ground = Ground::new();
    let mut bed = Bed::new(Some(&ground));
    for seed in 0..20 {
        let mut scenario = Scenario::peaceful(seed);
        let mut life = Life { seed, recompiles: seed % 2 == 0, ..Life::ended(By::Signal) };
        life.reload = Some(Duration::from_millis(10));
        life.ending.after = Duration::from_millis(10 + 15 * seed);
        scenario.lives = vec![life];
        let outcome = one(&mut bed, scenario);
        assert_eq!(outcome.result.err(), None, "{}", outcome.scenario);
    }
}

/// What `tools/crash --again` does: a run that failed, once more.
fn again(seed: u64) {
    let scenario = failed_scenario(seed);
    let times = number("CRASH_RUNS", 1);
    let ground = Ground::new();
    let mut bed = Bed::new(Some(&ground));
    println!("{scenario}");
    let mut failed = 0;
    for _ in 0..times {
        match one(&mut bed, scenario.clone()).result {
            Ok(summary) => println!("passes: {summary:?}"),
            Err(error) => {
                failed += 1;
                println!("fails: {error}");
            }
        }
    }
    assert_eq!(failed, 0, "of {times} runs");
}

#[test]
fn a_disk_that_is_full_for_a_while_loses_nothing() {
    let time = Duration::from_secs(number("CRASH_FULL_SECONDS", 2));
    let mut bed = Bed::new(None);
    let mut scenario = Scenario { kind: Some(Kind::Full), ..Scenario::peaceful(0) };
    scenario.lives = vec![Life { full: Some(time), ..Life::ended(By::Library) }];
    println!("{:?}", one(&mut bed, scenario).result.unwrap());
}
