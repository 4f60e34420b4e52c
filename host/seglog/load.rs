//! Reads what is in a directory: which segments there are, which are missing, where the last one
//! ends. Changes nothing. Key type: [`Loaded`].

use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::format::{BLOCK, MarkKind, RECORD_HEADER, VERSION};
use super::read_only::scan_while_written;
use super::scan::{From, Scan, scan};
use super::segment::{Opened, Segment, file_name, number_of, open_segment};
use super::types::{Damage, Found, OpenError, TornTail};
use super::walk::{Step, Walker};

/// What is in a directory.
pub(super) struct Loaded {
    /// In order; each holds what comes before the first record of the next.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Of the last one.
    pub(super) tail: Option<Scan>,
    pub(super) found: Found,
    /// The record that comes next.
    pub(super) next_seq: u64,
    /// The number that the next segment gets at least.
    pub(super) next_number: u64,
    /// Numbers of files in which nothing counts, because a later one begins where they do.
    pub(super) dead: Vec<u64>,
    /// Numbers of files that cannot be read at all.
    pub(super) bad: Vec<u64>,
    /// Copies of headers that are damaged, for those who want to know all.
    pub(super) flaws: Vec<Damage>,
}

/// Reads the directory. `certified`: through which record everything is known to have been durable.
///
/// # Errors
/// The disk cannot be read; a segment has a format that is not known.
pub(super) fn load(disk: &Arc<dyn Disk>, certified: u64) -> Result<Loaded, OpenError> {
    let mut numbers = list(&**disk)?;
    numbers.sort_unstable();
    let mut loaded = Loaded {
        segments: Vec::new(),
        tail: None,
        found: Found::default(),
        next_seq: certified + 1,
        next_number: numbers.last().map_or(1, |last| last + 1),
        dead: Vec::new(),
        bad: Vec::new(),
        flaws: Vec::new(),
    };
    let mut bad_bytes = 0;
    for number in numbers {
        match open_one(disk, number)? {
            Opened::Segment(segment, wrong) => {
                loaded.flaws.extend(wrong.into_iter().map(|what| flaw(number, what)));
                loaded.push(segment);
                bad_bytes = 0;
            }
            Opened::Version(version) => {
                let path = disk.path().join(file_name(number));
                return Err(OpenError::Version { path, version, known: VERSION });
            }
            Opened::Bad(bytes) => {
                loaded.bad.push(number);
                bad_bytes += bytes;
            }
        }
    }
    let last = loaded.segments.last().map_or(0, |segment| segment.header.number);
    loaded.find_missing(&**disk)?;
    loaded.find_tail(&**disk, certified)?;
    if bad_bytes > 0 {
        loaded.leave_room(last + 1, bad_bytes);
    }
    Ok(loaded)
}

impl Loaded {
    /// Adds a segment that comes after all others: it wins where they overlap.
    fn push(&mut self, segment: Segment) {
        let first_seq = segment.header.first_seq;
        while let Some(before) = self.segments.pop_if(|s| s.header.first_seq >= first_seq) {
            self.dead.push(before.header.number);
        }
        self.segments.push(Arc::new(segment));
    }

    /// Where numbers are missing, or cannot be read, looks at what came before: records may be
    /// missing with them.
    fn find_missing(&mut self, disk: &dyn Disk) -> Result<(), OpenError> {
        for pair in self.segments.windows(2) {
            let [before, next] = pair else { continue };
            let missing = before.header.number + 1;
            let limit = next.header.first_seq;
            first_time(before, limit).map_err(cannot_read(disk, before))?;
            if missing == next.header.number {
                continue;
            }
            let first = before.header.first_seq;
            let from = From { at: BLOCK, seq: first, certified: 0, limit: Some(limit) };
            let scan = scan(before, from).map_err(cannot_read(disk, before))?;
            // What is damaged in the one before shows when it is read.
            let seqs = scan.kept.seqs.map_or(first, |seqs| seqs.1 + 1)..limit;
            if !seqs.is_empty() {
                self.found.damage.push(self.lack(missing, seqs));
            }
        }
        Ok(())
    }

    fn find_tail(&mut self, disk: &dyn Disk, certified: u64) -> Result<(), OpenError> {
        let Some(last) = self.segments.last().cloned() else {
            if certified > 0 && self.bad.is_empty() {
                let mut damage = flaw(1, "all segments are missing".to_owned());
                damage.seqs = 1..certified + 1;
                self.found.damage.push(damage);
            }
            return Ok(());
        };
        let first = last.header.first_seq;
        let certified = certified.max(first - 1);
        let from = From { at: BLOCK, seq: first, certified, limit: None };
        let mut scan = scan_while_written(&last, from).map_err(cannot_read(disk, &last))?;
        let kept = &scan.kept;
        if let (Some((first_time, last_time)), Some((_, last_seq))) = (kept.times, kept.seqs) {
            last.note(last_seq, first_time, last_time);
        }
        last.set_end(kept.end);
        self.next_seq = kept.next_seq;
        self.found.damage.append(&mut scan.damage);
        self.found.torn_tail = scan.torn_to.map(|to| TornTail {
            file: last.name(),
            offset: kept.end,
            bytes: to - kept.end,
        });
        let close_at = kept.end - super::format::MARK as u64;
        self.found.is_clean =
            self.found.torn_tail.is_none() && kept.last_mark == Some((close_at, MarkKind::Close));
        self.tail = Some(scan);
        Ok(())
    }

    /// Nothing says which records were in the last files: goes on behind as many as fit in them, so
    /// that no sequence number is given twice.
    fn leave_room(&mut self, number: u64, bytes: u64) {
        let from = self.next_seq;
        self.next_seq += bytes / RECORD_HEADER as u64;
        self.found.damage.push(self.lack(number, from..self.next_seq));
        self.found.is_clean = false;
    }

    fn lack(&self, number: u64, seqs: std::ops::Range<u64>) -> Damage {
        let what = if self.bad.contains(&number) {
            "no copy of its header is readable"
        } else {
            "missing"
        };
        Damage { seqs, ..flaw(number, what.to_owned()) }
    }
}

/// Numbers of the segments in the directory.
pub(super) fn list(disk: &dyn Disk) -> Result<Vec<u64>, OpenError> {
    let names = disk.list().map_err(|error| OpenError::Io {
        what: "cannot read",
        path: disk.path().to_owned(),
        error,
    })?;
    Ok(names.iter().filter_map(|name| number_of(name)).collect())
}

/// Opens one segment; one that has gone meanwhile is like one that cannot be read.
pub(super) fn open_one(disk: &Arc<dyn Disk>, number: u64) -> Result<Opened, OpenError> {
    match open_segment(disk, number) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Opened::Bad(0)),
        Err(error) => {
            let path = disk.path().join(file_name(number));
            Err(OpenError::Io { what: "cannot open", path, error })
        }
        Ok(opened) => Ok(opened),
    }
}

fn flaw(number: u64, what: String) -> Damage {
    Damage { file: file_name(number), offset: 0, seqs: 0..0, what }
}

pub(super) fn cannot_read(
    disk: &dyn Disk,
    segment: &Segment,
) -> impl FnOnce(io::Error) -> OpenError {
    let path = disk.path().join(segment.name());
    |error| OpenError::Io { what: "cannot read", path, error }
}

/// Notes the time of the first record, for a segment that is not scanned.
fn first_time(segment: &Segment, limit: u64) -> io::Result<()> {
    let mut walker = Walker::small(segment, BLOCK)?;
    loop {
        match walker.step(segment.data_end)? {
            Step::Good(super::format::Piece::Mark(_)) => {
                walker.pass((super::format::MARK - RECORD_HEADER) as u32);
            }
            Step::Good(super::format::Piece::Record(header)) if header.seq < limit => {
                segment.note(segment.header.first_seq - 1, header.time_micros, header.time_micros);
                return Ok(());
            }
            _ => return Ok(()),
        }
    }
}
