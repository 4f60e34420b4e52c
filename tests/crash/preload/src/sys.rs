//! The system calls themselves, past whatever stands in for them. Results are those of C: -1, and the
//! reason in `errno`. Paths are bytes without their final 0.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every block here is one system call on borrowed memory"
)]

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use libc::c_int;

/// A file descriptor.
pub type Fd = c_int;

/// A system call with these arguments, each as wide as a register.
macro_rules! raw {
    ($call:ident $(, $argument:expr)* $(,)?) => {
        unsafe { libc::syscall(libc::$call $(, $argument)*) as isize }
    };
}
pub(crate) use raw;

/// Which file: device and inode.
pub type FileId = (u64, u64);

/// What is known of a file.
#[derive(Debug, Clone, Copy)]
pub struct Stat {
    pub id: FileId,
    pub size: u64,
    pub is_dir: bool,
    pub is_regular: bool,
}

pub fn errno() -> c_int {
    unsafe { *libc::__errno_location() }
}

pub fn set_errno(errno: c_int) {
    unsafe { *libc::__errno_location() = errno }
}

/// What a failed call gives.
pub fn fail(errno: c_int) -> isize {
    set_errno(errno);
    -1
}

pub fn c_path(path: &Path) -> CString {
    // Paths that come from C hold no 0.
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

fn stat_of(stat: &libc::stat) -> Stat {
    let kind = stat.st_mode & libc::S_IFMT;
    Stat {
        id: (stat.st_dev, stat.st_ino),
        size: stat.st_size as u64,
        is_dir: kind == libc::S_IFDIR,
        is_regular: kind == libc::S_IFREG,
    }
}

pub fn stat_fd(fd: Fd) -> Option<Stat> {
    let mut stat = unsafe { std::mem::zeroed() };
    (unsafe { libc::fstat(fd, &mut stat) } == 0).then(|| stat_of(&stat))
}

/// Of what a name stands for; a link is not followed.
pub fn stat_path(path: &CStr) -> Option<Stat> {
    let mut stat = unsafe { std::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    let result = unsafe { libc::fstatat(libc::AT_FDCWD, path.as_ptr(), &mut stat, flags) };
    (result == 0).then(|| stat_of(&stat))
}

pub fn exists(path: &Path) -> bool {
    raw!(SYS_faccessat, libc::AT_FDCWD, c_path(path).as_ptr(), libc::F_OK) == 0
}

pub fn openat(dir: Fd, path: &CStr, flags: c_int, mode: u32) -> isize {
    raw!(SYS_openat, dir, path.as_ptr(), flags, mode)
}

/// A descriptor of our own for an open file.
pub fn reopen(fd: Fd, flags: c_int) -> Option<Fd> {
    let path = CString::new(format!("/proc/self/fd/{fd}")).ok()?;
    let fd = openat(libc::AT_FDCWD, &path, flags | libc::O_CLOEXEC, 0);
    (fd >= 0).then_some(fd as Fd)
}

/// A directory, to name things in.
pub fn open_dir(path: &Path) -> Option<Fd> {
    open_dir_at((libc::AT_FDCWD, &c_path(path)))
}

/// The same, from another directory on.
pub fn open_dir_at(at: (Fd, &CStr)) -> Option<Fd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let fd = openat(at.0, at.1, flags, 0);
    (fd >= 0).then_some(fd as Fd)
}

/// Where an open file is now.
pub fn path_of(fd: Fd) -> Option<std::path::PathBuf> {
    let link = CString::new(format!("/proc/self/fd/{fd}")).ok()?;
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    let length =
        raw!(SYS_readlinkat, libc::AT_FDCWD, link.as_ptr(), buffer.as_mut_ptr(), buffer.len());
    let bytes = buffer.get(..usize::try_from(length).ok()?)?;
    Some(std::ffi::OsStr::from_bytes(bytes).into())
}

pub fn close(fd: Fd) -> isize {
    raw!(SYS_close, fd)
}

pub fn position(fd: Fd) -> Option<u64> {
    u64::try_from(raw!(SYS_lseek, fd, 0, libc::SEEK_CUR)).ok()
}

pub fn write(fd: Fd, bytes: &[u8]) -> isize {
    raw!(SYS_write, fd, bytes.as_ptr(), bytes.len())
}

pub fn pwrite(fd: Fd, bytes: &[u8], offset: u64) -> isize {
    raw!(SYS_pwrite64, fd, bytes.as_ptr(), bytes.len(), offset)
}

pub fn pread(fd: Fd, bytes: &mut [u8], offset: u64) -> isize {
    raw!(SYS_pread64, fd, bytes.as_mut_ptr(), bytes.len(), offset)
}

pub fn truncate(fd: Fd, size: u64) -> isize {
    raw!(SYS_ftruncate, fd, size)
}

pub fn link(from: (Fd, &CStr), to: (Fd, &CStr)) -> isize {
    raw!(SYS_linkat, from.0, from.1.as_ptr(), to.0, to.1.as_ptr(), 0)
}

/// Gives an open file a name.
pub fn link_fd(fd: Fd, to: (Fd, &CStr)) -> isize {
    let from = CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    let flags = libc::AT_SYMLINK_FOLLOW;
    raw!(SYS_linkat, libc::AT_FDCWD, from.as_ptr(), to.0, to.1.as_ptr(), flags)
}

pub fn unlink(at: (Fd, &CStr), flags: c_int) -> isize {
    raw!(SYS_unlinkat, at.0, at.1.as_ptr(), flags)
}

pub fn rename(from: (Fd, &CStr), to: (Fd, &CStr), flags: u32) -> isize {
    raw!(SYS_renameat2, from.0, from.1.as_ptr(), to.0, to.1.as_ptr(), flags)
}

pub fn make_dir(at: (Fd, &CStr), mode: u32) -> isize {
    raw!(SYS_mkdirat, at.0, at.1.as_ptr(), mode)
}

/// A descriptor that tells of names that come into a directory.
pub fn watch_dir(path: &Path) -> Option<Fd> {
    let news = raw!(SYS_inotify_init1, libc::IN_CLOEXEC);
    let names = libc::IN_CREATE | libc::IN_MOVED_TO;
    let watched = news >= 0 && raw!(SYS_inotify_add_watch, news, c_path(path).as_ptr(), names) >= 0;
    watched.then_some(news as Fd)
}

/// Waits until one has come. False if that cannot be waited for.
pub fn wait_for_news(news: Fd) -> bool {
    // Room for one event with the longest name at least.
    let mut events = [0_u64; 128];
    raw!(SYS_read, news, events.as_mut_ptr(), size_of_val(&events)) > 0 || errno() == libc::EINTR
}

/// Ends this process as SIGKILL does.
pub fn die() -> ! {
    loop {
        raw!(SYS_kill, std::process::id(), libc::SIGKILL);
    }
}

/// Says what must not happen, and ends the process: a test that relies on us would prove nothing.
pub fn give_up(what: &str) -> ! {
    let reason = std::io::Error::from_raw_os_error(errno());
    write(2, format!("trommel_crash: {what}: {reason}\n").as_bytes());
    std::process::abort();
}
