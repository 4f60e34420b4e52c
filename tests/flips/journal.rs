//! Bits and files of the journal: one record is lost at most, and its number, and what was before and after
//! it, is a gap; the others arrive, in order.

use std::collections::BTreeSet;
use std::ops::Range;

use rand::rngs::StdRng;
use rustix::process::Signal;
use serde_json::Value;

use super::base::{Base, Log, ask, pad};
use super::places::Part;
use super::{Figures, places, seeded};
use crate::crash::preload::Preload;
use crate::support::{HostDir, wait_until};

const MAIN: &str = "[pipeline.main]\nfrom = [\"hq\"]\nthrough = [\"10-late\"]\nto = [\"archive\"]\n\
    [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";

/// How many records there are.
const COUNT: usize = 1_000;

/// A journal that nobody has taken anything from yet. It has several segments, because some syncs failed,
/// and many groups; it was closed in order, or its host was killed.
fn unread(rng: &mut StdRng, is_killed: bool) -> (Base, Vec<String>) {
    let mut dir = HostDir::empty();
    let lines = dir.replay("ap-events", COUNT);
    pad(&dir.path("hq.frames"), rng, 800);
    dir.add(MAIN);
    dir.add("[journal]\ngroup_size = \"4KiB\"\ngroup_wait = \"1ms\"\n");
    let preload = Preload::new(dir.dir.path());
    let plan = [20, 50, 80, 110, 140, 170];
    let plan = plan.map(|at| format!("error=sync:{at}@data/journal,drop=none"));
    let mut host = dir.run_with(|command| preload.apply(command, &plan.join("; "), 0));
    wait_until("all of it", || {
        let page = host.page();
        page.find("trommel_received_total", &[("pipeline", "main")]) == Some(COUNT as f64)
    });
    if is_killed {
        // Not before the end is certified.
        wait_until("the log to be idle", || Base::look(&host.dir).ends_in_a_mark());
        host.running.signal(Signal::KILL);
        host.running.wait();
        std::fs::remove_file(host.path("data/listen.addr")).unwrap();
    } else {
        host.stop();
    }
    let mut dir = host.dir;
    std::fs::write(dir.path("hq.frames"), "").unwrap();
    dir.replace("through = [\"10-late\"]", "through = []");
    dir.write_config();
    let base = Base::new(dir);
    assert!(base.map(Log::Journal).segments.len() >= 4, "{:?}", base.map(Log::Journal).segments);
    (base, ids(lines.lines()))
}

fn ids<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let event = |line: &'a str| serde_json::from_str::<Value>(line).expect(line);
    lines.map(|line| event(line)["id"].as_str().unwrap().to_owned()).collect()
}

/// The gaps that are records of the journal, with the ids around them.
fn damaged(dir: &HostDir) -> Vec<(Range<u64>, String, String)> {
    let (out, code) = ask(dir, &["gaps", "--json"]);
    assert_eq!(code, 0);
    let gaps = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let damaged = gaps.filter(|gap| gap["reason"] == "damaged").map(|gap| {
        let number = |at: usize| gap["records"][at].as_u64().unwrap();
        let id = |key: &str| gap[key].as_str().unwrap().to_owned();
        (number(0)..number(1) + 1, id("last_id"), id("first_id"))
    });
    damaged.collect()
}

/// Starts a host that has all of the journal still to deliver: these records do not arrive and are told,
/// all others do, in order.
fn delivers_all_but(base: &mut Base, ids: &[String], lost: Range<u64>, what: &str) {
    let mut host = base.run();
    let tally = host.end();
    let expected: Vec<&String> =
        (1..).zip(ids).filter(|(seq, _)| !lost.contains(seq)).map(|(_, id)| id).collect();
    let arrived = host.ids("events.jsonl", "ap-events");
    let same = arrived.iter().zip(&expected).take_while(|(one, other)| one == *other).count();
    let counts = (arrived.len(), expected.len());
    assert!(
        counts == (same, same),
        "{what}: {counts:?}, the same up to {same}; {lost:?} to be lost: {}",
        host.running.log()
    );
    let count = lost.end - lost.start;
    assert_eq!((tally.delivered, tally.dead_lettered), (expected.len() as u64, count), "{what}");
    assert_eq!((tally.received, tally.in_flight), (ids.len() as u64, 0), "{what}");
    let id = |seq: u64| ids.get(seq as usize - 1).cloned().unwrap_or_default();
    let around = match lost.start {
        1 => (String::new(), id(lost.end)),
        first => (id(first - 1), id(lost.end)),
    };
    let told = if lost.is_empty() { vec![] } else { vec![(lost, around.0, around.1)] };
    assert_eq!(damaged(&host.dir), told, "{what}: {}", host.running.log());
    base.take_back(host);
}

fn one(seq: Option<u64>) -> Range<u64> {
    seq.map_or(1..1, |seq| seq..seq + 1)
}

#[test]
fn a_flipped_bit_in_what_is_not_delivered_costs_its_record_and_is_told() {
    let mut rng = seeded("unread");
    let mut figures = Figures::new(&["starts", "lost", "told as gaps"]);
    let bases = places().div_ceil(250).max(2);
    for number in 0..bases {
        let (mut base, ids) = unread(&mut rng, number % 2 == 0);
        let map = base.map(Log::Journal);
        for _ in 0..(places() / 2).div_ceil(bases) {
            let place = map.some(&mut rng);
            base.restore();
            base.flip(Log::Journal, &place);
            delivers_all_but(&mut base, &ids, one(place.seq), &format!("{place:?}"));
            let lost = u64::from(place.seq.is_some());
            figures.add(place.part, &[1, lost, lost]);
        }
    }
    figures.tell("not delivered", "flips-unread.txt");
}

/// Full segments, all delivered.
fn read(rng: &mut StdRng) -> (Base, Vec<String>) {
    let mut dir = HostDir::empty();
    let lines = dir.replay("ap-events", 10_000);
    pad(&dir.path("hq.frames"), rng, 8_000);
    dir.add(&MAIN.replace("[\"10-late\"]", "[]"));
    let mut host = dir.run();
    assert_eq!(host.end().delivered, 10_000);
    let mut dir = host.dir;
    // A source that never comes up keeps the host from ending by itself.
    std::fs::write(dir.path("hq.frames"), "").unwrap();
    dir.add(
        "[source.up]\nkind = \"central\"\nbase_url = \"https://127.0.0.1:9\"\n\
         token_file = \"none\"\nstreams = [\"ap-events\"]\n[pipeline.up]\nfrom = [\"up\"]\nthrough = []\n",
    );
    dir.write_config();
    (Base::new(dir), ids(lines.lines()))
}

#[test]
fn a_flipped_bit_in_what_was_delivered_is_told_at_the_next_start() {
    let mut rng = seeded("read");
    let (mut base, ids) = read(&mut rng);
    let map = base.map(Log::Journal);
    let full = map.segments.len();
    assert!(full >= 3, "{:?}", map.segments);
    let mut figures = Figures::new(&["starts", "lost", "told as gaps"]);
    for _ in 0..places().div_ceil(2) {
        let place = map.some(&mut rng);
        base.restore();
        base.flip(Log::Journal, &place);
        let mut host = base.run();
        host.wait_for_log("read back what streams brought last");
        host.stop();
        assert!(host.ids("events.jsonl", "ap-events") == ids, "{place:?}");
        let told: Vec<_> = damaged(&host.dir).into_iter().map(|told| told.0).collect();
        let expected: Vec<_> = place.seq.map(|seq| seq..seq + 1).into_iter().collect();
        assert_eq!(told, expected, "{place:?}: {}", host.running.log());
        figures.add(place.part, &[1, expected.len() as u64, told.len() as u64]);
        base.take_back(host);
    }
    figures.tell("delivered", "flips-read.txt");
}

#[test]
fn a_segment_that_is_missing_costs_its_records_and_is_a_gap() {
    let mut rng = seeded("missing");
    let (mut base, ids) = unread(&mut rng, false);
    let segments = base.map(Log::Journal).segments;
    // Of the newest one nothing says that it was there.
    for (at, segment) in segments.iter().enumerate().take(segments.len() - 1) {
        base.restore();
        base.remove(Log::Journal, &segment.name);
        let (said, code) = ask(base.dir(), &["journal", "verify"]);
        assert_eq!(code, 1, "{}: {said}", segment.name);
        // What the next one has, too, is there still.
        let end = segment.own.end;
        let own = segment.own.start..if at == 0 { segments[1].begins } else { end };
        delivers_all_but(&mut base, &ids, own, &segment.name);
    }
}

#[test]
fn parts_of_each_kind_are_there_to_be_hit() {
    let mut rng = seeded("parts");
    let (base, _) = unread(&mut rng, false);
    let map = base.map(Log::Journal);
    let seen: BTreeSet<Part> = (0..1_000).map(|_| map.some(&mut rng).part).collect();
    for part in [Part::Header, Part::Mark, Part::Close, Part::Head, Part::Payload, Part::Free] {
        assert!(seen.contains(&part), "{part:?} is not in {seen:?}");
    }
}
