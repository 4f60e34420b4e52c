//! Figures for the host's metrics, marked with the plugin's name. Not part of the plugin's state: a
//! call that fails may have counted.

#[cfg(target_arch = "wasm32")]
use crate::raw::host::metrics as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::metrics as host;

/// Adds to a counter.
pub fn count(name: &str, by: u32) {
    host::count(name, by);
}

/// Sets a gauge.
pub fn gauge(name: &str, value: f64) {
    host::gauge(name, value);
}
