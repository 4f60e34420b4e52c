//! The store against a simple model: records lost at random places, checkpoints, floors, dead letters; and
//! on disk, opened again.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::image::Image;
use super::records::Checkpoint;
use super::*;
use crate::frame::Kind;
use crate::runner::Reason;
use crate::state::Change;

const PATHS: [&str; 2] = ["/a.jsonl", "/b.jsonl"];

fn change(key: u32, value: Option<u64>) -> Change {
    Change { key: format!("k{key}"), value: value.map(|n| n.to_string()), set: 0 }
}

/// What a pipeline was at one of its commits.
type Was = (u64, BTreeMap<String, Change>);

/// Pipeline, number of its commit, file, generation, part.
type Wrote = (String, u64, &'static str, u64, (u64, u64));

/// Writes as hosts do, and remembers what was.
struct Model {
    rng: StdRng,
    image: Image,
    /// What was written, encoded, with each one's number.
    log: Vec<(u64, Vec<u8>)>,
    /// By pipeline and number of the commit.
    was: BTreeMap<(String, u64), Was>,
    now: BTreeMap<String, Was>,
    numbers: BTreeMap<String, u64>,
    /// Where each file ends, and its generation.
    files: BTreeMap<&'static str, (u64, u64)>,
    /// What each commit wrote.
    wrote: Vec<Wrote>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let rng = StdRng::seed_from_u64(seed);
        let (image, log) = (Image::default(), Vec::new());
        let mut model = Model {
            rng,
            image,
            log,
            was: BTreeMap::new(),
            now: BTreeMap::new(),
            numbers: BTreeMap::new(),
            files: BTreeMap::new(),
            wrote: Vec::new(),
        };
        for path in PATHS {
            model.begin(path);
        }
        for pipeline in ["x", "y"] {
            model.commit(pipeline, true);
        }
        model
    }

    fn write(&mut self, mut record: Record) {
        let number = self.log.len() as u64 + 1;
        let bytes = encode(&self.image, &mut record);
        self.log.push((number, bytes));
        self.image.apply(number, record);
    }

    fn file(&self, path: &str) -> FileId {
        let generation = self.files[path].1;
        FileId { path: path.into(), dev: 1, ino: generation, generation }
    }

    fn begin(&mut self, path: &'static str) {
        let (_, generation) = self.files.get(path).copied().unwrap_or_default();
        let len = self.rng.random_range(0..3) * 10;
        self.files.insert(path, (len, generation + 1));
        let file = self.file(path);
        self.write(Record::Base(Base { file, len }));
    }

    fn commit(&mut self, pipeline: &str, is_whole: bool) {
        let number = self.numbers.get(pipeline).copied().unwrap_or(0) + 1;
        self.numbers.insert(pipeline.to_owned(), number);
        let (key, value) = (self.rng.random_range(0..4), self.rng.random_range(0..9));
        let change = change(key, (value > 2).then_some(value));
        let (cursor, state) = self.now.entry(pipeline.to_owned()).or_default();
        *cursor += 10;
        match change.value {
            Some(_) => drop(state.insert(change.key.clone(), change.clone())),
            None => drop(state.remove(&change.key)),
        }
        let was = (*cursor, state.clone());
        let changes = if is_whole { state.values().cloned().collect() } else { vec![change] };
        self.was.insert((pipeline.to_owned(), number), was.clone());
        let path = PATHS[self.rng.random_range(0..2)];
        let (end, generation) = self.files[path];
        let part = (end, end + 10);
        self.files.insert(path, (part.1, generation));
        self.wrote.push((pipeline.to_owned(), number, path, generation, part));
        let files = vec![Written { file: self.file(path), parts: vec![part] }];
        self.write(Record::Commit(Commit {
            pipeline: pipeline.to_owned(),
            number,
            cursor: was.0,
            is_whole,
            states: vec![("p".to_owned(), changes)],
            files,
            ..Commit::default()
        }));
    }

    fn step(&mut self) {
        let pipeline = ["x", "y"][self.rng.random_range(0..2)];
        match self.rng.random_range(0..20) {
            0 => {
                let path = PATHS[self.rng.random_range(0..2)];
                self.begin(path);
            }
            1 => self.write(Record::Checkpoint(self.image.to_checkpoint())),
            2 | 3 => self.commit(pipeline, true),
            _ => self.commit(pipeline, false),
        }
    }
}

fn read(log: &[(u64, Vec<u8>)]) -> Image {
    let mut image = Image::default();
    for (number, bytes) in log {
        image.apply(*number, postcard::from_bytes(bytes).unwrap());
    }
    image
}

/// Each pipeline is what it was at one of its commits, and never a mix; what it wrote by then is kept.
fn holds(model: &Model, image: &Image, seed: u64) {
    for (name, saved) in &image.pipelines {
        if saved.number == 0 {
            assert!(saved.is_set_back && saved.states.is_empty(), "seed {seed}");
            continue;
        }
        let (cursor, state) = &model.was[&(name.clone(), saved.number)];
        assert_eq!(saved.cursor, *cursor, "seed {seed}");
        let found = saved.states.get("p").cloned().unwrap_or_default();
        assert_eq!(&found, state, "seed {seed}, {name} at {}", saved.number);
        // Where its last commits are lost nothing says whose they were.
        assert!(!saved.is_set_back || saved.number != model.numbers[name], "seed {seed}");
    }
    for (pipeline, number, path, generation, part) in &model.wrote {
        let is_before = image.pipelines.get(pipeline).is_some_and(|saved| *number <= saved.number);
        let Some(file) = image.files.get(Path::new(path)) else { continue };
        if is_before && file.id.2 == *generation {
            let is_kept = file.kept.parts().iter().any(|(a, b)| *a <= part.0 && part.1 <= *b);
            assert!(is_kept, "seed {seed}: {path} {part:?} of {pipeline} would be cut off");
        }
    }
}

#[test]
fn pipelines_go_back_to_what_they_were_whatever_is_lost() {
    for seed in 0..2_000 {
        let mut model = Model::new(seed);
        for _ in 0..60 {
            model.step();
        }
        holds(&model, &read(&model.log), seed);
        let mut left = model.log.clone();
        for _ in 0..model.rng.random_range(1..4) {
            let at = model.rng.random_range(0..left.len());
            let many = model.rng.random_range(1..4).min(left.len() - at);
            left.drain(at..at + many);
        }
        holds(&model, &read(&left), seed);
    }
}

#[test]
fn nothing_below_the_floor_is_needed() {
    for seed in 0..500 {
        let mut model = Model::new(seed);
        for _ in 0..80 {
            model.step();
        }
        let floor = model.image.floor();
        let left: Vec<_> =
            model.log.iter().filter(|(number, _)| *number >= floor).cloned().collect();
        let (whole, image) = (read(&model.log), read(&left));
        assert_eq!(image.pipelines, whole.pipelines, "seed {seed}");
        assert_eq!(image.files, whole.files, "seed {seed}");
        // A pipeline may lose its last whole commit, and goes back no further than the journal is kept.
        let journal_floor = model.image.journal_floor().unwrap();
        let wholes = model.image.wholes.values();
        for wholes in wholes.filter(|wholes| wholes[0] != wholes[1]) {
            let lost = left.iter().filter(|(number, _)| *number != wholes[0].0).cloned();
            let image = read(&lost.collect::<Vec<_>>());
            assert!(image.pipelines.values().all(|saved| saved.cursor >= journal_floor));
        }
    }
}

fn letter(detail: &str) -> Letter {
    Letter {
        time: 0,
        reason: Reason::Trap,
        detail: detail.to_owned(),
        stage: Stage::Decode,
        version: String::new(),
        went_on: false,
        source: String::new(),
        stream: String::new(),
        event: None,
        raw: Some(vec![1, 2, 3]),
        kind: Kind::Text,
    }
}

fn commit(number: u64, letters: &[&str]) -> Record {
    Record::Commit(Commit {
        pipeline: "main".to_owned(),
        number,
        is_whole: number == 1,
        letters: letters.iter().map(|detail| letter(detail)).collect(),
        ..Commit::default()
    })
}

fn never() -> bool {
    false
}

fn details(store: &Store) -> Vec<String> {
    store.letters().map(|stored| stored.unwrap().letter.detail).collect()
}

#[test]
fn dead_letters_stay_until_they_are_settled() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    for (number, letters) in [(1, &["a", "b"][..]), (2, &[]), (3, &["c"])] {
        store.write(commit(number, letters), &never).unwrap();
    }
    assert_eq!(details(&store), ["a", "b", "c"]);
    let ids: Vec<_> = store.letters().map(|stored| stored.unwrap().id).collect();
    store.write(Record::Settled(vec![ids[0], ids[0]]), &never).unwrap();
    assert_eq!((details(&store), store.letter_count()), (vec!["b".to_owned(), "c".to_owned()], 2));
    store.close(Duration::from_secs(5)).unwrap();
    drop(store);
    let (store, loaded) = Store::open(dir.path()).unwrap();
    assert!(!loaded.is_damaged && loaded.notes.is_empty(), "{loaded:?}");
    assert_eq!(details(&store), ["b", "c"]);
    store.write(Record::Settled(ids[1..].to_vec()), &never).unwrap();
    assert_eq!((details(&store), store.letter_count()), (Vec::<String>::new(), 0));
}

#[test]
fn what_is_over_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let value = "v".repeat(100_000);
    for number in 1..=300 {
        let change = Change { key: "k".to_owned(), value: Some(value.clone()), set: 0 };
        let commit = Commit {
            pipeline: "main".to_owned(),
            number,
            cursor: number,
            is_whole: store.wants_whole("main"),
            states: vec![("p".to_owned(), vec![change])],
            ..Commit::default()
        };
        store.write(Record::Commit(commit), &never).unwrap();
    }
    assert!(store.bytes() < 24 << 20, "{} bytes for 30 MB written", store.bytes());
    assert!(store.journal_floor().unwrap() > 250, "{:?}", store.journal_floor());
    drop(store);
    let (_, loaded) = Store::open(dir.path()).unwrap();
    assert_eq!(loaded.pipelines["main"].cursor, 300);
}

#[test]
fn what_was_there_comes_back() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    // Not every path is UTF-8.
    let path = Path::new(std::ffi::OsStr::from_bytes(b"/data/\xff.jsonl"));
    let file = FileId { path: path.to_owned(), dev: 1, ino: 2, generation: 3 };
    let gap = {
        let (store, _) = Store::open(dir.path()).unwrap();
        store.write(Record::Base(Base { file: file.clone(), len: 5 }), &never).unwrap();
        let parts = vec![(5, 9)];
        let written = vec![Written { file: file.clone(), parts }];
        let news = vec![News { number: 7, subject: "s".to_owned(), data: "{}".to_owned() }];
        let (pipeline, number, is_whole) = ("main".to_owned(), 1, true);
        let commit =
            Commit { pipeline, number, is_whole, files: written, news, ..Commit::default() };
        store.write(Record::Commit(commit), &never).unwrap();
        let gap = Gap {
            number: store.next_gap(),
            source: "hq".to_owned(),
            stream: "wids".to_owned(),
            from: 1,
            to: None,
            reason: "closed".to_owned(),
            detail: String::new(),
            last_id: String::new(),
            first_id: String::new(),
            replayed: None,
            records: None,
        };
        store.write(Record::Gap(gap.clone()), &never).unwrap();
        gap
    };
    let (store, loaded) = Store::open(dir.path()).unwrap();
    assert_eq!(loaded.notes, Vec::<String>::new());
    let (generation, kept) = store.kept(path, (1, 2)).unwrap();
    assert_eq!((generation, kept.parts()), (3, &[(0, 9)][..]));
    assert!(store.kept(path, (1, 3)).is_none(), "it is another file");
    assert!(store.next_generation(path) > 3);
    assert_eq!(loaded.pipelines["main"].news.len(), 1);
    assert_eq!(store.gaps(), [Gap { to: None, ..gap }]);
    store.write(Record::Told { pipeline: "main".to_owned(), upto: 7 }, &never).unwrap();
    store.write(Record::Released { pipeline: "gone".to_owned() }, &never).unwrap();
    drop(store);
    let (store, loaded) = Store::open(dir.path()).unwrap();
    assert_eq!((loaded.pipelines["main"].news.len(), store.told("main")), (0, 7));
}

#[test]
fn a_pipeline_whose_first_commits_are_lost_is_set_back_to_nothing() {
    let mut image = Image::default();
    let Record::Commit(commit) = commit(5, &[]) else { unreachable!() };
    image.apply(9, Record::Commit(commit));
    image.apply(10, Record::Checkpoint(Checkpoint::default()));
    assert!(image.pipelines["main"].is_set_back);
    assert_eq!(image.pipelines["main"].number, 0);
}

#[test]
fn what_the_oldest_records_held_is_known_to_be_lost() {
    let mut log: Vec<(u64, Record)> = (1..)
        .zip([
            commit(1, &["a", "b", "c"]),
            commit(2, &["d"]),
            Record::Settled(vec![LetterId { record: 1, place: 0 }]),
        ])
        .collect();
    let mut image = Image::default();
    log.iter().for_each(|(number, record)| image.apply(*number, record.clone()));
    log.push((4, Record::Checkpoint(image.to_checkpoint())));
    log.push((5, Record::Settled(vec![LetterId { record: 1, place: 1 }])));
    let mut image = Image::default();
    // Nothing tells otherwise that there were others before.
    log.into_iter().skip(3).for_each(|(number, record)| image.apply(number, record));
    assert_eq!(image.unread, BTreeMap::from([(1, 1), (2, 1)]));
    assert!(image.letters.is_empty() && image.pipelines["main"].is_set_back);
    // What was dropped in a record that is lost does not come back.
    let mut image = Image::default();
    let whole = [(1, commit(1, &["a"])), (3, Record::Checkpoint(Checkpoint::default()))];
    whole.into_iter().for_each(|(number, record)| image.apply(number, record));
    assert!(image.letters.is_empty());
}

#[test]
fn what_was_redriven_stays_a_dead_letter_where_what_became_of_it_is_lost() {
    let redriven = |number| {
        let Record::Commit(commit) = commit(number, &[]) else { unreachable!() };
        Record::Commit(Commit { settled: vec![LetterId { record: 1, place: 0 }], ..commit })
    };
    let Record::Commit(first) = commit(1, &["bad"]) else { unreachable!() };
    let first = Commit { is_whole: true, ..first };
    for (number, is_open) in [(2, false), (3, true)] {
        let mut image = Image::default();
        image.apply(1, Record::Commit(first.clone()));
        // With 3, the commit before cannot be read, so that the pipeline goes back.
        image.apply(3, redriven(number));
        assert_eq!(image.letters.contains_key(&1), is_open, "commit {number}");
    }
}

#[test]
fn alerts_that_are_not_told_yet_are_in_every_whole_commit() {
    let mut image = Image::default();
    let news = |number| News { number, subject: "s".to_owned(), data: "{}".to_owned() };
    let mut last = Vec::new();
    for number in 1..=4 {
        let whole = Commit {
            pipeline: "main".to_owned(),
            number,
            is_whole: true,
            news: vec![news(number)],
            ..Commit::default()
        };
        let mut record = Record::Commit(whole);
        last = super::encode(&image, &mut record);
        image.apply(number, record);
        let told = number.saturating_sub(2);
        image.apply(10 + number, Record::Told { pipeline: "main".to_owned(), upto: told });
    }
    let mut image = Image::default();
    image.apply(1, postcard::from_bytes(&last).unwrap());
    let left: Vec<_> = image.pipelines["main"].news.iter().map(|news| news.number).collect();
    assert_eq!(left, [2, 3, 4]);
}

#[test]
fn a_pipeline_that_waits_does_not_hold_what_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let set = |value: String| {
        vec![("p".to_owned(), vec![Change { key: "k".to_owned(), value: Some(value), set: 0 }])]
    };
    let news = |number| News { number, subject: "s".to_owned(), data: "{}".to_owned() };
    for number in 1..=2 {
        let stuck = Commit {
            pipeline: "stuck".to_owned(),
            number,
            cursor: 40 + number,
            is_whole: number == 1,
            states: set(format!("v{number}")),
            news: vec![news(number)],
            ..Commit::default()
        };
        store.write(Record::Commit(stuck), &never).unwrap();
    }
    store.write(Record::Told { pipeline: "stuck".to_owned(), upto: 1 }, &never).unwrap();
    let (mut largest, mut number) = (0, 0);
    for _ in 0..30 {
        number += 1;
        let busy = Commit {
            pipeline: "busy".to_owned(),
            number,
            cursor: 100 + number,
            is_whole: true,
            states: set("x".repeat(2 << 20)),
            ..Commit::default()
        };
        store.write(Record::Commit(busy), &never).unwrap();
        store.carry(12 << 20).unwrap();
        largest = largest.max(store.bytes());
    }
    assert!(largest < 40 << 20, "{largest} bytes");
    // It goes on as if nothing had been.
    let more = Commit {
        pipeline: "stuck".to_owned(),
        number: 3,
        cursor: 43,
        news: vec![news(3)],
        ..Commit::default()
    };
    store.write(Record::Commit(more), &never).unwrap();
    drop(store);
    let (_, loaded) = Store::open(dir.path()).unwrap();
    assert_eq!(loaded.notes, Vec::<String>::new());
    let stuck = &loaded.pipelines["stuck"];
    assert_eq!((stuck.number, stuck.cursor, stuck.is_set_back), (3, 43, false));
    assert_eq!(stuck.states["p"]["k"].value.as_deref(), Some("v2"));
    assert_eq!(stuck.news.iter().map(|news| news.number).collect::<Vec<_>>(), [2, 3]);
}

/// A store with a history, and what its pipeline was at each commit.
fn history(dir: &Path) -> Vec<(u64, String)> {
    let (store, _) = Store::open(dir).unwrap();
    let mut was = vec![(0, String::new())];
    for number in 1..=40 {
        let value = format!("{number}").repeat(40);
        let change = Change { key: "k".to_owned(), value: Some(value.clone()), set: 0 };
        let commit = Commit {
            pipeline: "main".to_owned(),
            number,
            cursor: number * 10,
            is_whole: number % 10 == 1,
            states: vec![("p".to_owned(), vec![change])],
            letters: vec![letter(&value)],
            ..Commit::default()
        };
        store.write(Record::Commit(commit), &never).unwrap();
        was.push((number * 10, value));
    }
    store.close(Duration::from_secs(5)).unwrap();
    was
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "seg")).collect()
}

/// One flipped bit anywhere that was written: the store opens, its pipeline is what it was at a commit,
/// and where that is not the last one, it says so.
fn flips(times: u64, seed: u64) {
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let was = history(dir.path());
    let [path] = &segments(dir.path())[..] else { panic!("one segment") };
    let bytes = std::fs::read(path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap().min(bytes.len() - 4096);
    let used = bytes[..written].iter().rposition(|byte| *byte != 0).unwrap();
    for _ in 0..times {
        let copy = tempfile::tempdir().unwrap();
        let mut bytes = bytes.clone();
        let at = rng.random_range(0..=used);
        bytes[at] ^= 1 << rng.random_range(0..8);
        std::fs::write(copy.path().join(path.file_name().unwrap()), &bytes).unwrap();
        let (store, loaded) = Store::open(copy.path()).unwrap();
        let saved = &loaded.pipelines["main"];
        let (cursor, value) = &was[saved.number as usize];
        assert_eq!(saved.cursor, *cursor, "seed {seed}, byte {at}");
        let found = saved.states["p"]["k"].value.as_deref();
        assert_eq!(found, Some(value.as_str()), "seed {seed}, byte {at}");
        if saved.number < 40 {
            let says = ["pipeline \"main\" is restored as of", "goes on from the commit before"];
            let is_told = |note: &String| says.iter().any(|says| note.contains(says));
            assert!(loaded.notes.iter().any(is_told), "{:?}", loaded.notes);
        }
        let letters = details(&store).len();
        assert!(letters >= 39 && (letters == 40 || loaded.is_damaged), "{letters}, byte {at}");
        // It can be written on.
        let next =
            Commit { is_whole: true, number: saved.number + 1, cursor: 999, ..Commit::default() };
        let next = Commit { pipeline: "main".to_owned(), ..next };
        store.write(Record::Commit(next), &never).unwrap();
        drop(store);
        let (_, loaded) = Store::open(copy.path()).unwrap();
        assert_eq!(loaded.pipelines["main"].cursor, 999, "seed {seed}, byte {at}");
    }
}

#[test]
fn one_flipped_bit_is_told_and_mixes_nothing() {
    flips(60, rand::random());
}

#[test]
#[ignore = "takes minutes: 1,000 places"]
fn one_flipped_bit_at_a_thousand_places() {
    flips(1_000, rand::random());
}
