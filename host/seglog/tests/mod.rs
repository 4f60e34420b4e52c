//! The log on a disk that fails: what was durable stays, whatever happens.

#![allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

mod crash;
mod damage;
mod disk;
mod use_it;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Disk, Entry, Log, OnDurable, Options, Reader, Record};

/// How many places a bit is flipped at, and the seed that says which:
/// `FLIPS=1000 cargo test --release --lib one_flipped_bit`, the same ones again with `FLIPS_SEED`.
pub(crate) fn places_to_flip() -> (u64, StdRng) {
    let number = |variable| std::env::var(variable).ok().map(|text| text.parse().expect(variable));
    let seed = number("FLIPS_SEED").unwrap_or_else(rand::random);
    println!("FLIPS_SEED={seed}");
    (number("FLIPS").unwrap_or(60), StdRng::seed_from_u64(seed))
}

/// Segments of a few kilobytes, and no patience.
pub fn options() -> Options {
    Options {
        name: "test",
        first_segment_bytes: 16 << 10,
        segment_bytes: 24 << 10,
        max_group_bytes: 4 << 10,
        max_buffered_bytes: 8 << 10,
        max_wait: Duration::from_micros(200),
        idle: Duration::from_millis(2),
        retry_least: Duration::from_micros(100),
        retry_most: Duration::from_millis(2),
        ..Options::default()
    }
}

pub fn quietly() -> OnDurable {
    Box::new(|_| {})
}

/// Never gives up.
pub fn never() -> bool {
    false
}

pub fn open(disk: &Arc<disk::FaultDisk>) -> Log {
    Log::open_on(Arc::clone(disk) as Arc<dyn Disk>, options(), 0, quietly()).unwrap()
}

/// The payload of the record with this number in this life of the log.
pub fn payload(life: u64, seq: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(life << 32 | seq);
    let len = match rng.random_range(0..100) {
        0..5 => 0,
        5..90 => rng.random_range(1..300),
        90..99 => rng.random_range(300..2_000),
        _ => rng.random_range(2_000..40_000),
    };
    (0..len).map(|_| rng.random()).collect()
}

/// All there is from here on, and what is lost.
pub fn read_all(reader: &mut Reader) -> (Vec<Record>, Vec<std::ops::Range<u64>>) {
    let (mut records, mut lost) = (Vec::new(), Vec::new());
    loop {
        let block = reader.read(50, 5_000).unwrap();
        if block.is_empty() {
            return (records, lost);
        }
        records.extend(block.records);
        lost.extend(block.lost);
    }
}

#[test]
fn what_is_appended_is_read_in_order_also_later() {
    let disk = disk::FaultDisk::new(1, 512);
    let told = Arc::new(AtomicU64::new(0));
    let tell = Arc::clone(&told);
    let on_durable: OnDurable = Box::new(move |seq| tell.store(seq, Ordering::Relaxed));
    let log = Log::open_on(Arc::clone(&disk) as Arc<dyn Disk>, options(), 0, on_durable).unwrap();
    let mut sent = BTreeMap::new();
    let mut reader = log.reader(1);
    let mut records = Vec::new();
    while sent.len() < 500 {
        let seq = sent.len() as u64 + 1;
        let payload = payload(1, seq);
        let (head, body) = payload.split_at(payload.len() / 3);
        let entry = Entry { time_micros: seq * 10, tag: seq as u32 % 7, head, body };
        let seqs = if seq.is_multiple_of(5) {
            log.append_durable(&[entry], &never)
        } else {
            log.append(&[entry], &never)
        };
        assert_eq!(seqs, Ok(seq..seq + 1));
        sent.insert(seq, payload);
        let block = reader.read(1000, 100_000).unwrap();
        assert_eq!(block.lost, []);
        records.extend(block.records);
    }
    assert_eq!(log.flush(&never), Ok(500));
    assert_eq!((log.durable(), told.load(Ordering::Relaxed)), (500, 500));
    records.extend(read_all(&mut reader).0);
    let check = |records: &[Record]| {
        assert_eq!(records.len(), 500);
        for (record, (seq, payload)) in records.iter().zip(&sent) {
            assert_eq!((record.seq, &record.payload[..]), (*seq, &payload[..]));
            assert_eq!((record.time_micros, record.tag), (seq * 10, *seq as u32 % 7));
        }
    };
    check(&records);
    log.close(Duration::from_secs(60)).unwrap();
    assert!(log.append(&[Entry::default()], &never).is_err());
    drop(log);

    let log = open(&disk);
    assert_eq!(*log.found(), super::Found { is_clean: true, ..super::Found::default() });
    let (records, lost) = read_all(&mut log.reader(1));
    assert_eq!(lost, []);
    check(&records);
    let segments = log.segments();
    assert!(segments.len() > 3, "{segments:?}");
    for pair in segments.windows(2) {
        assert_eq!(pair[0].last_seq + 1, pair[1].first_seq);
    }
}
