//! The store on disk, opened again: dead letters, floors, what comes back and what is let go.

mod flips;
mod model;

use std::collections::BTreeMap;

use super::image::Image;
use super::records::Checkpoint;
use super::*;
use crate::frame::Kind;
use crate::runner::Reason;
use crate::state::Change;

pub(super) fn letter(detail: &str) -> Letter {
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
    store.close(Duration::from_secs(60)).unwrap();
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
    assert!(image.letters.count() == 0 && image.pipelines["main"].is_set_back);
    // What was dropped in a record that is lost does not come back.
    let mut image = Image::default();
    let whole = [(1, commit(1, &["a"])), (3, Record::Checkpoint(Checkpoint::default()))];
    whole.into_iter().for_each(|(number, record)| image.apply(number, record));
    assert_eq!(image.letters.count(), 0);
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
        assert_eq!(image.letters.get(1).is_some(), is_open, "commit {number}");
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

/// What another pipeline writes meanwhile.
fn busy(number: u64, bytes: usize) -> Record {
    let change = Change { key: "k".to_owned(), value: Some("x".repeat(bytes)), set: 0 };
    Record::Commit(Commit {
        pipeline: "busy".to_owned(),
        number,
        cursor: number,
        is_whole: true,
        states: vec![("p".to_owned(), vec![change])],
        ..Commit::default()
    })
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

#[test]
fn dead_letters_that_nobody_is_done_with_do_not_hold_what_is_written_after_them() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    store.write(commit(1, &["a", "b", "c"]), &never).unwrap();
    store.write(commit(2, &["d"]), &never).unwrap();
    let ids: Vec<_> = store.letters().map(|stored| stored.unwrap().id).collect();
    let d = ids[3];
    store.settle(&[ids[1]], &never).unwrap();
    // Somebody reads them meanwhile, here and in another process.
    let (mut slow, read) = (store.letters(), ReadStore::open(dir.path()).unwrap());
    assert_eq!(slow.next().unwrap().unwrap().id, ids[0]);
    let mut largest = 0;
    for number in 1..=40 {
        store.write(busy(number, 2 << 20), &never).unwrap();
        store.carry(12 << 20).unwrap();
        largest = largest.max(store.bytes());
    }
    assert!(largest < 40 << 20, "{largest} bytes");
    let first = store.lock().image.letters.first_place().unwrap();
    assert!(first > d.record && store.log.first_seq() > d.record, "{first}");
    let left = [ids[0], ids[2], d];
    let all = |letters: Letters| letters.map(|stored| stored.unwrap().id).collect::<Vec<_>>();
    assert_eq!(all(store.letters()), left);
    assert_eq!((all(read.letters()), all(slow)), (left.to_vec(), left[1..].to_vec()));
    assert_eq!(
        (store.letter_count(), store.is_open(ids[2]), store.is_open(ids[1])),
        (3, true, false)
    );
    // Here it may be killed: all are there once, and what is settled then stays so.
    let killed = copy(dir.path());
    drop(store);
    for (path, carries) in [(dir.path(), true), (killed.path(), false)] {
        let (store, loaded) = Store::open(path).unwrap();
        assert_eq!(loaded.notes, Vec::<String>::new());
        assert_eq!(details(&store), ["a", "c", "d"]);
        assert_eq!(store.letters().next().unwrap().unwrap().pipeline, "main");
        let select = Select { ids: vec![d, ids[1]], ..Select::default() };
        assert_eq!(store.letters().that_fit(&select).count(), 1);
        // One that is done with long since does not count again.
        store.settle(&[d, ids[0], ids[1]], &never).unwrap();
        for number in 41..=60 {
            store.write(busy(number, 2 << 20), &never).unwrap();
            if carries {
                store.carry(12 << 20).unwrap();
            }
        }
        drop(store);
        let (store, _) = Store::open(path).unwrap();
        assert_eq!((details(&store), store.letter_count()), (vec!["c".to_owned()], 1));
        store.settle(&ids, &never).unwrap();
        assert_eq!(store.lock().image.letters.first_place(), None);
    }
}

#[test]
fn many_dead_letters_are_carried_in_pieces_and_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let large = &*"x".repeat(100_000);
    for number in 1..=80 {
        store.write(commit(number, &[large; 2]), &never).unwrap();
    }
    let carry = |after| {
        let before = store.log.next_seq();
        store.carry(after).unwrap();
        store.log.flush(&never).unwrap();
        store.log.next_seq() - before
    };
    // There is hardly anything but dead letters.
    assert_eq!(carry(1 << 20), 0);
    let mut written = 0;
    for number in 1..=100 {
        store.write(busy(number, 1 << 20), &never).unwrap();
        // Writing them again is no reason to write them again.
        let rounds: Vec<u64> = (0..10).map(|_| carry(1 << 20)).take_while(|new| *new > 0).collect();
        assert!(rounds.len() < 5, "{rounds:?} at {number}");
        written += rounds.iter().sum::<u64>();
    }
    assert!((16..150).contains(&written), "{written} records");
    assert!(store.bytes() < 100 << 20, "{}", store.bytes());
    let ids: Vec<_> = store.letters().map(|stored| stored.unwrap().id).collect();
    assert!(ids.len() == 160 && ids.is_sorted());
}

#[test]
fn dead_letters_that_were_carried_and_lost_are_told_of() {
    let mut log = vec![(1, commit(1, &["a", "b"]))];
    let mut image = Image::default();
    image.apply(1, log[0].1.clone());
    log.push((2, Record::Checkpoint(image.to_checkpoint())));
    let letters = vec![(0, letter("a")), (1, letter("b"))];
    let carried = Carried { record: 1, pipeline: "main".to_owned(), settled: Vec::new(), letters };
    log.push((3, Record::Letters(vec![carried])));
    let read = |left: &[usize]| {
        let mut image = Image::default();
        left.iter().for_each(|at| image.apply(log[*at].0, log[*at].1.clone()));
        (image.letters.get(1).map(|lying| lying.at), image.unread)
    };
    assert_eq!(read(&[0, 1, 2]), (Some(3), BTreeMap::new()));
    assert_eq!(read(&[1, 2]), (Some(3), BTreeMap::new()));
    // The record that they came with is good where it is there.
    assert_eq!(read(&[0, 1]), (Some(1), BTreeMap::new()));
    assert_eq!(read(&[1]), (None, BTreeMap::from([(1, 2)])));
}

#[test]
fn what_is_only_read_says_what_of_it_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    for (number, detail) in [(1, "first"), (2, "needle"), (3, "last")] {
        store.write(commit(number, &[detail]), &never).unwrap();
    }
    store.close(Duration::from_secs(60)).unwrap();
    let read = ReadStore::open(dir.path()).unwrap();
    assert_eq!((read.trouble(), read.letters().count()), (None, 3));
    let path = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let path = path.into_iter().find(|path| path.extension().unwrap() == "seg").unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let read = ReadStore::open(dir.path()).unwrap();
    let trouble = read.trouble().unwrap();
    assert!(trouble.contains("1 records") && read.letters().count() == 2, "{trouble}");
}

#[test]
fn a_beginning_that_is_missing_is_told_though_nothing_else_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let large = &*"x".repeat(100_000);
    for number in 1..=20 {
        let Record::Commit(commit) = commit(number, &[large]) else { unreachable!() };
        // All of the pipeline is in the second segment, too, and no checkpoint is.
        let is_whole = number == 1 || number == 15;
        store.write(Record::Commit(Commit { is_whole, ..commit }), &never).unwrap();
    }
    let segments = store.log.segments();
    assert!(segments.len() == 2 && segments[1].first_seq < 15, "{segments:?}");
    store.close(Duration::from_secs(60)).unwrap();
    drop(store);
    let paths = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let first = paths.filter(|path| path.extension().unwrap() == "seg").min().unwrap();
    std::fs::remove_file(first).unwrap();
    assert!(ReadStore::open(dir.path()).unwrap().trouble().is_some());
    let (_, loaded) = Store::open(dir.path()).unwrap();
    assert!(loaded.is_damaged && loaded.notes[0].contains("are missing"), "{loaded:?}");
    assert!(!loaded.pipelines["main"].is_set_back);
}
