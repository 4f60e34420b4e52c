//! Opens a log for writing: mends its end, puts aside what is of no use, makes the first segment.
//! Key function: [`open`].

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_full, write_all};
use super::format::{BLOCK, Header};
use super::load::{Loaded, load};
use super::maker::{MOST_SPARES, Spare, spare_name, spare_number_of};
use super::segment::{Segment, Table, file_name, now_micros};
use super::state::Shared;
use super::types::{Found, OnDurable, OpenError, Options};
use super::writer::{Current, Writer};

impl Options {
    /// Sizes as they are used: whole blocks, and not absurdly few.
    fn checked(mut self) -> Self {
        for size in [&mut self.first_segment_bytes, &mut self.segment_bytes] {
            *size = (*size).max(4 * BLOCK).next_multiple_of(BLOCK);
        }
        self
    }
}

/// Opens the log on this disk.
///
/// # Errors
/// The disk cannot be read or written; a segment has a format that is not known.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    options: Options,
    certified: u64,
    on_durable: OnDurable,
) -> Result<(Shared, Found), OpenError> {
    let options = options.checked();
    let loaded = load(&disk, certified)?;
    tell(&options, &loaded.found);
    put_aside(&*disk, &loaded);
    let is_clean = loaded.found.is_clean;
    let table = Table::default();
    table.list_mut().clone_from(&loaded.segments);
    table.set_durable(loaded.next_seq - 1);
    let (spares, next_spare) = left_spares(&*disk, &options)?;
    let mut next_number = loaded.next_number;
    let current = match go_on(&*disk, &loaded) {
        Some(current) => current,
        None => {
            let current = first_segment(&disk, &options, loaded.next_seq, next_number, next_spare)?;
            next_number += 1;
            table.supersede(loaded.next_seq);
            table.list_mut().push(Arc::clone(&current.segment));
            current
        }
    };
    let writer = Writer::new(current, next_number, is_clean);
    let spares = (spares, next_spare + 1);
    let shared = Shared::new(options, disk, Arc::new(table), on_durable, writer, spares);
    Ok((shared, loaded.found))
}

fn tell(options: &Options, found: &Found) {
    for damage in &found.damage {
        let (file, offset, seqs, what) = (&damage.file, damage.offset, &damage.seqs, &damage.what);
        tracing::error!(log = options.name, file, offset, ?seqs, "{what}");
    }
    if let Some(torn) = &found.torn_tail {
        let (file, offset, bytes) = (&torn.file, torn.offset, torn.bytes);
        tracing::info!(log = options.name, file, offset, bytes, "cut what was written in part");
    }
}

/// Removes files in which nothing counts; those that cannot be read are kept under another name.
fn put_aside(disk: &dyn Disk, loaded: &Loaded) {
    let removed = loaded.dead.iter().map(|number| disk.remove(&file_name(*number)));
    let kept = loaded.bad.iter().map(|number| {
        let name = file_name(*number);
        disk.rename(&name, &format!("{name}.bad"))
    });
    for error in removed.chain(kept).filter_map(Result::err) {
        // They stay as they are, and are found so at the next start.
        tracing::warn!(dir = %disk.path().display(), %error, "cannot put a file aside");
    }
}

/// The segment that the log ends in, ready to be written on. None if there is none that can be.
fn go_on(disk: &dyn Disk, loaded: &Loaded) -> Option<Current> {
    let last = loaded.segments.last()?;
    // Behind one that cannot be read, nothing is written in one before it.
    if loaded.bad.last().is_some_and(|bad| *bad > last.header.number) {
        return None;
    }
    let opened = disk.open(&last.name(), true);
    let mended = opened.and_then(|file| mend(&*file, last, loaded).map(|()| file));
    match mended {
        Ok(file) => Some(Current { segment: Arc::clone(last), at: last.end(), file }),
        Err(error) => {
            let path = disk.path().join(last.name());
            tracing::warn!("cannot write {}: {error}; going on in a new one", path.display());
            None
        }
    }
}

/// Makes durable what is kept and may not be, and overwrites what is not kept: it must never look
/// as if it followed what comes next.
fn mend(file: &dyn DiskFile, segment: &Segment, loaded: &Loaded) -> io::Result<()> {
    let Some(tail) = &loaded.tail else { return Ok(()) };
    if loaded.found.is_clean {
        return Ok(());
    }
    let end = segment.end();
    // Where a mark stands, everything before it was durable. What follows was read, perhaps from
    // memory that never reached the disk.
    let mut at = tail.kept.last_mark.map_or(BLOCK, |(at, _)| at);
    let mut buffer = vec![0; 1 << 20];
    while at < end {
        let piece = buffer.len().min((end - at) as usize);
        let n = read_full(file, &mut buffer[..piece], at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        write_all(file, &buffer[..n], at)?;
        at += n as u64;
    }
    buffer.fill(0);
    let torn_to = tail.torn_to.unwrap_or(end).min(segment.data_end);
    while at < torn_to {
        let piece = buffer.len().min((torn_to - at) as usize);
        write_all(file, &buffer[..piece], at)?;
        at += piece as u64;
    }
    file.sync()
}

/// Files that an earlier run had ready; others are removed. And the number for the next one.
fn left_spares(disk: &dyn Disk, options: &Options) -> Result<(Vec<Spare>, u64), OpenError> {
    let mut spares = Vec::new();
    let names = disk.list().map_err(|error| OpenError::Io {
        what: "cannot read",
        path: disk.path().to_owned(),
        error,
    })?;
    let mut numbers: Vec<_> = names.iter().filter_map(|name| spare_number_of(name)).collect();
    numbers.sort_unstable();
    for number in &numbers {
        let name = spare_name(*number);
        match Spare::reuse(disk, name.clone()) {
            Ok(spare) if spare.size == options.segment_bytes && spares.len() < MOST_SPARES => {
                spares.push(spare);
            }
            _ => {
                if let Err(error) = disk.remove(&name) {
                    let path = disk.path().join(name);
                    tracing::warn!("cannot remove {}: {error}", path.display());
                }
            }
        }
    }
    Ok((spares, numbers.last().map_or(1, |last| last + 1)))
}

/// A new segment, made while somebody waits, and so a small one.
fn first_segment(
    disk: &Arc<dyn Disk>,
    options: &Options,
    first_seq: u64,
    number: u64,
    spare_number: u64,
) -> Result<Current, OpenError> {
    let size = options.first_segment_bytes;
    let header =
        Header { number, salt: rand::random(), first_seq, size, created_micros: now_micros() };
    let spare = Spare::make(&**disk, spare_name(spare_number), size, || true);
    spare.and_then(|spare| spare.begin(disk, header)).map_err(|error| OpenError::Io {
        what: "cannot make",
        path: disk.path().join(file_name(number)),
        error,
    })
}
