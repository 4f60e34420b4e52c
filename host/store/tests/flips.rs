//! One flipped bit in the files of a store: told, and nothing is mixed.

use rand::RngExt as _;

use super::*;
use crate::seglog::tests::places_to_flip;

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
    store.close(Duration::from_secs(60)).unwrap();
    was
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "seg")).collect()
}

/// The store opens, its pipeline is what it was at a commit, and where that is not the last one, it says
/// so.
#[test]
fn one_flipped_bit_is_told_and_mixes_nothing() {
    let (times, mut rng) = places_to_flip();
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
        assert_eq!(saved.cursor, *cursor, "byte {at}");
        let found = saved.states["p"]["k"].value.as_deref();
        assert_eq!(found, Some(value.as_str()), "byte {at}");
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
        assert_eq!(loaded.pipelines["main"].cursor, 999, "byte {at}");
    }
}
