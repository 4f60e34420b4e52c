//! The system's clock, set by so many seconds: a file says how many (`CRASH_CLOCK` names it), and is
//! looked at each time. The monotonic clock goes on as it is, as it does when somebody sets the other.
#![allow(
    clippy::missing_safety_doc,
    clippy::undocumented_unsafe_blocks,
    reason = "the contract is that of the C function: callers give a valid pointer"
)]

use std::ffi::CString;
use std::path::Path;
use std::sync::OnceLock;

use libc::{c_int, clockid_t, timespec};

use crate::sys::{c_path, errno, raw, set_errno};

/// Which file says it, if any does.
fn file() -> Option<&'static CString> {
    static FILE: OnceLock<Option<CString>> = OnceLock::new();
    let read = || std::env::var_os("CRASH_CLOCK").map(|path| c_path(Path::new(&path)));
    FILE.get_or_init(read).as_ref()
}

/// By how many seconds it is set; 0 where the file is not there.
fn shift(file: &CString) -> i64 {
    let before = errno();
    let fd = raw!(SYS_openat, libc::AT_FDCWD, file.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC, 0);
    let mut text = [0_u8; 32];
    let mut len = 0;
    if fd >= 0 {
        len = raw!(SYS_read, fd, text.as_mut_ptr(), text.len()).max(0);
        raw!(SYS_close, fd);
    }
    set_errno(before);
    let text = text.get(..len as usize).unwrap_or_default();
    std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let result = raw!(SYS_clock_gettime, clock, time) as c_int;
    if result == 0
        && clock == libc::CLOCK_REALTIME
        && let Some(file) = file()
    {
        unsafe { (*time).tv_sec += shift(file) };
    }
    result
}
