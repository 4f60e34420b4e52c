//! Bits and files of the store: what a pipeline had committed is there, or the pipeline goes back to one of
//! its commits, all of it alike, and that is told.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rustix::process::Signal;
use serde_json::Value;

use super::base::{Base, Log, ask, pad};
use super::{Figures, places, seeded};
use crate::support::{Host, HostDir, Sim, Tally, count_lines, json_lines, wait_until};

/// A filter that makes dead letters, a transform that counts, and a file.
const MAIN: &str = "[pipeline.main]\nfrom = [\"hq\", \"tape\"]\nthrough = [\"10-refuses\", \"20-number\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n\
    [journal]\ncommit_every = \"10ms\"\n";
const REFUSES: &str = "[config]\nmode = \"fault\"\non_id_suffix = \"7\"\n";

/// A store, and what belongs to it.
struct Kept {
    base: Base,
    /// What the sink is to have in the end: ids and the numbers that the plugin gave them.
    expected: Vec<(String, u64)>,
    /// Those that the plugin refused.
    dead: Vec<String>,
}

/// A host that has run four times, and was killed the last time: by then there is more than one segment, and
/// what is in the first one is needed for dead letters alone.
fn kept(rng: &mut StdRng) -> Kept {
    let sim = Sim::without_ledger(&["--rate", "2000", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], MAIN);
    // Large dead letters, so that there are several segments.
    dir.replay_as("tape", "ap-events", 1_600);
    pad(&dir.path("tape.frames"), rng, 16_000);
    dir.plugin("10-refuses", "misbehave-filter", REFUSES);
    dir.plugin("20-number", "misbehave-transform", "[config]\nmode = \"number\"\n");
    for signal in [Signal::TERM, Signal::TERM, Signal::TERM, Signal::KILL] {
        let before = count_lines(&dir.path("events.jsonl"));
        let mut host = dir.run();
        wait_until("events", || count_lines(&host.path("events.jsonl")) > before + 600);
        host.running.signal(signal);
        host.running.wait();
        dir = host.dir;
        std::fs::write(dir.path("tape.frames"), "").unwrap();
        // An orderly end has removed it.
        let _ = std::fs::remove_file(dir.path("data/listen.addr"));
        if signal == Signal::TERM && before == 0 {
            let (out, code) = ask(&dir, &["dlq", "drop", "--source", "hq"]);
            assert!(code == 0, "{out}");
        }
    }
    drop(sim);
    let empty = dir.path("tape.frames").display().to_string();
    dir.replace_source(
        "hq",
        &format!("kind = \"replay\"\npath = \"{empty}\"\nstream = \"ap-events\""),
    );
    let mut base = Base::new(dir);
    // What is right is what comes of it when nothing is spoiled.
    base.restore();
    let mut host = base.run();
    host.end();
    let expected = numbered(&host);
    for (number, (_, found)) in (1..).zip(&expected) {
        assert_eq!(number, *found);
    }
    let dead = letters(&host.dir);
    assert!(dead.len() > 30, "{}", dead.len());
    let (out, _) = ask(&host.dir, &["replay"]);
    let ids = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ids: Vec<String> = ids.map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let good = ids.iter().filter(|id| !id.ends_with('7'));
    assert!(good.eq(expected.iter().map(|(id, _)| id)), "what is in the journal is at the sink");
    base.take_back(host);
    Kept { base, expected, dead }
}

/// What is at the sink, with the plugin's numbers.
fn numbered(host: &Host) -> Vec<(String, u64)> {
    let lines = host.lines("events.jsonl");
    let numbered = lines
        .iter()
        .map(|line| (line["id"].as_str().unwrap().to_owned(), line["count"].as_u64().unwrap()));
    numbered.collect()
}

/// The ids of events that are dead letters.
fn letters(dir: &HostDir) -> Vec<String> {
    let (out, code) = ask(dir, &["dlq", "export", "--reason", "fault"]);
    assert_eq!(code, 0);
    let letters = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    letters.map(|letter| letter["event"]["id"].as_str().unwrap().to_owned()).collect()
}

/// What came of a start on a spoiled store.
#[derive(Debug, Default)]
struct Outcome {
    /// Whether the log says that something is not as it was.
    is_told: bool,
    /// Lines that came a second time.
    twice: u64,
    /// Dead letters that are in `dead-letters.jsonl` alone.
    unlisted: u64,
}

impl Kept {
    /// Starts the host, and holds what it does against what is right: where nothing is told, nothing is
    /// lost and nothing comes twice.
    fn start(&mut self, what: &str, may_be_silent: bool) -> Outcome {
        let mut host = self.base.run();
        let tally = host.end();
        let log = host.running.log();
        // Of the last group of one that was killed nothing says that it was durable: it looks like one that
        // was being written.
        let is_cut = log.lines().any(|line| line.contains("in part") && line.contains("\"store\""));
        let is_told = is_cut || log.contains("ERROR store") || log.contains("ERROR the store");
        let found = numbered(&host);
        let twice = self.came_back(&found, &tally, &format!("{what}: {log}"));
        let (listed, dead) = (letters(&host.dir), &self.dead);
        let all: BTreeSet<&String> = listed.iter().collect();
        let lines = json_lines(&host.path("data/dead-letters.jsonl"));
        let lines: BTreeSet<&str> =
            lines.iter().filter_map(|line| line["event"]["id"].as_str()).collect();
        assert!(dead.iter().all(|id| lines.contains(&**id)), "{what}: a line is not there");
        let unlisted = dead.iter().filter(|id| !all.contains(id)).count() as u64;
        if !is_told && !may_be_silent {
            assert!(listed == *dead && twice == 0, "{what}: not told: {log}");
        }
        self.base.take_back(host);
        Outcome { is_told, twice, unlisted }
    }

    /// The pipeline went on from where it was, or from an earlier commit, with what the plugin remembered
    /// then. Says how many lines came twice.
    fn came_back(&self, found: &[(String, u64)], tally: &Tally, what: &str) -> u64 {
        assert_eq!(tally.in_flight, 0, "{what}");
        let all = self.expected.len();
        let upto = found.iter().zip(&self.expected).take_while(|(one, other)| one == other).count();
        let rest = &found[upto..];
        let is_end = rest.len() <= all && rest == &self.expected[all - rest.len()..];
        assert!(is_end && upto + rest.len() >= all, "{what}: {upto} lines, then {}", rest.len());
        (upto + rest.len() - all) as u64
    }
}

const NAMES: &[&str] = &["starts", "told", "went back", "lines twice", "letters less"];

impl Outcome {
    fn counts(&self) -> [u64; 5] {
        [1, u64::from(self.is_told), u64::from(self.twice > 0), self.twice, self.unlisted]
    }
}

#[test]
fn a_flipped_bit_is_told_with_what_is_restored_and_mixes_nothing() {
    let mut rng = seeded("store");
    let mut figures = Figures::new(NAMES);
    let bases = places().div_ceil(250);
    for _ in 0..bases {
        let mut kept = kept(&mut rng);
        let map = kept.base.map(Log::Store);
        for _ in 0..places().div_ceil(bases) {
            let place = map.some(&mut rng);
            kept.base.restore();
            kept.base.flip(Log::Store, &place);
            let outcome = kept.start(&format!("{place:?}"), false);
            if place.seq.is_some() {
                assert!(outcome.is_told, "not told: {place:?}");
            } else {
                assert_eq!((outcome.twice, outcome.unlisted), (0, 0), "{place:?}");
            }
            figures.add(place.part, &outcome.counts());
        }
    }
    figures.tell("store", "flips-store.txt");
}

#[test]
fn whatever_segment_is_missing_the_host_starts_and_says_what_it_goes_on_with() {
    let mut rng = seeded("missing");
    let mut kept = kept(&mut rng);
    let segments = kept.base.map(Log::Store).segments;
    assert!(segments.len() >= 2, "{segments:?}");
    let mut lost = 0;
    for segment in &segments {
        kept.base.restore();
        kept.base.remove(Log::Store, &segment.name);
        // Of the newest one nothing says that it was there: all of it is as it was before.
        let is_newest = segment.name == segments[segments.len() - 1].name;
        let outcome = kept.start(&segment.name, is_newest);
        assert!(outcome.is_told || is_newest, "{segment:?}");
        lost += outcome.unlisted;
    }
    kept.base.restore();
    assert!(lost > 0, "no dead letter was in any of them");
    segments.iter().for_each(|segment| kept.base.remove(Log::Store, &segment.name));
    let outcome = kept.start("all", false);
    assert!(outcome.is_told && outcome.twice > 0, "{outcome:?}");
}
