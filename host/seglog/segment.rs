//! Segments and the list of them, which those who write and those who read share. Key types:
//! [`Segment`], [`Table`].

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use super::disk::{Disk, DiskFile, read_full};
use super::format::{BLOCK, Header, HeaderBlock, Mark, Salt};
use super::types::SegmentInfo;

/// Most segments that stay in the system's memory for a reader that is behind.
const MOST_WARM: usize = 32;

/// A file of the log.
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) salt: Salt,
    disk: Arc<dyn Disk>,
    /// Open while somebody uses it: there may be more segments than a process may have files open.
    file: Mutex<Weak<dyn DiskFile>>,
    /// Where its records must end, bytes.
    pub(super) data_end: u64,
    /// Up to where it may be read, bytes.
    end: AtomicU64,
    last_seq: AtomicU64,
    first_time: AtomicU64,
    last_time: AtomicU64,
    is_released: AtomicBool,
    /// The system has been told that it is not read soon.
    is_cold: AtomicBool,
}

impl Segment {
    /// A segment of which all may be read, as far as its records are good.
    pub(super) fn new(
        disk: &Arc<dyn Disk>,
        header: Header,
        file: &Arc<dyn DiskFile>,
        file_size: u64,
    ) -> Self {
        Segment {
            salt: Salt::new(header.salt),
            disk: Arc::clone(disk),
            file: Mutex::new(Arc::downgrade(file)),
            data_end: header.size.min(file_size).saturating_sub(BLOCK).max(BLOCK),
            end: AtomicU64::new(u64::MAX),
            last_seq: AtomicU64::new(header.first_seq.saturating_sub(1)),
            first_time: AtomicU64::new(header.created_micros),
            last_time: AtomicU64::new(header.created_micros),
            is_released: AtomicBool::new(false),
            is_cold: AtomicBool::new(false),
            header,
        }
    }

    pub(super) fn name(&self) -> String {
        file_name(self.header.number)
    }

    /// Its file, for reading; opened if nobody has it open.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = held.upgrade() {
            return Ok(file);
        }
        let file = self.disk.open(&self.name(), false)?;
        *held = Arc::downgrade(&file);
        Ok(file)
    }

    /// Up to where it may be read now.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire).min(self.data_end)
    }

    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    pub(super) fn last_seq(&self) -> u64 {
        self.last_seq.load(Ordering::Acquire)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last_seq() < self.header.first_seq
    }

    /// Notes its last record, and times: of the first one if there was none before.
    pub(super) fn note(&self, last_seq: u64, first_time: u64, last_time: u64) {
        if self.is_empty() {
            self.first_time.store(first_time, Ordering::Release);
        }
        self.last_time.store(last_time, Ordering::Release);
        self.last_seq.store(last_seq, Ordering::Release);
    }

    /// True once its file may hold something else.
    pub(super) fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Acquire)
    }

    fn info(&self) -> SegmentInfo {
        SegmentInfo {
            number: self.header.number,
            first_seq: self.header.first_seq,
            last_seq: self.last_seq(),
            first_time: self.first_time.load(Ordering::Acquire),
            last_time: self.last_time.load(Ordering::Acquire),
            bytes: self.header.size,
        }
    }
}

/// The segments of a log, oldest first, and how far it is durable.
#[derive(Default)]
pub(super) struct Table {
    segments: RwLock<Vec<Arc<Segment>>>,
    durable: AtomicU64,
    /// Where readers are that still live: the record that each reads next.
    readers: Mutex<Vec<Weak<AtomicU64>>>,
}

impl Table {
    /// Through which record everything is durable. What is durable by then is also in the list.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(super) fn set_durable(&self, seq: u64) {
        self.durable.store(seq, Ordering::Release);
    }

    /// Where a reader begins; it says there how far it comes.
    pub(super) fn begin_reading(&self, from_seq: u64) -> Arc<AtomicU64> {
        let place = Arc::new(AtomicU64::new(from_seq));
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&place));
        place
    }

    /// The segments that nobody reads soon, and that were not among these before: those that all readers
    /// are past, and all but the newest [`MOST_WARM`]. The newest two stay.
    pub(super) fn cold(&self) -> Vec<String> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let places = readers.iter().filter_map(Weak::upgrade);
        let slowest = places.map(|place| place.load(Ordering::Relaxed)).min().unwrap_or(u64::MAX);
        drop(readers);
        let list = self.list();
        let older = &list[..list.len().saturating_sub(2)];
        let far = older.len().saturating_sub(MOST_WARM);
        let cold = older.iter().enumerate().filter(|(index, segment)| {
            let is_cold = *index < far || segment.last_seq() < slowest;
            is_cold && !segment.is_cold.swap(true, Ordering::Relaxed)
        });
        cold.map(|(_, segment)| segment.name()).collect()
    }

    pub(super) fn list(&self) -> RwLockReadGuard<'_, Vec<Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn list_mut(&self) -> RwLockWriteGuard<'_, Vec<Arc<Segment>>> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segment that this record is in, or the first that comes after it; and the first record
    /// of the segment that follows that one.
    pub(super) fn find(&self, seq: u64) -> Option<(Arc<Segment>, Option<u64>)> {
        let list = self.list();
        let after = list.partition_point(|segment| segment.header.first_seq <= seq);
        let index = after.saturating_sub(1);
        let next = list.get(index + 1).map(|segment| segment.header.first_seq);
        list.get(index).map(|segment| (Arc::clone(segment), next))
    }

    /// Takes out the segments all of whose records are below this one; the last one stays.
    pub(super) fn release(&self, before_seq: u64) -> Vec<Arc<Segment>> {
        let mut list = self.list_mut();
        let following = list.iter().skip(1);
        let count = following.take_while(|next| next.header.first_seq <= before_seq).count();
        let released: Vec<_> = list.drain(..count).collect();
        released.iter().for_each(|segment| segment.is_released.store(true, Ordering::Release));
        released
    }

    /// Takes out segments in which nothing is that counts, because `first_seq` begins anew.
    pub(super) fn supersede(&self, first_seq: u64) -> Vec<Arc<Segment>> {
        let mut list = self.list_mut();
        let from = list.partition_point(|segment| segment.header.first_seq < first_seq);
        let dead = list.split_off(from);
        dead.iter().for_each(|segment| segment.is_released.store(true, Ordering::Release));
        dead
    }

    pub(super) fn infos(&self) -> Vec<SegmentInfo> {
        let mut infos: Vec<_> = self.list().iter().map(|segment| segment.info()).collect();
        for index in 1..infos.len() {
            let (next_seq, next_time) = (infos[index].first_seq, infos[index].first_time);
            let info = &mut infos[index - 1];
            // What an earlier run wrote has not been read: the next one tells.
            if info.last_seq + 1 < next_seq {
                info.last_time = next_time;
            }
            info.last_seq = next_seq - 1;
        }
        infos
    }
}

/// Name of the file of the segment with this number.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:020}.seg")
}

/// The number in the name of a segment's file.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// What opening one file gave.
pub(super) enum Opened {
    Segment(Segment, Vec<String>),
    /// Of a version of the format that is not known.
    Version(u32),
    /// Nothing in it says what it is. Its size, bytes.
    Bad(u64),
}

/// Opens a segment by whichever of the three copies of its header is good, and says in words which
/// are not.
pub(super) fn open_segment(disk: &Arc<dyn Disk>, number: u64) -> io::Result<Opened> {
    let file = disk.open(&file_name(number), false)?;
    let size = file.size()?;
    let block = |at: u64| -> io::Result<Vec<u8>> {
        let mut block = vec![0; BLOCK as usize];
        let n = read_full(&*file, &mut block, at)?;
        block.truncate(n);
        Ok(block)
    };
    let first = Header::decode(&block(0)?);
    let last = Header::decode(&block(size.saturating_sub(BLOCK))?);
    let is_of_this = |read: &HeaderBlock| match read {
        HeaderBlock::Good(header) if header.number == number => Some(*header),
        _ => None,
    };
    let mut wrong = Vec::new();
    for (what, read) in [("first", &first), ("last", &last)] {
        if is_of_this(read).is_none() {
            wrong.push(format!("the {what} copy of its header is damaged"));
        }
    }
    if let Some(header) = is_of_this(&first).or(is_of_this(&last)) {
        return Ok(Opened::Segment(Segment::new(disk, header, &file, size), wrong));
    }
    if let Some(version) = [&first, &last].into_iter().find_map(|read| match read {
        HeaderBlock::Version(version) => Some(*version),
        _ => None,
    }) {
        return Ok(Opened::Version(version));
    }
    match Mark::first_of(&block(BLOCK)?[..]).filter(|mark| mark.number == number) {
        Some(mark) => {
            let header = Header {
                number,
                salt: mark.salt,
                first_seq: mark.first_seq,
                size,
                created_micros: mark.time_micros,
            };
            Ok(Opened::Segment(Segment::new(disk, header, &file, size), wrong))
        }
        None => Ok(Opened::Bad(size)),
    }
}

/// Microseconds since 1970, for headers and marks; nothing is decided by it.
pub(super) fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
