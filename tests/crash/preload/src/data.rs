//! What a file was when it was last synced, as far as it has changed since. Key type: [`FileData`].

use std::collections::BTreeMap;

use crate::coin::Coin;
use crate::plan::Drop;
use crate::sys::{self, Fd, give_up};

/// The unit that survives or not.
pub const PAGE: u64 = 4096;

/// What a page held; `None` where the file had not got so far.
pub type Old = Option<Box<[u8]>>;

/// A file that is written, or was and is not synced yet.
#[derive(Debug)]
pub struct FileData {
    /// Our own descriptor of it, to read and to write.
    pub own: Fd,
    /// How many descriptors the process has for it.
    pub open: usize,
    /// Its size when it was last synced.
    pub safe_size: u64,
    /// Each size it has had since.
    pub sizes: Vec<u64>,
    /// What the pages that were written since held before.
    pub undo: BTreeMap<u64, Old>,
    /// The same, of pages that a sync failed to make safe and none will, until they are written again.
    pub lost: BTreeMap<u64, Old>,
}

impl FileData {
    /// A file that is on the disk as it is.
    pub fn new(own: Fd, size: u64) -> Self {
        FileData {
            own,
            open: 0,
            safe_size: size,
            sizes: Vec::new(),
            undo: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Whether a power loss would leave it as it is.
    pub fn is_safe(&self) -> bool {
        self.sizes.is_empty() && self.undo.is_empty() && self.lost.is_empty()
    }

    /// Keeps what is there, before these bytes change.
    pub fn keep(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        for page in from / PAGE..=(to - 1) / PAGE {
            if self.undo.contains_key(&page) {
                continue;
            }
            let old = match self.lost.remove(&page) {
                Some(old) => old,
                None => self.read(page),
            };
            self.undo.insert(page, old);
        }
    }

    fn read(&self, page: u64) -> Old {
        if page * PAGE >= self.safe_size {
            return None;
        }
        let mut bytes = vec![0; PAGE as usize].into_boxed_slice();
        if sys::pread(self.own, &mut bytes, page * PAGE) < 0 {
            give_up("cannot read what is about to change");
        }
        Some(bytes)
    }

    /// Notes the size after a change.
    pub fn note_size(&mut self) {
        let size = self.size();
        let last = self.sizes.last().copied().unwrap_or(self.safe_size);
        if size != last {
            self.sizes.push(size);
        }
    }

    fn size(&self) -> u64 {
        sys::stat_fd(self.own).map_or(0, |stat| stat.size)
    }

    /// All of it is safe, but for what is lost already.
    pub fn synced(&mut self) {
        self.undo.clear();
        self.sizes.clear();
        self.safe_size = self.size();
    }

    /// Only these bytes are safe, with the size: they were written past the cache.
    pub fn written_through(&mut self, from: u64, to: u64) {
        // A page that was changed otherwise too is as safe as this write leaves it.
        for page in from / PAGE..=to.saturating_sub(1) / PAGE {
            self.undo.remove(&page);
        }
        self.sizes.clear();
        self.safe_size = self.size();
    }

    /// A sync failed.
    pub fn not_synced(&mut self, drop: Drop, coin: &mut Coin) {
        match drop {
            Drop::None => {}
            Drop::All => self.lost.append(&mut self.undo),
            Drop::Some => {
                let lost: Vec<u64> = self.undo.keys().copied().filter(|_| coin.flip()).collect();
                for page in lost {
                    let old = self.undo.remove(&page).flatten();
                    self.lost.insert(page, old);
                }
            }
            Drop::Now => {
                let size = self.size();
                for (page, old) in std::mem::take(&mut self.undo) {
                    self.put_back(page, old);
                }
                // The size is of another kind, and stays.
                sys::truncate(self.own, size);
            }
        }
    }

    /// The power goes: some of what is not safe is undone. Gives how many pages of how many.
    pub fn lose(&mut self, coin: &mut Coin) -> (usize, usize) {
        let now = self.size();
        let mut sizes = std::mem::take(&mut self.sizes);
        sizes.push(self.safe_size);
        let size = sizes[coin.below(sizes.len())];
        let pages = self.undo.len() + self.lost.len();
        let mut dropped = self.lost.len();
        for (page, old) in std::mem::take(&mut self.lost) {
            self.put_back(page, old);
        }
        for (page, old) in std::mem::take(&mut self.undo) {
            // What a cut took away comes back with the size it belongs to.
            if coin.flip() || page * PAGE >= now {
                self.put_back(page, old);
                dropped += 1;
            }
        }
        if sys::truncate(self.own, size) < 0 {
            give_up("cannot give a file the size that survives");
        }
        (dropped, pages)
    }

    fn put_back(&self, page: u64, old: Old) {
        let bytes = old.unwrap_or_else(|| vec![0; PAGE as usize].into_boxed_slice());
        if sys::pwrite(self.own, &bytes, page * PAGE) != bytes.len() as isize {
            give_up("cannot put a page back");
        }
    }
}
