//! Many at once, limits, and what is released.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::disk::FaultDisk;
use super::{never, open, options, quietly, read_all};
use crate::seglog::{AppendError, Disk, Entry, Log, OnDurable, Options, ReadOnly, Reader};

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Reads until the last record, and checks that each comes once and in order.
fn read_through(mut reader: Reader, last: u64) {
    let mut next = 1;
    while next <= last {
        let block = reader.read(100, 10_000).unwrap();
        assert_eq!(block.lost, []);
        for record in block.records {
            assert_eq!(record.seq, next);
            assert_eq!(
                record.payload[8..],
                record.payload[..8].repeat(record.payload.len() / 8 - 1)
            );
            next += 1;
        }
        std::thread::yield_now();
    }
    assert_eq!(reader.position(), last + 1);
}

#[test]
fn many_append_while_many_read_here_and_from_another_process() {
    const THREADS: u64 = 4;
    const EACH: u64 = 300;
    let disk = FaultDisk::new(40, 4096);
    let log = open(&disk);
    let only = ReadOnly::open_on(Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                let mut last = 0;
                for count in 0..EACH {
                    let word = (thread << 32 | count).to_le_bytes();
                    let body = word.repeat(1 + (count % 40) as usize);
                    let entry = Entry { tag: thread as u32, body: &body, ..Entry::default() };
                    let seqs = match count % 3 {
                        0 => log.append_durable(&[entry, entry], &never),
                        _ => log.append(&[entry, entry], &never),
                    };
                    let seqs = seqs.unwrap();
                    assert!(seqs.start > last && seqs.end == seqs.start + 2);
                    last = seqs.end - 1;
                }
                assert!(log.flush(&never).unwrap() >= last);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| read_through(log.reader(1), 2 * THREADS * EACH));
        }
        scope.spawn(|| read_through(only.reader(1), 2 * THREADS * EACH));
    });
    let (records, lost) = read_all(&mut log.reader(1));
    assert_eq!((records.len() as u64, lost), (2 * THREADS * EACH, vec![]));
    for thread in 0..THREADS {
        let of_one = records.iter().filter(|record| u64::from(record.tag) == thread);
        let words: Vec<_> = of_one.map(|record| record.payload.slice(..8)).collect();
        let sent = (0..EACH).flat_map(|count| [(thread << 32 | count).to_le_bytes(); 2]);
        assert!(words.iter().map(|word| &word[..]).eq(sent.collect::<Vec<_>>().iter()));
    }
}

#[test]
fn what_a_reader_has_still_to_read_stays_in_the_systems_memory() {
    let disk = FaultDisk::new(49, 4096);
    let log = open(&disk);
    let (mut slow, mut fast) = (log.reader(1), log.reader(1));
    let grow = |count: usize| {
        while log.segments().len() < count {
            log.append(&[Entry { body: &[1; 300], ..Entry::default() }], &never).unwrap();
        }
    };
    let begins = |index: usize| log.segments()[index].first_seq;
    let cooled = |count: usize| {
        let segments = log.segments();
        let names = segments[..count].iter().map(|segment| format!("{:020}.seg", segment.number));
        let names: Vec<String> = names.collect();
        until("segments to be cooled", || disk.cooled().len() >= count);
        assert_eq!(disk.cooled(), names);
    };
    grow(6);
    read_all(&mut fast);
    let third = begins(2);
    while slow.position() < third {
        slow.read(1, 1).unwrap();
    }
    assert_eq!(disk.cooled().len(), 0);
    grow(7);
    cooled(2);
    // One that is no more holds nothing; the newest two may be needed again.
    drop(slow);
    grow(8);
    read_all(&mut fast);
    grow(9);
    cooled(7);
}

#[test]
fn at_its_limit_it_blocks_and_says_so_until_something_is_released() {
    let disk = FaultDisk::new(41, 4096);
    let options = Options { max_bytes: 70 << 10, ..options() };
    let log = Log::open_on(disk as Arc<dyn Disk>, options, 0, quietly()).unwrap();
    let entry = Entry { body: &[1; 1000], ..Entry::default() };
    let is_full = || log.is_full();
    // Three segments, and a buffer.
    let mut appended = 0;
    while log.append(&[entry], &is_full).is_ok() {
        appended += 1;
    }
    assert!((37 + 4..=37 + 8).contains(&appended), "{appended}");
    assert_eq!(log.segments().len(), 3);
    assert!(log.bytes() <= 70 << 10);
    let trouble = log.trouble().unwrap();
    assert!(trouble.starts_with("/disk has reached its limit of 71680 bytes"), "{trouble}");
    assert_eq!(log.disk_trouble(), None);
    // Nothing of what is needed is let go.
    log.release(log.segments()[0].last_seq);
    assert_eq!(log.append(&[entry], &|| true), Err(AppendError::Stopped));
    assert!(!log.has_room(1_000));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| log.append(&[entry], &never));
        until("somebody waits", || log.buffered_bytes() > 7_000);
        log.release(log.segments()[2].first_seq);
        assert_eq!(waits.join().unwrap(), Ok(appended + 1..appended + 2));
    });
    log.flush(&never).unwrap();
    assert_eq!((log.trouble(), log.is_full()), (None, false));
    // What is larger than all the room there is has room while nothing waits.
    assert!(log.has_room(1 << 20));
    let first = log.first_seq();
    let (records, lost) = read_all(&mut log.reader(1));
    assert_eq!(lost, [Range { start: 1, end: first }]);
    assert_eq!(records.len() as u64, appended + 2 - first);
}

#[test]
fn released_files_are_used_again_or_removed_and_their_records_never_come_back() {
    let disk = FaultDisk::new(42, 512);
    let log = open(&disk);
    let mut slow = log.reader(1);
    assert_eq!(slow.read(1, 1).unwrap().records, []);
    for round in 0..40_u64 {
        let body = [round as u8; 900];
        let entries = [Entry { body: &body, tag: round as u32, ..Entry::default() }; 10];
        let seqs = log.append_durable(&entries, &never).unwrap();
        let block = slow.read(1, 1).unwrap();
        assert!(block.records.iter().all(|record| record.payload[0] == (record.tag as u8)));
        log.release(seqs.start.saturating_sub(20));
    }
    let segments = log.segments();
    let last = segments[segments.len() - 1].number;
    until("old files are gone", || disk.names().len() <= segments.len() + 2);
    assert!(last > 12, "{segments:?}");
    // Files were used again: there are traces of older rounds behind the last record.
    let (records, lost) = read_all(&mut slow);
    assert_eq!(slow.position(), 401);
    let mut next = lost[0].start.min(records[0].seq);
    for record in &records {
        if record.seq != next {
            assert!(lost.contains(&(next..record.seq)), "{next} to {} of {lost:?}", record.seq);
        }
        assert_eq!(u64::from(record.tag), (record.seq - 1) / 10);
        next = record.seq + 1;
    }
    assert_eq!(next, 401);
    log.close(Duration::from_secs(10)).unwrap();
    drop(log);
    let log = open(&disk.after_power_loss());
    assert_eq!((log.durable(), log.found().is_clean), (400, true));
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own_size() {
    let disk = FaultDisk::new(43, 4096);
    let log = open(&disk);
    let large = vec![9; 100_000];
    let entry = |body| Entry { body, ..Entry::default() };
    log.append(&[entry(b"a"), entry(&large), entry(b"b")], &never).unwrap();
    log.append_durable(&[entry(&large)], &never).unwrap();
    let mut reader = log.reader(1);
    let lens = |reader: &mut Reader| -> Vec<usize> {
        let (records, lost) = read_all(reader);
        assert_eq!(lost, []);
        records.iter().map(|record| record.payload.len()).collect()
    };
    assert_eq!(lens(&mut reader), [1, 100_000, 1, 100_000]);
    drop(log);
    let log = open(&disk);
    assert_eq!(lens(&mut log.reader(2)), [100_000, 1, 100_000]);
    reader.seek(3);
    assert_eq!(lens(&mut reader), [1, 100_000]);
}

#[test]
fn an_idle_log_notes_that_all_is_durable_so_that_what_goes_bad_is_damage() {
    let disk = FaultDisk::new(44, 4096);
    let told = Arc::new(AtomicU64::new(0));
    let tell = Arc::clone(&told);
    let log = Log::open_on(
        Arc::clone(&disk) as Arc<dyn Disk>,
        options(),
        0,
        Box::new(move |seq| tell.store(seq, Ordering::Relaxed)),
    )
    .unwrap();
    // Nobody waits for it: it is written all the same, soon.
    log.append(&[Entry { body: &[3; 64], ..Entry::default() }; 2], &never).unwrap();
    until("it is durable", || told.load(Ordering::Relaxed) == 2);
    let name = "00000000000000000001.seg";
    let end = 4096 + 64 + 2 * 96;
    until("the mark", || disk.contents(name)[end + 3] == 0xd2);
    let after = disk.after_kill();
    after.edit(name, |bytes| bytes[end - 1] = 0);
    let log = open(&after);
    assert_eq!(log.found().damage.len(), 1);
    assert_eq!(log.found().damage[0].seqs, Range { start: 2, end: 3 });
    assert_eq!((log.next_seq(), log.found().torn_tail.clone()), (3, None));
}

#[test]
fn closing_makes_all_durable_and_refuses_what_comes_after() {
    let disk = FaultDisk::new(45, 4096);
    let log = open(&disk);
    let mut reader = log.reader(1);
    let entries = [Entry { body: &[1; 500], ..Entry::default() }; 10];
    log.append(&entries, &never).unwrap();
    assert_eq!(log.close(Duration::from_secs(10)), Ok(()));
    assert_eq!(log.append(&entries, &never), Err(AppendError::Closed));
    assert_eq!(log.append_durable(&entries, &never), Err(AppendError::Closed));
    assert_eq!(log.flush(&never), Ok(10));
    assert_eq!(read_all(&mut reader).0.len(), 10);
    assert_eq!(log.close(Duration::ZERO), Ok(()));
}

#[test]
fn a_log_that_cannot_be_written_to_its_end_says_what_is_lost() {
    let disk = FaultDisk::new(46, 4096);
    let log = open(&disk);
    disk.plan(0..u64::MAX, super::disk::Fault::Full);
    log.append(&[Entry { body: b"x", ..Entry::default() }; 3], &never).unwrap();
    let error = log.close(Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.seqs, Range { start: 1, end: 4 });
    assert!(error.why.contains("No space left on device"), "{error}");
}

#[test]
fn on_a_real_disk_it_is_the_same_for_all_who_read() {
    let dir = tempfile::tempdir().unwrap();
    let body: Vec<u8> = (0..500_u32).map(|i| i as u8).collect();
    let entry = Entry { body: &body, ..Entry::default() };
    for _ in 0..2 {
        let log = Log::open(dir.path(), options(), 0, quietly()).unwrap();
        for _ in 0..50 {
            log.append(&[entry; 3], &never).unwrap();
        }
        log.append_durable(&[entry], &never).unwrap();
        let only = ReadOnly::open(dir.path()).unwrap();
        assert_eq!(read_all(&mut only.reader(1)), read_all(&mut log.reader(1)));
        assert_eq!((only.last_seq(), only.segments().len()), (log.durable(), log.segments().len()));
    }
    let report = crate::seglog::verify(dir.path()).unwrap();
    assert_eq!((report.records, report.bytes, report.seqs), (302, 151_000, Some((1, 302))));
    assert_eq!((report.damage, report.torn_tail), (vec![], None));
    assert!(Log::open(&dir.path().join("none"), options(), 0, quietly()).is_err());
}

#[test]
fn that_a_thread_has_died_is_not_forgotten() {
    let is_first = std::sync::atomic::AtomicBool::new(true);
    let on_durable: OnDurable = Box::new(move |seq| {
        assert!(seq == 0 || !is_first.swap(false, Ordering::Relaxed), "a fault");
    });
    let disk = FaultDisk::new(44, 512);
    let log = Log::open_on(disk as Arc<dyn Disk>, options(), 0, on_durable).unwrap();
    let entry = Entry { body: b"one", ..Entry::default() };
    log.append(&[entry], &never).unwrap();
    until("the thread has died", || log.died().is_some());
    let died = log.died().unwrap();
    assert!(died.contains("thread \"test\" of /disk has died"), "{died}");
    // Whoever waits for its own records writes them itself.
    drop(log.append_durable(&[entry], &|| true));
    assert_eq!((log.died(), log.trouble()), (Some(died.clone()), Some(died)));
}
