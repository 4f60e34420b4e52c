//! Lines in the host's log, marked with the plugin's name.

#[cfg(target_arch = "wasm32")]
use crate::raw::host::log as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::log as host;

pub use crate::raw::host::log::Level;

/// The plugin cannot do its work.
pub fn error(message: &str) {
    host::write(Level::Error, message);
}

/// Something is odd.
pub fn warn(message: &str) {
    host::write(Level::Warn, message);
}

/// Worth a line.
pub fn info(message: &str) {
    host::write(Level::Info, message);
}

/// For the plugin's author.
pub fn debug(message: &str) {
    host::write(Level::Debug, message);
}
