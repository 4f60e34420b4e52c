//! A bit that flips anywhere in the journal or in the store, and files of theirs that are gone: the host
//! starts by itself, loses what was hit and nothing else, and says so. `tools/crash --flips N` does more
//! of it. `places` knows where a bit can flip, `base` what hosts leave.

mod base;
mod journal;
mod places;
mod store;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use places::Part;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::support::repository;

/// How many places are part of all tests, in the journal and in the store.
const PLACES: u64 = 40;

/// How many places are tried.
fn places() -> u64 {
    std::env::var("FLIPS").map_or(PLACES, |text| text.parse().expect("FLIPS"))
}

/// One that differs each time, unless it is given, and is told.
fn seeded(what: &str) -> StdRng {
    let seed = std::env::var("FLIPS_SEED");
    let seed = seed.map_or_else(|_| rand::random(), |text| text.parse().expect("FLIPS_SEED"));
    println!("{what}: FLIPS_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// What came of tries, by the part that was hit.
#[derive(Default)]
struct Figures {
    names: &'static [&'static str],
    rows: BTreeMap<Part, Vec<u64>>,
}

impl Figures {
    fn new(names: &'static [&'static str]) -> Figures {
        Figures { names, ..Figures::default() }
    }

    /// One place was tried, and the host started.
    fn add(&mut self, part: Part, counts: &[u64]) {
        let row = self.rows.entry(part).or_insert_with(|| vec![0; self.names.len() + 1]);
        row[0] += 1;
        row[1..].iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        let done = self.rows.values().map(|row| row[0]).sum::<u64>();
        if done.is_multiple_of(100) {
            println!("{done} places");
        }
    }

    /// Prints them, and keeps them in a file of `target/crash`.
    fn tell(&self, title: &str, file: &str) {
        // Writing to a String cannot fail.
        let mut table = format!("{title:<20}{:>8}", "places");
        for name in self.names {
            let _ = write!(table, "{name:>14}");
        }
        let mut all = vec![0; self.names.len() + 1];
        for row in self.rows.values() {
            all.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        }
        let rows = self.rows.iter().map(|(part, row)| (part.to_string(), row));
        for (name, row) in rows.chain([("all".to_owned(), &all)]) {
            let _ = write!(table, "\n{name:<20}{:>8}", row[0]);
            for count in &row[1..] {
                let _ = write!(table, "{count:>14}");
            }
        }
        println!("{table}");
        std::fs::write(repository().join("target/crash").join(file), table + "\n").unwrap();
    }
}
