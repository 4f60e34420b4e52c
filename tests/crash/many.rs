//! Many runs, by several threads, and the table that tells of them. Key types: [`Outcome`], [`Table`].

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::check::{Summary, check};
use super::run::{Bed, Ground};
use super::scenario::{KINDS, Scenario};
use crate::support::repository;

/// What came of one run.
#[derive(Debug)]
pub struct Outcome {
    pub scenario: Scenario,
    pub result: Result<Summary, String>,
    /// Whether what was planned came to pass.
    pub reached: bool,
    pub took: Duration,
}

/// Runs with the seeds from `seed` on.
pub fn many(
    runs: u64,
    seed: u64,
    jobs: u64,
    progress: impl Fn(u64, &Outcome) + Sync,
) -> Vec<Outcome> {
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(Vec::new());
    let ground = Ground::new();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut bed = Bed::new(Some(&ground));
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        return;
                    }
                    let scenario = Scenario::new(seed + number, &ground.census);
                    let outcome = one(&mut bed, scenario);
                    let mut outcomes = outcomes.lock().unwrap();
                    outcomes.push(outcome);
                    let done = outcomes.len() as u64;
                    progress(done, outcomes.last().unwrap());
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

/// What failed ones leave.
fn failed(seed: u64) -> PathBuf {
    repository().join(format!("target/crash/failed/{seed}"))
}

const SCENARIO: &str = "scenario.json";

/// The scenario of a run that failed.
pub fn failed_scenario(seed: u64) -> Scenario {
    let path = failed(seed).join(SCENARIO);
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// One run. What it leaves behind is kept if anything was wrong.
pub fn one(bed: &mut Bed<'_>, scenario: Scenario) -> Outcome {
    let begun = Instant::now();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let (run, seen) = bed.run(&scenario);
        let result = seen.and_then(|seen| check(&seen));
        if result.is_err() {
            let at = failed(scenario.seed);
            // It may be there from an earlier time.
            let _ = std::fs::remove_dir_all(&at);
            run.keep(&at).unwrap();
            std::fs::write(at.join(SCENARIO), serde_json::to_vec_pretty(&scenario).unwrap())
                .unwrap();
        }
        (result, run.reached(&scenario))
    }));
    let (result, reached) = caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        (Err(format!("the run broke off: {text}")), false)
    });
    Outcome { scenario, result, reached, took: begun.elapsed() }
}

/// The outcomes by kind of harm.
pub struct Table<'a>(pub &'a [Outcome]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<&str, Vec<&Outcome>> =
            KINDS.iter().map(|kind| (kind.name(), Vec::new())).collect();
        for outcome in self.0 {
            let name = outcome.scenario.kind.map_or("nothing", |kind| kind.name());
            kinds.entry(name).or_default().push(outcome);
        }
        writeln!(
            f,
            "{:22}{:>6}{:>8}{:>9}{:>8}{:>11}{:>12}{:>9}",
            "harm", "runs", "failed", "reached", "kills", "events", "unreceived", "s/run"
        )?;
        let all: Vec<&Outcome> = self.0.iter().collect();
        for (name, outcomes) in kinds.iter().map(|(name, of)| (*name, of)).chain([("all", &all)]) {
            row(f, name, outcomes)?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, outcomes: &[&Outcome]) -> fmt::Result {
    let good = || outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    writeln!(
        f,
        "{name:22}{:>6}{:>8}{:>9}{:>8}{:>11}{:>12}{:>9.2}",
        outcomes.len(),
        outcomes.len() - good().count(),
        outcomes.iter().filter(|outcome| outcome.reached).count(),
        outcomes.iter().map(|outcome| outcome.scenario.lives.len()).sum::<usize>(),
        good().map(|summary| summary.events).sum::<u64>(),
        good().map(|summary| summary.unreceived).sum::<u64>(),
        seconds / outcomes.len().max(1) as f64,
    )
}
