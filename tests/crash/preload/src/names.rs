//! Names made, moved and removed in directories that were not synced since, in order, so that they
//! can be undone. Key type: [`Names`].

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use crate::coin::Coin;
use crate::sys::{self, Fd, FileId, give_up};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The directory.
    pub dir: FileId,
    /// Its name there.
    pub name: CString,
}

/// What was done to names. What another name then no longer leads to is kept under a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file was made, or got one more name.
    Made(Name),
    /// A directory was made.
    MadeDir(Name, FileId),
    /// A file lost a name.
    Removed(Name, u64),
    /// A directory went.
    RemovedDir(Name, FileId),
    /// Another name, in the place of a file that was there.
    Moved { from: Name, to: Name, replaced: Option<u64> },
    /// Two names changed places.
    Exchanged(Name, Name),
}

impl Change {
    /// The directories that have to be synced: one is enough.
    fn dirs(&self) -> Vec<FileId> {
        match self {
            Change::Made(at)
            | Change::MadeDir(at, _)
            | Change::Removed(at, _)
            | Change::RemovedDir(at, _) => vec![at.dir],
            Change::Moved { from, to, .. } | Change::Exchanged(from, to) => {
                if from.dir == to.dir {
                    vec![from.dir]
                } else {
                    vec![from.dir, to.dir]
                }
            }
        }
    }

    fn kept(&self) -> Option<u64> {
        match self {
            Change::Removed(_, kept) => Some(*kept),
            Change::Moved { replaced, .. } => *replaced,
            _ => None,
        }
    }
}

/// The changes that are not safe.
#[derive(Debug)]
pub struct Names {
    /// Where is kept what has no name any more.
    side: Fd,
    /// How many files were kept so far.
    pub kept: u64,
    /// Our own descriptors of directories.
    pub dirs: BTreeMap<FileId, Fd>,
    /// The changes, in order.
    pub log: Vec<Change>,
}

impl Names {
    /// Nothing has changed. `side` is a directory.
    pub fn new(side: Fd) -> Self {
        Names { side, kept: 0, dirs: BTreeMap::new(), log: Vec::new() }
    }

    /// Keeps a file that is about to lose its name.
    pub fn keep(&mut self, path: &CStr) -> u64 {
        self.kept += 1;
        let kept = side_name(self.kept);
        // Left by a process before us that had synced since.
        sys::unlink((self.side, &kept), 0);
        if sys::link((libc::AT_FDCWD, path), (self.side, &kept)) < 0 {
            give_up(
                "cannot keep a file that is removed; is the side directory on its file system?",
            );
        }
        self.kept
    }

    /// Forgets a file that was kept.
    pub fn forget(&self, kept: u64) {
        sys::unlink((self.side, &side_name(kept)), 0);
    }

    /// A directory was synced.
    pub fn synced(&mut self, dir: FileId) {
        let (safe, log) = std::mem::take(&mut self.log)
            .into_iter()
            .partition(|change: &Change| change.dirs().contains(&dir));
        self.log = log;
        for kept in safe.iter().filter_map(Change::kept) {
            self.forget(kept);
        }
        self.close_dirs();
    }

    /// All of it is safe.
    pub fn all_synced(&mut self) {
        for kept in std::mem::take(&mut self.log).iter().filter_map(Change::kept) {
            self.forget(kept);
        }
        self.close_dirs();
    }

    fn close_dirs(&mut self) {
        let needed: Vec<FileId> = self.log.iter().flat_map(Change::dirs).collect();
        self.dirs.retain(|dir, fd| {
            let stays = needed.contains(dir);
            if !stays {
                sys::close(*fd);
            }
            stays
        });
    }

    /// The power goes: of each directory the first few changes survive. Gives how many were undone, of
    /// how many.
    pub fn lose(&mut self, coin: &mut Coin) -> (usize, usize) {
        let log = std::mem::take(&mut self.log);
        let survives = self.survivors(&log, coin);
        for (change, _) in log.iter().zip(&survives).rev().filter(|(_, survives)| !**survives) {
            self.undo(change);
        }
        for kept in log.iter().filter_map(Change::kept) {
            self.forget(kept);
        }
        (survives.iter().filter(|survives| !**survives).count(), log.len())
    }

    /// Which changes survive. One that takes part in two directories survives in both or in neither,
    /// and in a directory that was never made nothing does.
    fn survivors(&self, log: &[Change], coin: &mut Coin) -> Vec<bool> {
        let mut cuts: BTreeMap<FileId, usize> = BTreeMap::new();
        for change in log {
            for dir in change.dirs() {
                *cuts.entry(dir).or_default() += 1;
            }
        }
        for cut in cuts.values_mut() {
            *cut = coin.below(*cut + 1);
        }
        loop {
            let mut places: BTreeMap<FileId, usize> = BTreeMap::new();
            let mut survives = Vec::with_capacity(log.len());
            let before = cuts.clone();
            for change in log {
                let dirs = change.dirs();
                let at: Vec<usize> = dirs
                    .iter()
                    .map(|dir| {
                        let place = places.entry(*dir).or_default();
                        *place += 1;
                        *place - 1
                    })
                    .collect();
                let is_in = dirs.iter().zip(&at).all(|(dir, at)| *at < cuts[dir]);
                if !is_in {
                    for (dir, at) in dirs.iter().zip(&at) {
                        let cut = cuts.entry(*dir).or_default();
                        *cut = (*cut).min(*at);
                    }
                    if let Change::MadeDir(_, made) = change {
                        cuts.entry(*made).and_modify(|cut| *cut = 0);
                    }
                }
                survives.push(is_in);
            }
            if cuts == before {
                return survives;
            }
        }
    }

    fn undo(&mut self, change: &Change) {
        let dirs = self.dirs.clone();
        let at = |name: &Name| (dirs.get(&name.dir).copied().unwrap_or(-1), name.name.clone());
        let side = self.side;
        let put_back = |kept: u64, name: &Name| {
            let (dir, name) = at(name);
            sys::link((side, &side_name(kept)), (dir, &name))
        };
        let result = match change {
            Change::Made(name) => {
                let (dir, name) = at(name);
                sys::unlink((dir, &name), 0)
            }
            Change::MadeDir(name, _) => {
                let (dir, name) = at(name);
                remove_tree(dir, &name)
            }
            Change::Removed(name, kept) => put_back(*kept, name),
            Change::RemovedDir(name, id) => {
                let (dir, name) = at(name);
                let made = sys::make_dir((dir, &name), 0o700);
                // What was in it before comes back into this one.
                if let Some(again) = sys::open_dir_at((dir, &name)) {
                    self.dirs.insert(*id, again);
                }
                made
            }
            Change::Moved { from, to, replaced } => {
                let ((from_dir, from), (to_dir, to_name)) = (at(from), at(to));
                let back = sys::rename((to_dir, &to_name), (from_dir, &from), 0);
                match replaced {
                    Some(kept) if back == 0 => put_back(*kept, to),
                    _ => back,
                }
            }
            Change::Exchanged(one, other) => {
                let ((one_dir, one), (other_dir, other)) = (at(one), at(other));
                sys::rename((one_dir, &one), (other_dir, &other), libc::RENAME_EXCHANGE)
            }
        };
        if result < 0 {
            give_up(&format!("cannot undo {change:?}"));
        }
    }
}

fn side_name(kept: u64) -> CString {
    CString::new(format!("kept-{kept}")).unwrap_or_default()
}

/// Removes a directory with all that is in it, synced or not: without its name nothing leads there.
fn remove_tree(dir: Fd, name: &CStr) -> isize {
    if let Some(path) = sys::path_of(dir) {
        use std::os::unix::ffi::OsStrExt as _;
        let path = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        // The caller says so if it is still there.
        let _ = std::fs::remove_dir_all(&path);
        return if sys::exists(&path) { -1 } else { 0 };
    }
    -1
}
