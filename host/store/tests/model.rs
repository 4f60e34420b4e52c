//! The store against a simple model: records lost at random places, checkpoints, floors.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::letters::Read;
use super::*;

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
    /// Dead letters, and what they say.
    letters: BTreeMap<LetterId, String>,
    /// Those that nobody is done with.
    open: BTreeSet<LetterId>,
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
            letters: BTreeMap::new(),
            open: BTreeSet::new(),
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
        let record = self.log.len() as u64 + 1;
        let many = [0, 0, 1, 3][self.rng.random_range(0..4)];
        let ids = (0..many).map(|place| LetterId { record, place });
        let details: Vec<_> = ids.map(|id| (id, format!("{pipeline} {id}"))).collect();
        self.open.extend(details.iter().map(|(id, _)| *id));
        self.letters.extend(details.clone());
        self.write(Record::Commit(Commit {
            pipeline: pipeline.to_owned(),
            number,
            cursor: was.0,
            is_whole,
            states: vec![("p".to_owned(), changes)],
            files,
            letters: details.iter().map(|(_, detail)| letter(detail)).collect(),
            ..Commit::default()
        }));
    }

    /// Some are done with; by chance one twice.
    fn settle(&mut self) {
        let ids: Vec<_> = self.letters.keys().copied().collect();
        let some = self.rng.random_range(0..8).min(ids.len());
        let ids: Vec<_> = (0..some).map(|_| ids[self.rng.random_range(0..ids.len())]).collect();
        self.open.retain(|id| !ids.contains(id));
        self.write(Record::Settled(ids));
    }

    /// Writes those again that lie furthest back.
    fn carry(&mut self) {
        let some = self.rng.random_range(1..6);
        let places: Vec<_> = self.image.letters.places().take(some).collect();
        let read = places.into_iter().map(|(at, record)| found(&self.log, at, record).unwrap());
        let carried: Vec<_> = read.filter_map(|read| self.image.to_carry(read)).collect();
        self.write(Record::Letters(carried));
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
            4 | 5 => self.settle(),
            6 => self.carry(),
            _ => self.commit(pipeline, false),
        }
    }
}

/// Dead letters of a record, where they lie.
fn found(log: &[(u64, Vec<u8>)], at: u64, record: u64) -> Option<Read> {
    let (_, bytes) = log.iter().find(|(number, _)| *number == at)?;
    let (pipeline, letters) = match postcard::from_bytes(bytes).unwrap() {
        Record::Commit(commit) if at == record => {
            (commit.pipeline, (0..).zip(commit.letters).collect())
        }
        Record::Letters(carried) => {
            let carried = carried.into_iter().find(|carried| carried.record == record)?;
            (carried.pipeline, carried.letters)
        }
        _ => return None,
    };
    Some(Read { record, at, pipeline, letters })
}

/// Dead letters that nobody is done with are where they are said to be, as many as are said, and say what
/// they said: which they are.
fn letters_hold(
    model: &Model,
    image: &Image,
    log: &[(u64, Vec<u8>)],
    seed: u64,
) -> BTreeSet<LetterId> {
    let mut open = BTreeSet::new();
    for (record, lying) in image.letters.records() {
        let read = found(log, lying.at, record).unwrap();
        let before = open.len();
        for (place, letter) in read.letters {
            let id = LetterId { record, place };
            assert_eq!(letter.detail, model.letters[&id], "seed {seed}");
            assert!(letter.detail.starts_with(&read.pipeline), "seed {seed}");
            if !image.settled.contains(&id) {
                open.insert(id);
            }
        }
        assert_eq!(open.len() - before, lying.count as usize, "seed {seed}, {record}");
    }
    assert_eq!(open.len() as u64, image.letters.count(), "seed {seed}");
    open
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
        assert_eq!(letters_hold(&model, &read(&model.log), &model.log, seed), model.open);
        let mut left = model.log.clone();
        for _ in 0..model.rng.random_range(1..4) {
            let at = model.rng.random_range(0..left.len());
            let many = model.rng.random_range(1..4).min(left.len() - at);
            left.drain(at..at + many);
        }
        let mut image = read(&left);
        holds(&model, &image, seed);
        // What is done with may come back; what is lost in all records that it was in is told of.
        letters_hold(&model, &image, &left, seed);
        image.forget_unread();
        letters_hold(&model, &image, &left, seed);
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
        assert_eq!(letters_hold(&model, &image, &left, seed), model.open, "seed {seed}");
        assert!(image.unread.is_empty() && image.letters == whole.letters, "seed {seed}");
        assert_eq!(image.settled, whole.settled, "seed {seed}");
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
