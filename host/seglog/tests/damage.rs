//! Logs that are not as they were written: what is lost is what was hit, and it is named.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::disk::FaultDisk;
use super::{never, open, options, payload, quietly, read_all};
use crate::seglog::{
    Disk, Entry, Log, OpenError, ReadOnly, Record, Report, SegmentInfo, verify_on,
};

/// A log of several segments that was closed in order, some of them in files used before.
struct Written {
    disk: Arc<FaultDisk>,
    records: Vec<Record>,
    segments: Vec<SegmentInfo>,
}

fn append(log: &Log, count: u64) {
    for _ in 0..count {
        let seq = log.next_seq();
        let body = payload(1, seq);
        log.append(&[Entry { body: &body, ..Entry::default() }], &never).unwrap();
    }
    log.flush(&never).unwrap();
}

fn written(seed: u64) -> Written {
    let disk = FaultDisk::new(seed, 4096);
    let log = open(&disk);
    for _ in 0..10 {
        append(&log, 30);
        log.release(log.durable().saturating_sub(50));
    }
    // How many records a segment takes depends on how they are grouped. The last one is to have some, too.
    let is_enough = |segments: &[SegmentInfo]| {
        let last = segments.last().map_or(0, |last| last.last_seq + 1 - last.first_seq);
        segments.len() >= 5 && last >= 10
    };
    while !is_enough(&log.segments()) {
        append(&log, 10);
    }
    log.close(Duration::from_secs(10)).unwrap();
    let (records, lost) = read_all(&mut log.reader(log.first_seq()));
    assert_eq!(lost, []);
    Written { disk, records, segments: log.segments() }
}

impl Written {
    fn name(&self, index: usize) -> String {
        format!("{:020}.seg", self.segments[index].number)
    }

    fn seqs(&self) -> Range<u64> {
        self.records[0].seq..self.records[self.records.len() - 1].seq + 1
    }

    /// Opens it, and looks that all is there but what is named as lost.
    fn check(&self) -> (Log, Vec<Range<u64>>, Report) {
        self.check_with(0)
    }

    fn check_with(&self, certified: u64) -> (Log, Vec<Range<u64>>, Report) {
        let report = verify_on(Arc::clone(&self.disk) as Arc<dyn Disk>).unwrap();
        let only = ReadOnly::open_on(Arc::clone(&self.disk) as Arc<dyn Disk>).unwrap();
        let from = self.records[0].seq;
        let (seen, unseen) = read_all(&mut only.reader(from));
        let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        let log = Log::open_on(disk, options(), certified, quietly()).unwrap();
        let (records, lost) = read_all(&mut log.reader(from));
        let next = log.next_seq();
        if certified == 0 {
            assert_eq!((&seen, &unseen), (&records, &lost));
        }
        let is_lost = |seq: u64| lost.iter().any(|lost| lost.contains(&seq));
        let left = self.records.iter().filter(|r| r.seq < next && !is_lost(r.seq));
        let left: Vec<_> = left.cloned().collect();
        assert!(records == left, "not what is left");
        assert_eq!(report.records, records.len() as u64);
        (log, lost, report)
    }
}

#[test]
fn a_flipped_bit_costs_the_record_it_hits_and_no_other() {
    let seed = 30;
    println!("seed {seed}");
    let written = written(seed);
    assert!(written.segments.len() >= 4, "{:?}", written.segments);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut lost_at_all = 0;
    for _ in 0..1_200 {
        let name = written.name(rng.random_range(0..written.segments.len()));
        let before = written.disk.contents(&name);
        let bit = rng.random_range(0..before.len() * 8);
        println!("bit {bit} of {name}");
        let segments = || written.disk.names().iter().filter(|n| n.ends_with(".seg")).count();
        let count = segments();
        written.disk.edit(&name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let (log, lost, report) = written.check();
        let hit = lost.iter().map(|lost| lost.end - lost.start).sum::<u64>();
        assert!(hit <= 1 && lost.len() <= 1, "{lost:?}");
        lost_at_all += hit;
        // Only what was not padding, unused or of no consequence is told of.
        let named: Vec<_> = report.damage.iter().filter(|d| !d.seqs.is_empty()).collect();
        assert_eq!(named.iter().map(|d| d.seqs.clone()).collect::<Vec<_>>(), lost);
        assert!(named.iter().all(|d| d.file == name && d.offset <= bit as u64 / 8), "{named:?}");
        assert_eq!(report.torn_tail, None);
        assert_eq!(log.durable() + 1, written.seqs().end);
        drop(log);
        assert_eq!(segments(), count);
        written.disk.edit(&name, |bytes| *bytes = before);
    }
    // Most of it is payload.
    assert!(lost_at_all > 400, "{lost_at_all}");
}

#[test]
fn a_missing_segment_costs_its_records_and_is_named() {
    let written = written(31);
    let (name, segment) = (written.name(1), &written.segments[1]);
    written.disk.remove(&name).unwrap();
    let (log, lost, report) = written.check();
    assert_eq!(lost, [segment.first_seq..segment.last_seq + 1]);
    assert_eq!(report.damage.len(), 1);
    let damage = &log.found().damage;
    assert_eq!((&damage[0].file, &damage[0].seqs, &*damage[0].what), (&name, &lost[0], "missing"));
    append(&log, 1);
}

#[test]
fn without_both_copies_of_its_header_a_segment_is_read_by_its_first_mark() {
    let written = written(32);
    let name = written.name(1);
    let spoil = |from: usize, to: usize| {
        written.disk.edit(&name, |bytes| bytes[from..to].fill(0x55));
    };
    let size = written.segments[1].bytes as usize;
    spoil(0, 4096);
    spoil(size - 4096, size);
    let (log, lost, report) = written.check();
    assert_eq!(lost, []);
    assert_eq!(report.damage.len(), 2);
    drop(log);
    // Without that one, too, it is as if it were missing; the file is kept for people to look at.
    spoil(4096, 4096 + 64);
    let (log, lost, _) = written.check();
    assert_eq!(lost, [written.segments[1].first_seq..written.segments[1].last_seq + 1]);
    assert_eq!(log.found().damage[0].what, "no copy of its header is readable");
    assert!(written.disk.names().contains(&format!("{name}.bad")));
}

#[test]
fn what_the_disk_cannot_read_costs_the_records_there() {
    let written = written(38);
    for index in [1, written.segments.len() - 1] {
        let name = written.name(index);
        written.disk.make_unreadable(&name, 4608..5120);
        let (_, lost, report) = written.check();
        assert_eq!(lost.len(), 1);
        let offset = report.damage.iter().find(|d| d.seqs == lost[0]).map(|d| d.offset);
        assert!((4096..5120).contains(&offset.unwrap()), "{report:?}");
        written.disk.make_unreadable(&name, 0..0);
    }
    // A disk that reads nothing at all is another matter: nothing is taken for lost.
    let log = open(&written.disk);
    let mut reader = log.reader(written.seqs().start);
    let name = written.name(0);
    written.disk.make_unreadable(&name, 0..1 << 20);
    assert!(reader.read(10, 10_000).is_err());
    written.disk.make_unreadable(&name, 0..0);
    assert_eq!(read_all(&mut reader), (written.records, vec![]));
}

#[test]
fn where_the_last_segment_cannot_be_read_no_number_is_given_twice() {
    let written = written(33);
    let last = written.segments.len() - 1;
    let name = written.name(last);
    written.disk.edit(&name, |bytes| bytes.fill(0xaa));
    let disk = Arc::clone(&written.disk) as Arc<dyn Disk>;
    let log = Log::open_on(disk, options(), 0, quietly()).unwrap();
    let first = written.segments[last].first_seq;
    assert!(log.next_seq() >= written.seqs().end, "{}", log.next_seq());
    assert_eq!(log.found().damage.len(), 1);
    assert_eq!(log.found().damage[0].seqs, first..log.next_seq());
    append(&log, 5);
    let (records, lost) = read_all(&mut log.reader(first - 1));
    assert_eq!((records.len(), lost), (6, vec![first..log.next_seq() - 5]));
}

#[test]
fn records_that_the_caller_knows_were_durable_are_damage_when_they_are_gone() {
    let written = written(34);
    let last = written.segments.len() - 1;
    let segment = written.segments[last].clone();
    // All of the last segment is zeros but its header.
    written.disk.edit(&written.name(last), |bytes| {
        let len = bytes.len();
        bytes[4096..len - 4096].fill(0);
    });
    let certified = segment.last_seq - 2;
    let (log, lost, _) = written.check_with(certified);
    assert_eq!(lost, [segment.first_seq..certified + 1]);
    assert_eq!(log.found().damage[0].seqs, lost[0]);
    assert_eq!(log.next_seq(), certified + 1);
    append(&log, 3);
    drop(log);
    // The loss is found again at each start, and what came after it stays.
    let log = open(&written.disk);
    let (records, lost) = read_all(&mut log.reader(segment.first_seq));
    assert_eq!((records.len(), lost), (3, vec![segment.first_seq..certified + 1]));
}

#[test]
fn without_any_segment_it_goes_on_behind_what_the_caller_knows() {
    let disk = FaultDisk::new(35, 4096);
    let log = Log::open_on(disk as Arc<dyn Disk>, options(), 41, quietly()).unwrap();
    assert_eq!(log.found().damage[0].what, "all segments are missing");
    append(&log, 1);
    let (records, lost) = read_all(&mut log.reader(30));
    assert_eq!((records[0].seq, lost), (42, vec![30..42]));
}

#[test]
fn payloads_that_look_like_records_are_never_taken_for_some() {
    let seed = 36;
    println!("seed {seed}");
    let disk = FaultDisk::new(seed, 4096);
    let log = open(&disk);
    append(&log, 20);
    // Whole segments that somebody has seen, and sends.
    let names: Vec<_> = disk.names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    let seen: Vec<u8> = names.iter().flat_map(|name| disk.contents(name)).take(9_000).collect();
    let mut sent = BTreeMap::new();
    for shift in 0..8 {
        let body = &seen[shift..];
        let seqs = log.append_durable(&[Entry { body, ..Entry::default() }], &never).unwrap();
        sent.insert(seqs.start, body);
    }
    log.close(Duration::from_secs(10)).unwrap();
    let (records, _) = read_all(&mut log.reader(1));
    let names: Vec<_> = disk.names().into_iter().filter(|name| name.ends_with(".seg")).collect();
    // Each header of a record that holds such bytes is hit: what is inside stays inside.
    let mut hit = 0;
    for name in names {
        let before = disk.contents(&name);
        for at in (4096..before.len() - 4096).step_by(8) {
            let len = u32::from_le_bytes(before[at + 8..at + 12].try_into().unwrap()) as usize;
            let seq = u64::from_le_bytes(before[at + 16..at + 24].try_into().unwrap());
            if before[at + 3] != 0xd1 || sent.get(&seq).is_none_or(|body| body.len() != len) {
                continue;
            }
            hit += 1;
            disk.edit(&name, |bytes| bytes[at + 5] ^= 4);
            let only = ReadOnly::open_on(Arc::clone(&disk) as Arc<dyn Disk>).unwrap();
            let (left, lost) = read_all(&mut only.reader(1));
            assert_eq!(lost, [Range { start: seq, end: seq + 1 }]);
            assert!(left.iter().eq(records.iter().filter(|r| r.seq != seq)));
            disk.edit(&name, |bytes| bytes[at + 5] ^= 4);
        }
    }
    assert_eq!(hit, 8);
}

#[test]
fn a_newer_format_is_refused_by_its_version() {
    let disk = FaultDisk::new(37, 4096);
    let log = open(&disk);
    append(&log, 5);
    drop(log);
    let name = "00000000000000000001.seg";
    disk.edit(name, |bytes| {
        let last = bytes.len() - 4096;
        for at in [0, last] {
            bytes[at + 8] = 2;
            let crc = crc32fast::hash(&bytes[at..at + 56]);
            bytes[at + 56..at + 60].copy_from_slice(&crc.to_le_bytes());
        }
    });
    let error = ReadOnly::open_on(Arc::clone(&disk) as Arc<dyn Disk>).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Version { version: 2, known: 1, .. }), "{error:?}");
    let error = Log::open_on(disk as Arc<dyn Disk>, options(), 0, quietly()).map(|_| ());
    assert_eq!(
        error.unwrap_err().to_string(),
        "/disk/00000000000000000001.seg has format version 2; this program knows versions up to 1\n\
         hint: a newer release wrote this directory; run that one, or name another directory"
    );
}
