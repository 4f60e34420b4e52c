//! The functions that stand in for those of the C library. Each does what the call is for, directly by
//! system call where no watched file takes part. Variadic ones take their last argument in any case,
//! as the calling conventions of Linux on x86-64 and AArch64 allow.
#![allow(
    clippy::missing_safety_doc,
    clippy::undocumented_unsafe_blocks,
    reason = "the contracts are those of the C functions: callers give valid pointers"
)]

use std::ffi::CStr;

use libc::{c_char, c_int, c_uint, c_void, iovec, loff_t, mode_t, off_t, size_t, ssize_t};

use crate::open::absolute;
use crate::sys::{self, errno, fail, raw, set_errno};
use crate::world::{World, is_watched, with};

const HERE: c_int = libc::AT_FDCWD;

/// Gives the same function more names.
macro_rules! alias {
    ($($name:ident = $of:ident($($argument:ident: $ty:ty),*) -> $result:ty;)*) => {
        $(#[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $ty),*) -> $result {
            unsafe { $of($($argument),*) }
        })*
    };
}

unsafe fn bytes<'a>(path: *const c_char) -> &'a [u8] {
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

/// With a path, if it is watched.
unsafe fn on_path(
    dir: c_int,
    path: *const c_char,
    work: impl FnOnce(&mut World, &std::path::Path) -> isize,
) -> Option<isize> {
    let path = unsafe { bytes(path) };
    with(|world| world.watched(dir, path).map(|path| work(world, &path))).flatten()
}

/// With a descriptor, if it is watched.
fn on_fd(fd: c_int, work: impl FnOnce(&mut World) -> isize) -> Option<isize> {
    is_watched(fd).then(|| with(work)).flatten()
}

// Opening.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    let watched = unsafe { on_path(dir, path, |world, path| world.open_file(path, flags, mode)) };
    watched.unwrap_or_else(|| {
        let fd = raw!(SYS_openat, dir, path, flags, mode);
        // Its number may have been that of a watched file that was closed unseen.
        if is_watched(fd as c_int) {
            with(|world| world.closed(fd as c_int));
        }
        fd
    }) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { openat(HERE, path, flags, mode) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn creat(path: *const c_char, mode: mode_t) -> c_int {
    unsafe { openat(HERE, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

alias! {
    openat64 = openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    open64 = open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int;
    creat64 = creat(path: *const c_char, mode: mode_t) -> c_int;
}

// Descriptors.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    if is_watched(fd) {
        with(|world| world.closed(fd));
    }
    raw!(SYS_close, fd) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    if flags == 0 {
        for fd in (first..=last.min(1 << 16)).map(|fd| fd as c_int).filter(|fd| is_watched(*fd)) {
            with(|world| world.closed(fd));
        }
    }
    raw!(SYS_close_range, first, last, flags) as c_int
}

fn copied(from: c_int, to: isize) -> c_int {
    if is_watched(from) || is_watched(to as c_int) {
        with(|world| {
            world.closed(to as c_int);
            world.copied(from, to);
        });
    }
    to as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup(fd: c_int) -> c_int {
    copied(fd, raw!(SYS_dup, fd))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int {
    copied(fd, raw!(SYS_dup3, fd, to, flags))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(fd: c_int, to: c_int) -> c_int {
    if fd == to {
        return if raw!(SYS_fcntl, fd, libc::F_GETFD) < 0 { -1 } else { to };
    }
    unsafe { dup3(fd, to, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    let result = raw!(SYS_fcntl, fd, command, argument);
    if result >= 0 && matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
        return copied(fd, result);
    }
    result as c_int
}

alias! {
    fcntl64 = fcntl(fd: c_int, command: c_int, argument: usize) -> c_int;
}

// Writing.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, from: *const c_void, count: size_t) -> ssize_t {
    let act = |most: Option<usize>| raw!(SYS_write, fd, from, most.unwrap_or(count));
    on_fd(fd, |world| world.write(fd, None, count as u64, false, act)).unwrap_or_else(|| act(None))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    from: *const c_void,
    count: size_t,
    at: off_t,
) -> ssize_t {
    let act = |most: Option<usize>| raw!(SYS_pwrite64, fd, from, most.unwrap_or(count), at);
    on_fd(fd, |world| world.write(fd, Some(at as u64), count as u64, false, act))
        .unwrap_or_else(|| act(None))
}

unsafe fn parts<'a>(parts: *const iovec, count: c_int) -> &'a [iovec] {
    unsafe { std::slice::from_raw_parts(parts, usize::try_from(count).unwrap_or(0)) }
}

/// The first bytes of several pieces as one.
unsafe fn gather(pieces: &[iovec], most: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in pieces {
        let base = piece.iov_base.cast::<u8>().cast_const();
        all.extend_from_slice(unsafe { std::slice::from_raw_parts(base, piece.iov_len) });
    }
    all.truncate(most);
    all
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, from: *const iovec, count: c_int) -> ssize_t {
    unsafe { pwritev64v2(fd, from, count, -1, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev64(
    fd: c_int,
    from: *const iovec,
    count: c_int,
    at: off_t,
) -> ssize_t {
    if at < 0 {
        return fail(libc::EINVAL);
    }
    unsafe { pwritev64v2(fd, from, count, at, 0) }
}

/// With an offset of -1 it goes on where the descriptor stands.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev64v2(
    fd: c_int,
    from: *const iovec,
    count: c_int,
    at: off_t,
    flags: c_int,
) -> ssize_t {
    let all = || match (at, flags) {
        (-1, 0) => raw!(SYS_writev, fd, from, count),
        _ => raw!(SYS_pwritev2, fd, from, count, at, 0, flags),
    };
    let watched = on_fd(fd, |world| {
        let pieces = unsafe { parts(from, count) };
        let sum = pieces.iter().map(|piece| piece.iov_len as u64).sum();
        let through = flags & (libc::RWF_DSYNC | libc::RWF_SYNC) != 0;
        world.write(fd, u64::try_from(at).ok(), sum, through, |most| match most {
            None => all(),
            Some(most) => {
                let bytes = unsafe { gather(pieces, most) };
                if at < 0 { sys::write(fd, &bytes) } else { sys::pwrite(fd, &bytes, at as u64) }
            }
        })
    });
    watched.unwrap_or_else(all)
}

alias! {
    pwrite = pwrite64(fd: c_int, from: *const c_void, count: size_t, at: off_t) -> ssize_t;
    pwritev = pwritev64(fd: c_int, from: *const iovec, count: c_int, at: off_t) -> ssize_t;
    pwritev2 = pwritev64v2(fd: c_int, from: *const iovec, count: c_int, at: off_t, flags: c_int) -> ssize_t;
}

// Copying within the kernel: refused for watched files, so that the caller reads and writes instead,
// as it must be able to.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_at: *mut loff_t,
    to: c_int,
    to_at: *mut loff_t,
    count: size_t,
    flags: c_uint,
) -> ssize_t {
    if is_watched(to) {
        return fail(libc::EXDEV);
    }
    raw!(SYS_copy_file_range, from, from_at, to, to_at, count, flags)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendfile64(
    to: c_int,
    from: c_int,
    at: *mut off_t,
    count: size_t,
) -> ssize_t {
    if is_watched(to) {
        return fail(libc::EINVAL);
    }
    raw!(SYS_sendfile, to, from, at, count)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn splice(
    from: c_int,
    from_at: *mut loff_t,
    to: c_int,
    to_at: *mut loff_t,
    count: size_t,
    flags: c_uint,
) -> ssize_t {
    if is_watched(to) {
        return fail(libc::EINVAL);
    }
    raw!(SYS_splice, from, from_at, to, to_at, count, flags)
}

alias! {
    sendfile = sendfile64(to: c_int, from: c_int, at: *mut off_t, count: size_t) -> ssize_t;
}

// Sizes.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, size: off_t) -> c_int {
    let watched = on_fd(fd, |world| world.truncate(fd, size as u64));
    watched.unwrap_or_else(|| raw!(SYS_ftruncate, fd, size)) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn truncate64(path: *const c_char, size: off_t) -> c_int {
    let fd = unsafe { open(path, libc::O_WRONLY | libc::O_CLOEXEC, 0) };
    if fd < 0 {
        return fd;
    }
    let result = unsafe { ftruncate64(fd, size) };
    let why = errno();
    unsafe { close(fd) };
    set_errno(why);
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fallocate64(fd: c_int, mode: c_int, at: off_t, count: off_t) -> c_int {
    let act = || raw!(SYS_fallocate, fd, mode, at, count);
    // With a mode it may clear or move what is there.
    let changes = mode & !libc::FALLOC_FL_KEEP_SIZE != 0;
    let range = (at as u64, count as u64);
    on_fd(fd, |world| world.allocate(fd, range, changes, act)).unwrap_or_else(act) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate64(fd: c_int, at: off_t, count: off_t) -> c_int {
    let before = errno();
    let result = unsafe { fallocate64(fd, 0, at, count) };
    let why = if result < 0 { errno() } else { 0 };
    set_errno(before);
    why
}

alias! {
    ftruncate = ftruncate64(fd: c_int, size: off_t) -> c_int;
    truncate = truncate64(path: *const c_char, size: off_t) -> c_int;
    fallocate = fallocate64(fd: c_int, mode: c_int, at: off_t, count: off_t) -> c_int;
    posix_fallocate = posix_fallocate64(fd: c_int, at: off_t, count: off_t) -> c_int;
}

// Syncing.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    let act = || raw!(SYS_fsync, fd);
    on_fd(fd, |world| world.sync(fd, act)).unwrap_or_else(act) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    let act = || raw!(SYS_fdatasync, fd);
    on_fd(fd, |world| world.sync(fd, act)).unwrap_or_else(act) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sync_file_range(
    fd: c_int,
    at: off_t,
    count: off_t,
    flags: c_uint,
) -> c_int {
    let act = || raw!(SYS_sync_file_range, fd, at, count, flags);
    on_fd(fd, |world| world.sync_range(fd, act)).unwrap_or_else(act) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn syncfs(fd: c_int) -> c_int {
    let result = raw!(SYS_syncfs, fd) as c_int;
    if result == 0 {
        with(World::sync_all);
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn sync() {
    raw!(SYS_sync);
    with(World::sync_all);
}

// Names.

#[unsafe(no_mangle)]
pub unsafe extern "C" fn renameat2(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    let watched = with(|world| {
        let (old, new) = unsafe { (bytes(from), bytes(to)) };
        let is_watched =
            world.watched(from_dir, old).is_some() || world.watched(to_dir, new).is_some();
        let paths = absolute(from_dir, old).zip(absolute(to_dir, new)).filter(|_| is_watched)?;
        Some(world.rename(&paths.0, &paths.1, flags))
    });
    watched.flatten().unwrap_or_else(|| raw!(SYS_renameat2, from_dir, from, to_dir, to, flags))
        as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn renameat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
) -> c_int {
    unsafe { renameat2(from_dir, from, to_dir, to, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    unsafe { renameat2(HERE, from, HERE, to, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    let is_dir = flags & libc::AT_REMOVEDIR != 0;
    let watched = unsafe {
        on_path(
            dir,
            path,
            |world, path| if is_dir { world.remove_dir(path) } else { world.unlink(path) },
        )
    };
    watched.unwrap_or_else(|| raw!(SYS_unlinkat, dir, path, flags)) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    unsafe { unlinkat(HERE, path, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    unsafe { unlinkat(HERE, path, libc::AT_REMOVEDIR) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn linkat(
    from_dir: c_int,
    from: *const c_char,
    dir: c_int,
    path: *const c_char,
    flags: c_int,
) -> c_int {
    let act = || raw!(SYS_linkat, from_dir, from, dir, path, flags);
    unsafe { on_path(dir, path, |world, path| world.link(path, act)) }.unwrap_or_else(act) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn link(from: *const c_char, to: *const c_char) -> c_int {
    unsafe { linkat(HERE, from, HERE, to, 0) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdirat(dir: c_int, path: *const c_char, mode: mode_t) -> c_int {
    let watched = unsafe { on_path(dir, path, |world, path| world.make_dir(path, mode)) };
    watched.unwrap_or_else(|| raw!(SYS_mkdirat, dir, path, mode)) as c_int
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    unsafe { mkdirat(HERE, path, mode) }
}
