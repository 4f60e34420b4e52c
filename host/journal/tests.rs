//! The journal as pipelines see it: what counts as received, who takes what from which record on, what a
//! flipped bit costs.

use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::frame::{Frame, Origin};
use crate::seglog::tests::places_to_flip;

fn chunk(source: &str, texts: &[String]) -> Chunk {
    let origin = Arc::new(Origin { source: source.into(), stream: "t".into() });
    Chunk::new(origin, texts.iter().map(|text| Frame::binary(text.clone().into_bytes())).collect())
}

fn put(journal: &Journal, source: &str, numbers: std::ops::Range<u32>) {
    let texts: Vec<_> = numbers.map(|n| format!("{source}{n}")).collect();
    journal.try_put(&chunk(source, &texts)).unwrap();
}

async fn open(dir: &Path) -> Journal {
    Journal::open(dir, &JournalConfig::default(), 0).unwrap()
}

/// All that a feed gives until it has come to the end of the journal, and how many records were lost.
async fn all(journal: &Journal, feed: &mut Feed) -> (Vec<String>, u64) {
    journal.settled().await;
    let (mut texts, mut lost) = (Vec::new(), 0);
    while feed.has_more() {
        let taken = feed.take(7, 1 << 20);
        let frames = taken.chunks.iter().flat_map(|chunk| &chunk.frames);
        texts.extend(frames.map(|frame| String::from_utf8(frame.bytes.to_vec()).unwrap()));
        lost += taken.lost.iter().map(|lost| lost.end - lost.start).sum::<u64>();
    }
    (texts, lost)
}

#[tokio::test]
async fn each_takes_its_sources_and_a_change_takes_effect_at_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).await;
    let tally = Arc::new(Tally::default());
    let mut feed = journal.feed(1, &["a".to_owned()], &tally);
    put(&journal, "a", 0..3);
    put(&journal, "b", 0..2);
    assert_eq!(all(&journal, &mut feed).await.0, ["a0", "a1", "a2"]);
    put(&journal, "b", 2..3);
    let interests = Arc::clone(feed.interests());
    journal.cut(|at| interests.change(at, &["b".to_owned()]));
    put(&journal, "a", 3..5);
    put(&journal, "b", 3..5);
    assert_eq!(all(&journal, &mut feed).await.0, ["b3", "b4"]);
    assert_eq!(
        (tally.counts().received, feed.taken().load(std::sync::atomic::Ordering::Relaxed)),
        (5, 5)
    );
    // It ends at a record, whatever comes after.
    let end = feed.end();
    put(&journal, "b", 5..6);
    journal.cut(|at| {
        end.send_replace(Some(at));
    });
    put(&journal, "b", 6..9);
    journal.settled().await;
    assert_eq!(all(&journal, &mut feed).await.0, ["b5"]);
    assert!(!feed.wait().await);
}

#[tokio::test]
async fn what_is_there_at_the_start_counts_as_received() {
    let dir = tempfile::tempdir().unwrap();
    {
        let journal = open(dir.path()).await;
        put(&journal, "a", 0..10);
        put(&journal, "b", 0..5);
        journal.close(Duration::from_secs(60)).unwrap();
    }
    let journal = open(dir.path()).await;
    for (from, sources, count) in [(1, "a", 10), (8, "a", 3), (1, "b", 5), (99, "b", 0)] {
        let tally = Arc::new(Tally::default());
        let mut feed = journal.feed(from, &[sources.to_owned()], &tally);
        while feed.count().unwrap().is_some() {}
        assert_eq!(tally.counts().received, count, "{sources} from {from}");
        assert_eq!(all(&journal, &mut feed).await.0.len() as u64, count);
    }
}

/// Chunks of two sources in turn, so many records of each; each frame of so many bytes.
async fn put_both(journal: &Journal, records: u32, bytes: usize) {
    for _ in 0..records / 5 {
        for (source, frames) in [("a", 3), ("b", 2)] {
            let texts = vec!["x".repeat(bytes); frames];
            journal.put(&chunk(source, &texts)).await.unwrap();
        }
    }
    journal.settled().await;
}

const TAKERS: [&[&str]; 4] = [&["a"], &["b"], &["a", "b"], &["trommel"]];

fn takers(journal: &Journal) -> Vec<(Arc<Tally>, Feed)> {
    let taker = |sources: &[&str]| {
        let tally = Arc::new(Tally::default());
        let sources: Vec<_> = sources.iter().map(|&source| source.to_owned()).collect();
        let feed = journal.feed(1, &sources, &tally);
        (tally, feed)
    };
    TAKERS.map(taker).into()
}

#[tokio::test]
async fn while_it_is_full_nothing_more_waits_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { max_size: 1, ..JournalConfig::default() };
    let journal = Journal::open(dir.path(), &config, 0).unwrap();
    let one = chunk("a", &["x".repeat(256 << 10)]);
    while !journal.log.is_stuck() {
        let _ = journal.try_put(&one);
        tokio::task::yield_now().await;
    }
    let next = journal.next_seq();
    assert_eq!(journal.try_put(&one), Err(Refused::NoRoom));
    // Tried once, and then waited.
    assert!(tokio::time::timeout(Duration::ZERO, journal.put(&one)).await.is_err());
    assert_eq!(journal.next_seq(), next);
    let (segments, durable) = (journal.segments(), *journal.watch().borrow());
    // The one that is written, and the one before.
    assert_eq!(segments.len(), 2);
    journal.log.release(segments[0].last_seq + 1);
    journal.put(&one).await.unwrap();
    journal.settled().await;
    assert!(*journal.watch().borrow() > durable);
}

#[tokio::test]
async fn what_is_given_up_counts_as_received_once_by_each_that_it_is_lost_to() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).await;
    // Some of it before anybody takes it.
    put_both(&journal, 30, 64 << 10).await;
    let mut takers = takers(&journal);
    takers.iter_mut().for_each(|(_, feed)| while feed.count().unwrap().is_some() {});
    put_both(&journal, 20, 64 << 10).await;
    let ended = &mut takers[1].1;
    let (end, interests) = (ended.end(), Arc::clone(ended.interests()));
    journal.cut(|at| {
        interests.change(at, &[]);
        end.send_replace(Some(at));
    });
    put_both(&journal, 40, 64 << 10).await;
    let first = journal.segments()[0].last_seq;
    assert!((51..90).contains(&first), "{first}");
    journal.log.release(first + 1);
    for (sources, (tally, feed)) in TAKERS.iter().zip(&mut takers) {
        let taken = feed.taken();
        let (texts, lost) = all(&journal, feed).await;
        let end = if *sources == ["b"] { 51 } else { first + 1 };
        assert_eq!((lost, feed.cursor() > end), (end - 1, *sources != ["b"]), "{sources:?}");
        let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(tally.counts().received, taken, "{sources:?}: {} and {lost}", texts.len());
    }
}

#[tokio::test]
async fn damage_beneath_a_journal_counts_as_received_once_by_each_that_it_is_lost_to() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path()).await;
        put_both(&journal, 500, 40).await;
        let mut takers = takers(&journal);
        put_both(&journal, 5_000, 40).await;
        takers.iter_mut().for_each(|(_, feed)| while feed.count().unwrap().is_some() {});
        let mut files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let path = files.find(|path| path.extension().is_some_and(|ending| ending == "seg"));
        let file = std::fs::File::options().write(true).open(path.unwrap()).unwrap();
        for _ in 0..rng.random_range(1..8) {
            let bytes = vec![0xa5; rng.random_range(1..9_000)];
            let at = rng.random_range(4_096..400_000);
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, at).unwrap();
        }
        for (sources, (tally, feed)) in TAKERS.iter().zip(&mut takers) {
            let taken = feed.taken();
            let (texts, lost) = all(&journal, feed).await;
            assert!(lost > 0);
            let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
            assert_eq!(tally.counts().received, taken, "{sources:?}: {} and {lost}", texts.len());
        }
    }
}

/// What it costs counts as received, and is told.
#[tokio::test]
async fn one_flipped_bit_costs_one_record_at_most() {
    let (times, mut rng) = places_to_flip();
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).await;
    for at in 0..60 {
        put(&journal, "a", at * 5..at * 5 + 5);
        journal.settled().await;
    }
    journal.close(Duration::from_secs(60)).unwrap();
    drop(journal);
    let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let segments: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "seg")).collect();
    let [path] = &segments[..] else { panic!("one segment") };
    let mut bytes = std::fs::read(path).unwrap();
    let used = bytes[..bytes.len() - 4096].iter().rposition(|byte| *byte != 0).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join(path.file_name().unwrap());
    for _ in 0..times {
        let (at, bit) = (rng.random_range(0..=used), 1 << rng.random_range(0..8));
        bytes[at] ^= bit;
        std::fs::write(&file, &bytes).unwrap();
        bytes[at] ^= bit;
        // What pipelines had committed says how much had been durable.
        let journal = Journal::open(copy.path(), &JournalConfig::default(), 300).unwrap();
        let tally = Arc::new(Tally::default());
        let mut feed = journal.feed(1, &["a".to_owned()], &tally);
        while feed.count().unwrap().is_some() {}
        let (texts, lost) = all(&journal, &mut feed).await;
        assert_eq!(tally.counts().received, 300, "byte {at}");
        assert_eq!(texts.len() as u64 + lost, 300, "byte {at}");
        assert!(lost <= 1, "byte {at}: {lost} lost");
        let mut expected = (0..300).map(|n| format!("a{n}"));
        assert!(texts.iter().all(|text| expected.any(|other| other == *text)), "byte {at}");
    }
}
