//! What a plugin remembers, kept by the host: it outlives instances, restarts and new versions.
//!
//! What a call changes is seen at once by the same call, becomes durable together with the events
//! of its batch, and is forgotten when the call fails: each event changes state once. A key, a
//! value or a whole larger than the limits is a trap.

#[cfg(target_arch = "wasm32")]
use crate::raw::host::state as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::state as host;

/// The value of a key, if it has one.
pub fn get(key: &str) -> Option<String> {
    host::get(key)
}

/// Gives a key a value.
pub fn set(key: &str, value: &str) {
    host::set(key, value);
}

/// Takes a key away; nothing happens if it is not there.
pub fn remove(key: &str) {
    host::remove(key);
}

/// Adds to a number and gives the sum. A key that is not there counts as 0; the value is kept as
/// decimal text. A trap if the value is other text or the sum does not fit.
pub fn add(key: &str, delta: i64) -> i64 {
    host::add(key, delta)
}

/// The keys that begin with a prefix and their values, in byte order: at most `limit` of them,
/// those after the key `after` (empty: from the first). Fewer than `limit` means that was all.
pub fn scan(prefix: &str, after: &str, limit: u32) -> Vec<(String, String)> {
    host::scan(prefix, after, limit)
}
