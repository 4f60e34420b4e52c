//! What is done to a host in a run: decided by a seed, the same for the same seed. Key types:
//! [`Scenario`], [`Life`], [`Census`].

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use super::preload::Op;

/// A way to do harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// SIGKILL from outside, whenever it comes.
    Signal,
    /// SIGKILL before, within or after an operation.
    Kill,
    /// The power goes at an operation, or whenever.
    Power,
    /// Operations fail, then SIGKILL.
    Error,
    /// A write is short, then SIGKILL.
    Short,
    /// The disk is full for a while, then SIGKILL.
    Full,
}

/// In which measure they come: a run's seed picks one.
pub const KINDS: [Kind; 16] = [
    Kind::Kill,
    Kind::Power,
    Kind::Signal,
    Kind::Error,
    Kind::Kill,
    Kind::Power,
    Kind::Short,
    Kind::Error,
    Kind::Power,
    Kind::Kill,
    Kind::Signal,
    Kind::Full,
    Kind::Power,
    Kind::Kill,
    Kind::Error,
    Kind::Power,
];

impl Kind {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Signal => "signal",
            Kind::Kill => "kill at an operation",
            Kind::Power => "power loss",
            Kind::Error => "error",
            Kind::Short => "short write",
            Kind::Full => "full disk",
        }
    }
}

/// How a life ends that does not end at its point: so long after the start or the first event.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ending {
    /// How.
    pub by: By,
    /// Counted from the first event that was received; else from the start.
    pub from_first: bool,
    /// How long after.
    pub after: Duration,
}

/// How a host is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// SIGKILL from outside.
    Signal,
    /// SIGKILL by the library, which hands on what was not synced.
    Library,
    /// Power loss.
    Power,
}

/// One process of the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Life {
    /// What the library is told besides.
    pub plan: String,
    /// What decides about what survives.
    pub seed: u64,
    /// How it ends at the latest.
    pub ending: Ending,
    /// For how long the disk is full before that.
    pub full: Option<Duration>,
    /// How long after its first event another version of the plugin is put into its place.
    pub reload: Option<Duration>,
    /// Whether that is another file, which has to be compiled; else another configuration.
    pub recompiles: bool,
}

/// A run: lives that end badly, and, after them, one that ends in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scenario {
    /// Where it comes from.
    pub seed: u64,
    /// What kind of harm, if any.
    pub kind: Option<Kind>,
    /// So many events that one before it brought begin each connection. The same for many seeds in a
    /// row, for it takes another simulator.
    pub duplicates: u32,
    /// Whether the sink's file is put aside when it is large, each few batches.
    pub rotates: bool,
    /// Whether plugins have yet to be compiled, and the data directory to be made.
    pub is_cold: bool,
    /// The lives.
    pub lives: Vec<Life>,
}

/// The operations that a host does in a life, by kind and place.
#[derive(Debug, Default)]
pub struct Census {
    /// In its first life.
    pub first: Places,
    /// In a later one, which finds what was left.
    pub later: Places,
}

/// Kind of operation, text of its path, how many there were.
pub type Places = Vec<(String, String, u64)>;

/// Counts operations by kind and place.
pub fn places(ops: &[Op]) -> Places {
    let mut places: Vec<(String, String)> =
        ops.iter().map(|op| (op.kind.clone(), place(&op.path).to_owned())).collect();
    places.sort();
    places.dedup();
    let count = |kind: &str, text: &str| {
        ops.iter().filter(|op| op.kind == kind && op.path.contains(text)).count() as u64
    };
    let counted = places.into_iter().map(|(kind, text)| {
        let count = count(&kind, &text);
        (kind, text, count)
    });
    counted.collect()
}

/// The directory of a file that is one of many; else the file.
fn place(path: &str) -> &str {
    let path = path.split(" -> ").next().unwrap_or(path);
    match path.rsplit_once('/') {
        Some((dir, _)) if dir != "data" => dir,
        _ => path,
    }
}

impl Scenario {
    /// Nothing is done to the host.
    pub fn peaceful(seed: u64) -> Scenario {
        Scenario {
            seed,
            kind: None,
            duplicates: 0,
            rotates: false,
            is_cold: false,
            lives: Vec::new(),
        }
    }

    /// What a seed decides.
    pub fn new(seed: u64, census: &Census) -> Scenario {
        let kind = KINDS[(seed % KINDS.len() as u64) as usize];
        Scenario::of_kind(kind, seed, census)
    }

    /// The same of one kind.
    pub fn of_kind(kind: Kind, seed: u64, census: &Census) -> Scenario {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = if kind == Kind::Full { 1 } else { rng.random_range(1..=3) };
        let lives = (0..count).map(|at| {
            let places = if at == 0 { &census.first } else { &census.later };
            life(kind, places, &mut rng)
        });
        let lives = lives.collect();
        let duplicates = if (seed / 25).is_multiple_of(2) { 0 } else { 400 };
        let (rotates, is_cold) = (rng.random_ratio(1, 3), rng.random_ratio(1, 8));
        Scenario { seed, kind: Some(kind), duplicates, rotates, is_cold, lives }
    }
}

fn life(kind: Kind, places: &Places, rng: &mut StdRng) -> Life {
    let mut ending = Ending {
        by: if rng.random_bool(0.5) { By::Library } else { By::Signal },
        from_first: true,
        after: Duration::from_millis(rng.random_range(20..200)),
    };
    let plan = match kind {
        Kind::Signal => {
            // Starting is a time like any other.
            if rng.random_bool(0.3) {
                ending.from_first = false;
                ending.after = Duration::from_millis(rng.random_range(1..250));
            }
            String::new()
        }
        Kind::Kill => format!("kill={},{}", point(places, None, rng), moment(rng)),
        Kind::Power => {
            ending.by = By::Power;
            if rng.random_bool(0.3) {
                String::new()
            } else {
                format!("power={},{}", point(places, None, rng), moment(rng))
            }
        }
        Kind::Short => format!("short={}", point(places, Some("write"), rng)),
        Kind::Error => {
            let errno = ["ENOSPC", "EIO", "EDQUOT"][rng.random_range(0..3)];
            let extent = match rng.random_range(0..3) {
                0 => "count=1".to_owned(),
                1 => format!("count={}", rng.random_range(2..20)),
                _ => format!("ms={}", rng.random_range(20..150)),
            };
            let drop = ["all", "some", "none", "now"][rng.random_range(0..4)];
            // What fails may then be lost for good.
            if rng.random_bool(0.5) {
                ending.by = By::Power;
            }
            let point = point(places, None, rng);
            format!("error={point},errno={errno},{extent},drop={drop}")
        }
        Kind::Full => String::new(),
    };
    let full = (kind == Kind::Full).then(|| Duration::from_millis(rng.random_range(50..400)));
    let reload = rng.random_ratio(1, 3).then(|| ending.after.mul_f64(rng.random()));
    Life { plan, seed: rng.random(), ending, full, reload, recompiles: false }
}

/// An operation. Kinds and places with many of them are likelier, but not as much as they are more.
fn point(places: &Places, kind: Option<&str>, rng: &mut StdRng) -> String {
    let meant: Vec<_> =
        places.iter().filter(|place| kind.is_none_or(|kind| place.0 == kind)).collect();
    let weight = |count: u64| count.isqrt();
    let mut left = rng.random_range(0..meant.iter().map(|place| weight(place.2)).sum());
    for (kind, text, count) in meant {
        if left < weight(*count) {
            return format!("{kind}:{}@{text}", rng.random_range(1..=*count));
        }
        left -= weight(*count);
    }
    unreachable!("weights add up")
}

fn moment(rng: &mut StdRng) -> &'static str {
    ["before", "half", "after"][rng.random_range(0..3)]
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.kind.map_or("nothing", Kind::name))?;
        for (is_so, what) in [
            (self.duplicates > 0, "duplicates"),
            (self.rotates, "rotates"),
            (self.is_cold, "nothing compiled"),
        ] {
            write!(f, "{}", if is_so { format!(", {what}") } else { String::new() })?;
        }
        for life in &self.lives {
            let Ending { by, from_first, after } = life.ending;
            let from = if from_first { "first event" } else { "start" };
            write!(f, "; [{}] {by:?} {after:?} after the {from}", life.plan)?;
            if let Some(full) = life.full {
                write!(f, ", full for {full:?}")?;
            }
            if let Some(reload) = life.reload {
                write!(f, ", reload after {reload:?}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(kind: &str, path: &str) -> Op {
        Op { kind: kind.into(), offset: 0, bytes: 0, path: path.into(), fate: "ok".into() }
    }

    #[test]
    fn operations_are_counted_by_kind_and_place() {
        let ops = [
            op("write", "data/journal/1.seg"),
            op("write", "data/journal/2.seg"),
            op("sync", "data/journal/1.seg"),
            op("rename", "data/listen.part -> data/listen.addr"),
            op("write", "events.jsonl"),
        ];
        let counted = |kind: &str, place: &str, count| (kind.to_owned(), place.to_owned(), count);
        assert_eq!(
            places(&ops),
            [
                counted("rename", "data/listen.part", 1),
                counted("sync", "data/journal", 1),
                counted("write", "data/journal", 2),
                counted("write", "events.jsonl", 1),
            ]
        );
    }

    #[test]
    fn the_same_seed_does_the_same() {
        let places = places(&[op("write", "a"), op("write", "a"), op("sync", "b")]);
        let census = Census { first: places.clone(), later: places };
        for seed in 0..KINDS.len() as u64 {
            let (one, other) = (Scenario::new(seed, &census), Scenario::new(seed, &census));
            assert_eq!(one.to_string(), other.to_string());
        }
    }
}
