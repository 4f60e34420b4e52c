//! What a process that is killed had not synced, handed on to the next one, so that a power loss
//! there can still drop it. A text file in the side directory, with the files themselves beside it.

use std::ffi::CString;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use crate::data::{FileData, Old};
use crate::names::{Change, Name};
use crate::sys::{self, FileId, give_up};
use crate::world::World;

const FILE: &str = "carry";

/// Writes all of it down.
pub fn hand_on(world: &World) {
    let mut text = format!("kept {}\n", world.names.kept);
    for (id, file) in &world.files {
        if !file.is_safe() {
            push_file(&mut text, world, *id, file);
        }
    }
    for (id, dir) in &world.names.dirs {
        let path = sys::path_of(*dir).unwrap_or_default();
        line(&mut text, &["dir", &of_id(*id), &hex(path.as_os_str().as_bytes())]);
    }
    for change in &world.names.log {
        push_change(&mut text, change);
    }
    if std::fs::write(world.side.join(FILE), text).is_err() {
        give_up("cannot hand on what is not synced");
    }
}

/// Takes over what the process before handed on.
pub fn take_over(world: &mut World) {
    let path = world.side.join(FILE);
    let Ok(text) = std::fs::read_to_string(&path) else { return };
    let mut last = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if take_line(world, &words, &mut last).is_none() {
            give_up(&format!("cannot read what was handed on: {line}"));
        }
    }
    // It is ours now.
    if std::fs::remove_file(&path).is_err() {
        give_up("cannot remove what was handed on");
    }
}

fn take_line(world: &mut World, words: &[&str], last: &mut Option<FileId>) -> Option<()> {
    match words {
        ["kept", kept] => world.names.kept = kept.parse().ok()?,
        ["file", id, safe_size, sizes @ ..] => {
            let id = read_id(id)?;
            let path = world.side.join(held(id));
            let own =
                sys::openat(libc::AT_FDCWD, &sys::c_path(&path), libc::O_RDWR | libc::O_CLOEXEC, 0);
            if own < 0 || std::fs::remove_file(&path).is_err() {
                return None;
            }
            let mut file = FileData::new(own as sys::Fd, safe_size.parse().ok()?);
            file.sizes = sizes.iter().map(|size| size.parse().ok()).collect::<Option<_>>()?;
            world.files.insert(id, file);
            *last = Some(id);
        }
        [kind @ ("undo" | "lost"), page, old] => {
            let file = world.files.get_mut(&(*last)?)?;
            let old: Old = if *old == "-" { None } else { Some(unhex(old)?.into()) };
            let pages = if *kind == "undo" { &mut file.undo } else { &mut file.lost };
            pages.insert(page.parse().ok()?, old);
        }
        ["dir", id, path] => {
            let (id, path) =
                (read_id(id)?, PathBuf::from(std::ffi::OsString::from_vec(unhex(path)?)));
            // One that was removed is made again when that is undone.
            if let Some(dir) = sys::open_dir(&path)
                && sys::stat_fd(dir)?.id == id
            {
                world.names.dirs.insert(id, dir);
            }
        }
        words => world.names.log.push(read_change(words)?),
    }
    Some(())
}

fn push_file(text: &mut String, world: &World, id: FileId, file: &FileData) {
    let path = world.side.join(held(id));
    // One that has no name left at all is gone in any case.
    if sys::link_fd(file.own, (libc::AT_FDCWD, &sys::c_path(&path))) < 0 {
        return;
    }
    let mut words = vec!["file".to_owned(), of_id(id), file.safe_size.to_string()];
    words.extend(file.sizes.iter().map(u64::to_string));
    line(text, &words.iter().map(String::as_str).collect::<Vec<_>>());
    for (kind, pages) in [("undo", &file.undo), ("lost", &file.lost)] {
        for (page, old) in pages {
            let old = old.as_ref().map_or("-".to_owned(), |old| hex(old));
            line(text, &[kind, &page.to_string(), &old]);
        }
    }
}

fn push_change(text: &mut String, change: &Change) {
    let kept = |kept: Option<u64>| kept.map_or("-".to_owned(), |kept| kept.to_string());
    let (dir, name) = (|at: &Name| of_id(at.dir), |at: &Name| hex(at.name.as_bytes()));
    match change {
        Change::Made(at) => line(text, &["made", &dir(at), &name(at)]),
        Change::MadeDir(at, id) => line(text, &["mkdir", &dir(at), &name(at), &of_id(*id)]),
        Change::Removed(at, link) => {
            line(text, &["removed", &dir(at), &name(at), &kept(Some(*link))])
        }
        Change::RemovedDir(at, id) => line(text, &["rmdir", &dir(at), &name(at), &of_id(*id)]),
        Change::Moved { from, to, replaced } => {
            line(text, &["moved", &dir(from), &name(from), &dir(to), &name(to), &kept(*replaced)]);
        }
        Change::Exchanged(one, other) => {
            line(text, &["exchanged", &dir(one), &name(one), &dir(other), &name(other)]);
        }
    }
}

fn read_change(words: &[&str]) -> Option<Change> {
    let at = |dir: &str, name: &str| {
        Some(Name { dir: read_id(dir)?, name: CString::new(unhex(name)?).ok()? })
    };
    Some(match words {
        ["made", dir, name] => Change::Made(at(dir, name)?),
        ["mkdir", dir, name, id] => Change::MadeDir(at(dir, name)?, read_id(id)?),
        ["removed", dir, name, kept] => Change::Removed(at(dir, name)?, kept.parse().ok()?),
        ["rmdir", dir, name, id] => Change::RemovedDir(at(dir, name)?, read_id(id)?),
        ["moved", from_dir, from, to_dir, to, kept] => Change::Moved {
            from: at(from_dir, from)?,
            to: at(to_dir, to)?,
            replaced: if *kept == "-" { None } else { Some(kept.parse().ok()?) },
        },
        ["exchanged", one_dir, one, other_dir, other] => {
            Change::Exchanged(at(one_dir, one)?, at(other_dir, other)?)
        }
        _ => return None,
    })
}

fn line(text: &mut String, words: &[&str]) {
    text.push_str(&words.join(" "));
    text.push('\n');
}

/// Under which name a file is held until it is taken over.
fn held(id: FileId) -> String {
    format!("held-{}", of_id(id))
}

fn of_id(id: FileId) -> String {
    format!("{}:{}", id.0, id.1)
}

fn read_id(text: &str) -> Option<FileId> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Into a string it never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
