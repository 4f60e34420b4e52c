//! Time, as the host has it: in a replay it is the time of the recording.

#[cfg(target_arch = "wasm32")]
use crate::raw::host::clock as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::clock as host;

/// Microseconds since 1970 UTC. The same throughout one call.
pub fn now_us() -> u64 {
    host::now()
}
