//! Lives of a log, each of which ends in a crash or goes through errors: what was durable is there
//! afterwards, in order, and what is there beyond it was appended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::disk::{Fault, FaultDisk};
use super::{never, options, payload, read_all};
use crate::seglog::{Disk, Entry, Log, OnDurable, Options, ReadOnly};

/// What the log must hold, by what was done with it.
#[derive(Default)]
struct Model {
    /// Payload of each record, by its number.
    records: BTreeMap<u64, Vec<u8>>,
    /// Everything through this was said to be durable.
    durable: u64,
    /// Everything below this may be gone.
    released: u64,
}

impl Model {
    /// Opens the log again and looks whether it holds what it must. `certified` is what a caller
    /// may know, no more than was durable.
    fn check(&mut self, disk: &Arc<FaultDisk>, certified: u64) -> Log {
        let on_durable: OnDurable = Box::new(|_| {});
        let log = Log::open_on(Arc::clone(disk) as Arc<dyn Disk>, options(), certified, on_durable);
        let log = log.unwrap();
        assert_eq!(log.found().damage, []);
        let durable = log.durable();
        assert!(durable >= self.durable, "{durable} of {} durable records", self.durable);
        let first = log.first_seq();
        assert!(first <= self.released.max(1), "{first} after a release of {}", self.released);
        let (records, lost) = read_all(&mut log.reader(first));
        assert_eq!(lost, []);
        let seqs: Vec<u64> = records.iter().map(|record| record.seq).collect();
        assert_eq!(seqs, (first..=durable).collect::<Vec<_>>());
        for record in records {
            assert_eq!(record.payload, self.records[&record.seq], "record {}", record.seq);
        }
        self.durable = durable;
        self.records.retain(|seq, _| *seq <= durable);
        log
    }
}

/// Appends, releases, waits, until all is done or the machine has stopped.
fn live(log: &Log, life: u64, seed: u64, count: u64, model: &mut Model, is_over: &AtomicBool) {
    let give_up = || is_over.load(Ordering::Relaxed);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut left = count;
    while left > 0 && !give_up() {
        let first = log.next_seq();
        let n = rng.random_range(1..=left.min(8));
        left -= n;
        let payloads: Vec<_> = (first..first + n).map(|seq| payload(life, seq)).collect();
        let entries: Vec<_> =
            payloads.iter().map(|body| Entry { body, ..Entry::default() }).collect();
        // Known before it is appended: a crash within may leave it there.
        model.records.extend((first..).zip(payloads.iter().cloned()));
        let is_durable = rng.random_ratio(1, 3);
        let done = if is_durable {
            log.append_durable(&entries, &give_up)
        } else {
            log.append(&entries, &give_up)
        };
        if done == Ok(first..first + n) && is_durable {
            model.durable = first + n - 1;
        }
        if rng.random_ratio(1, 20) {
            let before = rng.random_range(1..=model.durable.max(1));
            log.release(before);
            model.released = model.released.max(before);
        }
        if rng.random_ratio(1, 30) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if let Ok(durable) = log.flush(&give_up) {
        model.durable = durable;
    }
}

/// A life that ends when the machine stops, or in order.
fn live_and_die(log: &Log, disk: &FaultDisk, life: u64, seed: u64, model: &mut Model) {
    let (is_over, has_ended) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            live(log, life, seed, 60, model, &is_over);
            let closed = log.close(Duration::from_secs(10));
            assert!(closed.is_ok() || disk.is_dead(), "{closed:?}");
            has_ended.store(true, Ordering::Relaxed);
        });
        if disk.wait_for_death(|| has_ended.load(Ordering::Relaxed)) {
            is_over.store(true, Ordering::Relaxed);
            // Whoever waits is told.
            drop(log.close(Duration::ZERO));
        }
    });
    model.durable = model.durable.max(log.durable());
}

/// Two lives, the second cut off at this operation, and a third that looks at what there is. Gives
/// the operations that the second took.
fn crash_at(operation: u64, seed: u64, sector: usize, is_kill: bool) -> u64 {
    let mut model = Model::default();
    let disk = FaultDisk::new(seed, sector);
    let log = model.check(&disk, 0);
    live_and_die(&log, &disk, 1, seed, &mut model);
    drop(log);

    let log = model.check(&disk, 0);
    let begun = disk.operations();
    disk.plan(operation..u64::MAX, Fault::Crash);
    live_and_die(&log, &disk, 2, seed + 1, &mut model);
    drop(log);
    let took = disk.operations() - begun;

    // The machine may stop again while the log is mended.
    let mut disk = if is_kill { disk.after_kill() } else { disk.after_power_loss() };
    let mut rng = StdRng::seed_from_u64(seed ^ operation);
    let certified = rng.random_range(0..=model.durable);
    disk.plan(rng.random_range(0..4)..u64::MAX, Fault::Crash);
    let again =
        Log::open_on(Arc::clone(&disk) as Arc<dyn Disk>, options(), certified, Box::new(|_| {}));
    if let Ok(log) = again {
        assert!(log.close(Duration::ZERO).is_ok());
    }
    disk = disk.after_power_loss();
    let only = ReadOnly::open_on(Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    assert!(only.last_seq() >= model.durable);
    let log = model.check(&disk, certified);
    live_and_die(&log, &disk, 3, seed + 2, &mut model);
    drop(log);
    model.check(&disk, model.durable);
    took
}

fn crash_everywhere(seeds: std::ops::Range<u64>, sector: usize, is_kill: bool) {
    for seed in seeds {
        let mut operation = 0;
        loop {
            println!("seed {seed} sector {sector} kill {is_kill} crash at operation {operation}");
            if crash_at(operation, seed, sector, is_kill) < operation {
                break;
            }
            operation += 1;
        }
    }
}

#[test]
fn power_lost_at_any_operation_loses_nothing_that_was_durable() {
    crash_everywhere(100..104, 4096, false);
}

#[test]
fn power_lost_at_any_operation_on_a_disk_of_small_sectors_loses_nothing_that_was_durable() {
    crash_everywhere(200..204, 512, false);
}

#[test]
fn killed_at_any_operation_nothing_that_was_durable_is_lost() {
    crash_everywhere(300..302, 4096, true);
}

/// Errors from this operation on, for a while; it goes on by itself, and then loses power.
fn fail_at(operation: u64, fault: Fault, seed: u64) -> u64 {
    let mut model = Model::default();
    let disk = FaultDisk::new(seed, 512);
    let log = model.check(&disk, 0);
    let mut rng = StdRng::seed_from_u64(seed ^ operation);
    disk.plan(operation..operation + rng.random_range(1..=6), fault);
    live_and_die(&log, &disk, 1, seed, &mut model);
    assert_eq!(log.trouble(), None);
    assert_eq!(model.durable, model.records.len() as u64);
    drop(log);
    let took = disk.operations();
    let disk = disk.after_power_loss();
    model.check(&disk, 0);
    took
}

fn fail_everywhere(fault: Fault, seed: u64) {
    let mut operation = 0;
    loop {
        println!("seed {seed} {fault:?} at operation {operation}");
        if fail_at(operation, fault, seed) < operation {
            break;
        }
        operation += 1;
    }
}

#[test]
fn errors_at_any_operation_lose_nothing_and_it_goes_on() {
    fail_everywhere(Fault::Error, 10);
}

#[test]
fn a_full_disk_at_any_operation_loses_nothing_and_it_goes_on() {
    fail_everywhere(Fault::Full, 11);
}

#[test]
fn short_writes_at_any_operation_lose_nothing() {
    fail_everywhere(Fault::Short, 12);
}

#[test]
fn in_trouble_it_says_what_and_where_blocks_when_full_and_goes_on_by_itself() {
    let disk = FaultDisk::new(20, 4096);
    let log = super::open(&disk);
    log.append_durable(&[Entry { body: b"first", ..Entry::default() }], &never).unwrap();
    disk.plan(0..u64::MAX, Fault::Error);
    let body = [7; 1000];
    let entry = Entry { body: &body, ..Entry::default() };
    let asked = AtomicU64::new(0);
    let mut appended = 1;
    let stopped = loop {
        let give_up = || asked.fetch_add(1, Ordering::Relaxed) > 0;
        match log.append(&[entry], &give_up) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(stopped, crate::seglog::AppendError::Stopped);
    assert!((4..=8).contains(&appended), "{appended} in a buffer of 8 KiB");
    let trouble = log.trouble().unwrap();
    assert!(trouble.contains("cannot ") && trouble.contains("/disk/0000"), "{trouble}");
    assert!(trouble.contains("Input/output error"), "{trouble}");
    assert!(log.disk_trouble().unwrap().contains("Input/output error"));
    assert_eq!(log.durable(), 1);
    let stopped = log.append_durable(&[], &never);
    assert_eq!(stopped, Ok(appended + 1..appended + 1));
    disk.clear_plan();
    assert_eq!(log.flush(&never), Ok(appended));
    assert_eq!(log.trouble(), None);
    let (records, lost) = read_all(&mut log.reader(1));
    assert_eq!((records.len() as u64, lost), (appended, vec![]));
}

/// Large segments and groups, and no mark when idle.
fn in_one_group(disk: &Arc<FaultDisk>) -> Log {
    let options = Options {
        first_segment_bytes: 64 << 10,
        max_group_bytes: 64 << 10,
        max_buffered_bytes: 64 << 10,
        idle: Duration::from_secs(3600),
        ..options()
    };
    Log::open_on(Arc::clone(disk) as Arc<dyn Disk>, options, 0, Box::new(|_| {})).unwrap()
}

#[test]
fn what_was_cut_never_seems_to_follow_what_came_in_its_place() {
    let disk = FaultDisk::new(50, 4096);
    let log = in_one_group(&disk);
    let put = |log: &Log, bytes: usize, times: usize, with: u8| {
        let body = vec![with; bytes];
        let entry = Entry { body: &body, ..Entry::default() };
        log.append_durable(&vec![entry; times], &never).unwrap();
    };
    // The fourth record begins with a block, behind the reach of what is written with the others.
    put(&log, 4096 - 32, 1, 1);
    put(&log, 4000, 3, 2);
    let disk = disk.after_kill();
    let name = "00000000000000000001.seg";
    let second = 4096 + 64 + 4096 + 64;
    assert_eq!(disk.contents(name)[second + 2 * 4032 + 16], 4);
    disk.edit(name, |bytes| bytes[second + 1000] ^= 1);

    let log = in_one_group(&disk);
    assert_eq!(log.next_seq(), 2, "the others were not certified");
    let torn = log.found().torn_tail.clone().unwrap();
    assert_eq!((torn.offset, torn.bytes), (second as u64, 3 * 4032));
    // Ends where the fourth began.
    put(&log, 4000 - 32, 2, 3);
    let log = in_one_group(&disk.after_kill());
    assert_eq!((log.next_seq(), log.found().torn_tail.clone()), (4, None));
}

#[test]
fn a_flipped_bit_in_the_last_record_is_told_wherever_it_is() {
    let disk = FaultDisk::new(51, 4096);
    let log = in_one_group(&disk);
    let entry = Entry { body: &[7; 40], ..Entry::default() };
    log.append_durable(&[entry], &never).unwrap();
    log.append_durable(&[entry, entry], &never).unwrap();
    // Nothing certifies what came last. Behind the header's block are two groups, each with its mark.
    let (name, last) = ("00000000000000000001.seg", 4096 + 2 * 64 + 2 * 72);
    let disk = disk.after_kill();
    assert_eq!(disk.contents(name)[last + 16], 3);
    for bit in 0..72 * 8 {
        let disk = disk.after_kill();
        disk.edit(name, |bytes| bytes[last + bit / 8] ^= 1 << (bit % 8));
        let log = in_one_group(&disk);
        assert_eq!(log.next_seq(), 3, "bit {bit}");
        let torn = log.found().torn_tail.clone();
        assert_eq!(torn.map(|torn| torn.offset), Some(last as u64), "bit {bit}");
    }
}

#[test]
fn what_was_read_from_memory_after_a_failed_sync_is_durable_before_it_counts() {
    for seed in 60..80 {
        println!("seed {seed}");
        let disk = FaultDisk::new(seed, 512);
        let log = in_one_group(&disk);
        let body = [5; 3000];
        let entry = Entry { body: &body, ..Entry::default() };
        log.append_durable(&[entry], &never).unwrap();
        while log.trouble().is_none() {
            // The write goes well, and nothing after it, if the thread that makes segments is done.
            disk.clear_plan();
            disk.plan(1..u64::MAX, Fault::Error);
            drop(log.append(&[entry], &|| true));
            std::thread::yield_now();
        }
        drop(log.close(Duration::ZERO));
        let disk = disk.after_kill();
        let log = in_one_group(&disk);
        let counts = log.durable();
        let log = in_one_group(&disk.after_power_loss());
        assert!(log.durable() >= counts, "{} of {counts}", log.durable());
    }
}
