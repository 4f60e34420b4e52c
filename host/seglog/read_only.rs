//! A log that is only read, also while another process writes it. Key types: [`ReadOnly`],
//! [`Follow`]; key function: [`verify`].

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Dir, Disk};
use super::format::BLOCK;
use super::load::{Loaded, cannot_read, list, load, open_one};
use super::reader::Reader;
use super::scan::{From, Kept, Scan, scan};
use super::segment::{Opened, Segment, Table, file_name};
use super::types::{Damage, Found, OpenError, Record, Report, SegmentInfo};

/// Records are looked at in pieces of about this size.
const VERIFIED_AT_ONCE: usize = 4 << 20;

/// A log that is only read, also while another process writes it. Changes nothing.
pub struct ReadOnly {
    table: Arc<Table>,
    follow: Arc<Follow>,
    found: Found,
}

impl ReadOnly {
    /// Opens the log in this directory; one without segments is empty.
    ///
    /// # Errors
    /// It cannot be read; a newer version has written it.
    pub fn open(dir: &Path) -> Result<ReadOnly, OpenError> {
        Self::open_on(Arc::new(Dir::new(dir)))
    }

    /// The same on any disk.
    ///
    /// # Errors
    /// As for [`ReadOnly::open`].
    pub fn open_on(disk: Arc<dyn Disk>) -> Result<ReadOnly, OpenError> {
        let Loaded { segments, tail, found, next_seq, next_number, .. } = load(&disk, 0)?;
        let table = Arc::new(Table::default());
        *table.list_mut() = segments;
        table.set_durable(next_seq - 1);
        let known = Known {
            tail: tail.map_or(Kept { next_seq, ..Kept::default() }, |scan| scan.kept),
            next_number,
        };
        Ok(ReadOnly { table, follow: Arc::new(Follow { disk, known: Mutex::new(known) }), found })
    }

    /// What opening found. A torn tail may also be what another process is just writing.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Oldest first, as far as looked at.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.table.infos()
    }

    /// The last record that has been seen; 0 when there is none.
    pub fn last_seq(&self) -> u64 {
        self.table.durable()
    }

    /// Reads from this record on; at the tail it looks whether there is more.
    pub fn reader(&self, from_seq: u64) -> Reader {
        Reader::new(Arc::clone(&self.table), Some(Arc::clone(&self.follow)), from_seq)
    }
}

/// Looks for what another process has written.
pub(super) struct Follow {
    disk: Arc<dyn Disk>,
    known: Mutex<Known>,
}

struct Known {
    /// Of the last segment.
    tail: Kept,
    next_number: u64,
}

impl Follow {
    /// Brings the list of segments, and where the last one ends, up to date.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub(super) fn refresh(&self, table: &Table) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let next_number = known.next_number;
        let mut numbers = list(&*self.disk).map_err(io::Error::other)?;
        numbers.sort_unstable();
        let first = numbers.first().copied();
        for number in numbers.into_iter().filter(|number| *number >= next_number) {
            let opened = open_one(&self.disk, number).map_err(io::Error::other)?;
            if let Opened::Segment(segment, _) = opened {
                let first_seq = segment.header.first_seq;
                table.supersede(first_seq);
                if let Some(last) = table.list().last() {
                    last.set_end(u64::MAX);
                }
                known.tail = Kept { end: BLOCK, next_seq: first_seq, ..Kept::default() };
                table.list_mut().push(Arc::new(segment));
            }
            known.next_number = number + 1;
        }
        let oldest = table.list().iter().find(|s| Some(s.header.number) >= first).cloned();
        if let Some(oldest) = oldest {
            table.release(oldest.header.first_seq);
        }
        let Some(last) = table.list().last().cloned() else { return Ok(()) };
        let at = known.tail.end.max(BLOCK);
        let seq = known.tail.next_seq;
        let from = From { at, seq, certified: last.header.first_seq - 1, limit: None };
        let scan = scan_while_written(&last, from)?;
        if let (Some((first, time)), Some((_, seq))) = (scan.kept.times, scan.kept.seqs) {
            last.note(seq, first, time);
        }
        last.set_end(scan.kept.end);
        table.set_durable(table.durable().max(scan.kept.next_seq - 1));
        known.tail = scan.kept;
        Ok(())
    }
}

/// A scan that does not take for damage what was written behind its back: that is different each
/// time.
pub(super) fn scan_while_written(segment: &Segment, from: From) -> io::Result<Scan> {
    let mut before = scan(segment, from)?;
    for _ in 0..100 {
        if before.damage.is_empty() {
            break;
        }
        let again = scan(segment, from)?;
        let is_same = again.damage == before.damage;
        before = again;
        if is_same {
            break;
        }
    }
    Ok(before)
}

/// Looks at every record in the directory. Changes nothing.
///
/// # Errors
/// It cannot be read; a newer version has written it.
pub fn verify(dir: &Path) -> Result<Report, OpenError> {
    verify_on(Arc::new(Dir::new(dir)))
}

/// The same on any disk.
///
/// # Errors
/// As for [`verify`].
pub fn verify_on(disk: Arc<dyn Disk>) -> Result<Report, OpenError> {
    let mut loaded = load(&disk, 0)?;
    let mut report = Report { segments: loaded.segments.len() as u64, ..Report::default() };
    report.damage.append(&mut loaded.flaws);
    for pair in loaded.segments.windows(2) {
        let [segment, next] = pair else { continue };
        let limit = Some(next.header.first_seq);
        let from = From { at: BLOCK, seq: segment.header.first_seq, certified: 0, limit };
        let mut scan = scan(segment, from).map_err(cannot_read(&*disk, segment))?;
        report.add(&scan.kept);
        report.damage.append(&mut scan.damage);
    }
    if let Some(tail) = &loaded.tail {
        report.add(&tail.kept);
    }
    for damage in loaded.found.damage {
        // What is missing behind a segment has shown as the end of that one.
        report.damage.retain(|d| d.seqs.is_empty() || d.seqs.end != damage.seqs.end);
        report.damage.push(damage);
    }
    report.torn_tail = loaded.found.torn_tail;
    report.damage.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
    Ok(report)
}

/// Looks at every record in the directory, and whether what it holds says anything to the caller: where
/// it does not, that is damage too. Changes nothing.
///
/// # Errors
/// As for [`verify`]; it cannot be read.
pub fn verify_records(dir: &Path, is_known: impl Fn(&Record) -> bool) -> Result<Report, OpenError> {
    let mut report = verify(dir)?;
    let log = ReadOnly::open(dir)?;
    let segments = log.segments();
    let mut reader = log.reader(segments.first().map_or(1, |segment| segment.first_seq));
    loop {
        let block = reader.read(usize::MAX, VERIFIED_AT_ONCE).map_err(|error| OpenError::Io {
            what: "cannot read",
            path: dir.to_owned(),
            error,
        })?;
        if block.is_empty() {
            return Ok(report);
        }
        for record in block.records.iter().filter(|record| !is_known(record)) {
            let holder = segments.iter().rfind(|segment| segment.first_seq <= record.seq);
            report.damage.push(Damage {
                file: holder.map(|segment| file_name(segment.number)).unwrap_or_default(),
                offset: 0,
                seqs: record.seq..record.seq + 1,
                what: "a record that is whole, and of a kind that is not known".to_owned(),
            });
        }
    }
}

impl Report {
    fn add(&mut self, kept: &Kept) {
        self.records += kept.records;
        self.bytes += kept.bytes;
        if let Some((first, last)) = kept.seqs {
            self.seqs = Some((self.seqs.map_or(first, |seqs| seqs.0), last));
        }
    }
}
