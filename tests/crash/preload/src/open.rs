//! What the calls do to watched files: opening, writing, syncing, naming. In terms of descriptors and
//! absolute paths; raw pointers are the business of `calls`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use libc::c_int;

use crate::names::Change;
use crate::plan::{Kind, Op};
use crate::sys::{self, Fd, c_path, fail};
use crate::world::{Part, World};

/// A path made absolute, without `.` and `..`.
pub fn absolute(dir: Fd, path: &[u8]) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    let whole = if path.is_absolute() {
        path.to_owned()
    } else if dir == libc::AT_FDCWD {
        std::env::current_dir().ok()?.join(path)
    } else {
        sys::path_of(dir)?.join(path)
    };
    let mut plain = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    Some(plain)
}

impl World {
    /// A path made absolute, if it leads below the watched directory or is it.
    pub fn watched(&self, dir: Fd, path: &[u8]) -> Option<PathBuf> {
        absolute(dir, path).filter(|path| path.starts_with(&self.dir))
    }
}

fn op(kind: Kind, path: &str) -> Op<'_> {
    Op { kind, path, offset: 0, bytes: 0, grows: false }
}

impl World {
    /// `open`
    pub fn open_file(&mut self, path: &Path, flags: c_int, mode: u32) -> isize {
        let found = sys::stat_path(&c_path(path));
        let shown = self.shown(path);
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let makes = flags & libc::O_CREAT != 0 && flags & libc::O_TMPFILE != libc::O_TMPFILE;
        match found {
            None if makes => {
                let op = Op { grows: true, ..op(Kind::Create, &shown) };
                self.perform(&op, |world, _| world.make_file(path, flags, mode))
            }
            // Cut by us, so that what is cut away can be kept.
            Some(stat)
                if writes && flags & libc::O_TRUNC != 0 && stat.is_regular && stat.size > 0 =>
            {
                self.perform(&op(Kind::Truncate, &shown), |world, _| {
                    let fd = world.plain_open(path, flags & !libc::O_TRUNC, mode);
                    if fd >= 0 && world.set_size(fd as Fd, 0) < 0 {
                        let errno = sys::errno();
                        world.closed(fd as Fd);
                        sys::close(fd as Fd);
                        return fail(errno);
                    }
                    fd
                })
            }
            _ => self.plain_open(path, flags, mode),
        }
    }

    fn plain_open(&mut self, path: &Path, flags: c_int, mode: u32) -> isize {
        let fd = sys::openat(libc::AT_FDCWD, &c_path(path), flags, mode);
        if let Some(stat) = sys::stat_fd(fd as Fd).filter(|_| fd >= 0) {
            self.opened(fd as Fd, path, flags, stat);
        }
        fd
    }

    fn make_file(&mut self, path: &Path, flags: c_int, mode: u32) -> isize {
        let name = self.name(path);
        let fd = self.plain_open(path, flags, mode);
        if let Some(name) = name.filter(|_| fd >= 0) {
            self.changed(Change::Made(name));
        }
        fd
    }

    /// `write` and its like: `act` writes so many bytes at most. Without an offset it goes on where
    /// the descriptor stands.
    pub fn write(
        &mut self,
        fd: Fd,
        offset: Option<u64>,
        bytes: u64,
        writes_through: bool,
        act: impl Fn(Option<usize>) -> isize,
    ) -> isize {
        let Some((open, stat)) = self.open(fd) else { return act(None) };
        let offset = match offset {
            _ if open.appends => stat.size,
            Some(offset) => offset,
            None => sys::position(fd).unwrap_or(0),
        };
        let end = offset.saturating_add(bytes);
        let grows = end > stat.size;
        let op = Op { kind: Kind::Write, path: &open.path, offset, bytes, grows };
        self.perform(&op, |world, part| {
            let most = (part == Part::Half && bytes > 1).then_some((bytes / 2) as usize);
            if let Some(file) = world.files.get_mut(&open.id) {
                file.keep(offset, end);
            }
            let written = act(most);
            if let Some(file) = world.files.get_mut(&open.id).filter(|_| written > 0) {
                file.note_size();
                if writes_through || open.writes_through {
                    file.written_through(offset, offset + written as u64);
                }
            }
            written
        })
    }

    /// `fsync` and `fdatasync`
    pub fn sync(&mut self, fd: Fd, act: impl FnOnce() -> isize) -> isize {
        let Some((open, _)) = self.open(fd) else { return act() };
        let kind = if open.is_dir { Kind::DirSync } else { Kind::Sync };
        self.perform_sync(&op(kind, &open.path), open.id, act)
    }

    /// `sync_file_range`
    pub fn sync_range(&mut self, fd: Fd, act: impl FnOnce() -> isize) -> isize {
        let Some((open, _)) = self.open(fd) else { return act() };
        self.perform(&op(Kind::Range, &open.path), |_, _| act())
    }

    /// `sync` and `syncfs`
    pub fn sync_all(&mut self) {
        self.files.values_mut().for_each(|file| file.synced());
        self.names.all_synced();
    }

    /// `ftruncate`
    pub fn truncate(&mut self, fd: Fd, size: u64) -> isize {
        let Some((open, stat)) = self.open(fd) else { return sys::truncate(fd, size) };
        let op = Op {
            kind: Kind::Truncate,
            path: &open.path,
            offset: size,
            bytes: stat.size.abs_diff(size),
            grows: false,
        };
        self.perform(&op, |world, _| world.set_size(fd, size))
    }

    fn set_size(&mut self, fd: Fd, size: u64) -> isize {
        let Some((open, stat)) = self.open(fd) else { return sys::truncate(fd, size) };
        if let Some(file) = self.files.get_mut(&open.id) {
            file.keep(size, stat.size);
        }
        let result = sys::truncate(fd, size);
        if let Some(file) = self.files.get_mut(&open.id).filter(|_| result >= 0) {
            file.note_size();
        }
        result
    }

    /// `fallocate`; `changes` if it also clears what is there.
    pub fn allocate(
        &mut self,
        fd: Fd,
        range: (u64, u64),
        changes: bool,
        act: impl FnOnce() -> isize,
    ) -> isize {
        let Some((open, stat)) = self.open(fd) else { return act() };
        let (offset, bytes) = range;
        let grows = offset + bytes > stat.size;
        let op = Op { kind: Kind::Allocate, path: &open.path, offset, bytes, grows };
        self.perform(&op, |world, _| {
            if let Some(file) = world.files.get_mut(&open.id).filter(|_| changes) {
                file.keep(offset, (offset + bytes).min(stat.size));
            }
            let result = act();
            if let Some(file) = world.files.get_mut(&open.id).filter(|_| result >= 0) {
                file.note_size();
            }
            result
        })
    }

    /// A descriptor was copied.
    pub fn copied(&mut self, from: Fd, to: isize) {
        let Ok(to) = Fd::try_from(to) else { return };
        if let Some(open) = self.opens.get(&from).cloned().filter(|_| to >= 0 && to != from) {
            self.add(to, open);
        }
    }

    /// `rename`; either path may lie elsewhere.
    pub fn rename(&mut self, from: &Path, to: &Path, flags: u32) -> isize {
        let shown = format!("{} -> {}", self.shown(from), self.shown(to));
        self.perform(&op(Kind::Rename, &shown), |world, _| world.rename_now(from, to, flags))
    }

    fn rename_now(&mut self, from: &Path, to: &Path, flags: u32) -> isize {
        let (old, new) = (c_path(from), c_path(to));
        let names = self.name(from).zip(self.name(to));
        let replaced = sys::stat_path(&new);
        let is_same =
            replaced.is_some_and(|there| sys::stat_path(&old).is_some_and(|it| it.id == there.id));
        let exchanges = flags & libc::RENAME_EXCHANGE != 0;
        let is_lost = replaced.is_some_and(|there| !there.is_dir) && flags == 0 && !is_same;
        let replaced = is_lost.then(|| self.names.keep(&new));
        let at = libc::AT_FDCWD;
        let result = sys::rename((at, &old), (at, &new), flags);
        match (names, replaced) {
            (Some((one, other)), _) if result >= 0 && exchanges => {
                self.changed(Change::Exchanged(one, other));
            }
            (Some((from, to)), replaced) if result >= 0 && !is_same => {
                self.changed(Change::Moved { from, to, replaced });
            }
            (_, Some(kept)) => {
                let errno = sys::errno();
                self.names.forget(kept);
                sys::set_errno(errno);
            }
            _ => {}
        }
        result
    }

    /// `unlink`
    pub fn unlink(&mut self, path: &Path) -> isize {
        let c = c_path(path);
        let shown = self.shown(path);
        if sys::stat_path(&c).is_none_or(|stat| stat.is_dir) {
            return sys::unlink((libc::AT_FDCWD, &c), 0);
        }
        self.perform(&op(Kind::Unlink, &shown), |world, _| {
            let name = world.name(path);
            let kept = world.names.keep(&c);
            let result = sys::unlink((libc::AT_FDCWD, &c), 0);
            match name {
                Some(name) if result >= 0 => world.changed(Change::Removed(name, kept)),
                _ => {
                    let errno = sys::errno();
                    world.names.forget(kept);
                    sys::set_errno(errno);
                }
            }
            result
        })
    }

    /// `rmdir`
    pub fn remove_dir(&mut self, path: &Path) -> isize {
        let c = c_path(path);
        let shown = self.shown(path);
        self.perform(&op(Kind::RemoveDir, &shown), |world, _| {
            let id = sys::stat_path(&c).map(|stat| stat.id);
            let name = world.name(path);
            let result = sys::unlink((libc::AT_FDCWD, &c), libc::AT_REMOVEDIR);
            if let Some((name, id)) = name.zip(id).filter(|_| result >= 0) {
                world.changed(Change::RemovedDir(name, id));
            }
            result
        })
    }

    /// `mkdir`
    pub fn make_dir(&mut self, path: &Path, mode: u32) -> isize {
        let c = c_path(path);
        if sys::stat_path(&c).is_some() {
            return fail(libc::EEXIST);
        }
        let shown = self.shown(path);
        let op = Op { grows: true, ..op(Kind::MakeDir, &shown) };
        self.perform(&op, |world, _| {
            let name = world.name(path);
            let result = sys::make_dir((libc::AT_FDCWD, &c), mode);
            let made = sys::stat_path(&c).filter(|_| result >= 0);
            if let Some((name, made)) = name.zip(made) {
                world.changed(Change::MadeDir(name, made.id));
            }
            result
        })
    }

    /// `link`
    pub fn link(&mut self, path: &Path, act: impl FnOnce() -> isize) -> isize {
        let shown = self.shown(path);
        let op = Op { grows: true, ..op(Kind::Link, &shown) };
        self.perform(&op, |world, _| {
            let name = world.name(path);
            let result = act();
            if let Some(name) = name.filter(|_| result >= 0) {
                world.changed(Change::Made(name));
            }
            result
        })
    }
}
