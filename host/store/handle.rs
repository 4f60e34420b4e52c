//! An open file, as those see it who make durable what was written to it. What a failed fdatasync may
//! have lost, on disk and in memory, is written again from a copy. Key type: [`Handle`].

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::records::FileId;

/// How much may be written before it is to be made durable: that much is kept of it. A larger batch
/// goes in alone.
const MAX_FRESH: usize = 16 << 20;

/// An open file, and how much of what was written to it is not committed yet.
#[derive(Debug)]
pub struct Handle {
    /// Which it is.
    pub id: FileId,
    /// Itself.
    pub file: File,
    /// Where the last whole batch ends.
    end: AtomicU64,
    /// Bytes that were written and are not committed.
    uncommitted: AtomicU64,
    /// How often an fdatasync of its descriptor failed; held while one is under way. Only one of those
    /// who share a descriptor is told of a failure.
    failures: Arc<Mutex<u64>>,
    fresh: Mutex<Fresh>,
}

/// A copy of what was written and may not be durable.
#[derive(Debug, Default)]
struct Fresh {
    /// Where it begins in the file.
    from: u64,
    /// What the fdatasync that is under way, or has failed, is for.
    syncing: Vec<u8>,
    /// What was written since.
    written: Vec<u8>,
    /// Of how many failures it was written again.
    mended: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Handle {
    /// A file that holds so much, none of which is still to be committed.
    pub fn new(id: FileId, file: File, end: u64) -> Self {
        Self::with(id, file, end, Arc::default())
    }

    /// The same open file, which somebody else has cut to so much: of what was written to it there is
    /// that left.
    pub fn cut(&self, id: FileId, file: File, end: u64) -> Self {
        lock(&self.fresh).cut(end);
        Self::with(id, file, end, Arc::clone(&self.failures))
    }

    fn with(id: FileId, file: File, end: u64, failures: Arc<Mutex<u64>>) -> Self {
        let mended = *lock(&failures);
        Handle {
            id,
            file,
            end: AtomicU64::new(end),
            uncommitted: AtomicU64::new(0),
            failures,
            fresh: Mutex::new(Fresh { from: end, mended, ..Fresh::default() }),
        }
    }

    /// Writes a batch where the file stands, which is where the last whole one ends, and says where this
    /// one ends.
    ///
    /// # Errors
    /// Why not all of it could be written.
    pub fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        // Whoever writes again what may be lost must know of this.
        let mut fresh = lock(&self.fresh);
        (&self.file).write_all(bytes)?;
        fresh.written.extend_from_slice(bytes);
        let end = self.end() + bytes.len() as u64;
        self.end.store(end, Ordering::Release);
        self.uncommitted.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        Ok(end)
    }

    /// Whether so much was written that it is to be made durable before more is.
    pub fn is_pressed(&self) -> bool {
        let fresh = lock(&self.fresh);
        fresh.syncing.len() + fresh.written.len() > MAX_FRESH
    }

    /// Makes all that was written durable. After a failure it is to be tried again: what may be lost is
    /// written again then.
    ///
    /// # Errors
    /// Why not.
    pub fn sync(&self) -> io::Result<()> {
        let mut failures = lock(&self.failures);
        let begun = self.begin_sync(*failures);
        let synced = begun.and_then(|()| self.file.sync_data().inspect_err(|_| *failures += 1));
        if synced.is_ok() {
            lock(&self.fresh).synced();
        }
        synced
    }

    fn begin_sync(&self, failures: u64) -> io::Result<()> {
        let mut fresh = lock(&self.fresh);
        if fresh.mended != failures {
            fresh.write_again(&self.file)?;
            fresh.mended = failures;
        }
        fresh.seal();
        Ok(())
    }

    /// So many bytes more are committed.
    pub fn committed(&self, bytes: u64) {
        self.uncommitted.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Whether all that was written is committed.
    pub fn is_committed(&self) -> bool {
        self.uncommitted.load(Ordering::Acquire) == 0
    }

    /// Where the last whole batch ends.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }
}

impl Fresh {
    /// What was written by now is what the next fdatasync is for.
    fn seal(&mut self) {
        if self.syncing.is_empty() {
            std::mem::swap(&mut self.syncing, &mut self.written);
        } else {
            self.syncing.append(&mut self.written);
        }
    }

    /// What was sealed is durable. Memory is kept for what comes.
    fn synced(&mut self) {
        self.from += self.syncing.len() as u64;
        self.syncing.clear();
    }

    /// Somebody has cut the file.
    fn cut(&mut self, end: u64) {
        let left = usize::try_from(end.saturating_sub(self.from)).unwrap_or(usize::MAX);
        let of_syncing = left.min(self.syncing.len());
        self.written.truncate(left - of_syncing);
        self.syncing.truncate(of_syncing);
    }

    /// Writes all of it where it was. What somebody has cut off meanwhile does not come back.
    fn write_again(&self, file: &File) -> io::Result<()> {
        let len = file.metadata()?.len();
        let mut at = self.from;
        for part in [&self.syncing, &self.written] {
            let there = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX);
            file.write_all_at(&part[..part.len().min(there)], at)?;
            at += part.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn handle(held: &str) -> (tempfile::NamedTempFile, Handle) {
        let mut temp = tempfile::NamedTempFile::new().unwrap();
        temp.write_all(held.as_bytes()).unwrap();
        let file = temp.as_file().try_clone().unwrap();
        let id = FileId { path: PathBuf::from("x"), dev: 0, ino: 0, generation: 0 };
        (temp, Handle::new(id, file, held.len() as u64))
    }

    fn text(temp: &tempfile::NamedTempFile) -> String {
        std::fs::read_to_string(temp.path()).unwrap()
    }

    /// As if an fdatasync had failed, and the file were read anew from the disk.
    fn fail(handle: &Handle, from: u64) {
        *lock(&handle.failures) += 1;
        lock(&handle.fresh).seal();
        let zeros = vec![b'0'; (handle.end() - from) as usize];
        handle.file.write_all_at(&zeros, from).unwrap();
    }

    #[test]
    fn what_a_failed_sync_may_have_lost_is_written_again() {
        let (temp, handle) = handle("held\n");
        assert_eq!(handle.append(b"one\n").unwrap(), 9);
        handle.sync().unwrap();
        handle.append(b"two\n").unwrap();
        fail(&handle, 9);
        handle.append(b"three\n").unwrap();
        fail(&handle, 9);
        handle.append(b"four\n").unwrap();
        assert_eq!(text(&temp), "held\none\n0000000000four\n");
        handle.sync().unwrap();
        assert_eq!(text(&temp), "held\none\ntwo\nthree\nfour\n");
        assert_eq!(handle.end(), 24);
        // Of what is durable nothing is kept.
        fail(&handle, 9);
        handle.sync().unwrap();
        assert_eq!(text(&temp), "held\none\n000000000000000");
    }

    #[test]
    fn a_failure_counts_for_all_who_share_the_file_and_what_was_cut_stays_away() {
        let (temp, handle) = handle("");
        handle.append(b"one\ntwo\n").unwrap();
        handle.file.set_len(4).unwrap();
        let again = handle.file.try_clone().unwrap();
        let again = handle.cut(handle.id.clone(), again, 4);
        std::io::Seek::seek(&mut &again.file, std::io::SeekFrom::Start(4)).unwrap();
        again.append(b"three\n").unwrap();
        fail(&again, 0);
        handle.sync().unwrap();
        assert_eq!(text(&temp), "one\n000000");
        again.sync().unwrap();
        assert_eq!(text(&temp), "one\nthree\n");
    }

    #[test]
    fn so_much_is_kept_and_then_it_is_to_be_made_durable() {
        let (_temp, handle) = handle("");
        handle.append(&vec![b'x'; MAX_FRESH]).unwrap();
        assert!(!handle.is_pressed());
        handle.append(b"x").unwrap();
        assert!(handle.is_pressed());
        handle.sync().unwrap();
        assert!(!handle.is_pressed() && !handle.is_committed());
    }
}
