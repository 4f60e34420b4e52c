//! The bindings as generated from `wit/`, one module per role; nothing is written by hand here.
//!
//! For those who must go below the SDK's function per event. What several worlds share (`types` and what the host
//! offers) is generated once, with the world that has all of it, and the others use it from there.
//! Only a macro call in the plugin's own crate ties it to a world: linking this crate exports nothing.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the documentation is in wit/"
)]

/// The world `export-plugin`, and what all worlds share.
pub mod export {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "export-plugin",
        pub_export_macro: true,
    });
}

/// The columns, faults and flags that pass between host and plugin.
pub use export::trommel::plugin::types;

/// What the host offers: `log`, `clock`, `state`, `metrics`, `http`.
pub mod host {
    pub use super::export::trommel::plugin::{clock, http, log, metrics, state};
}

/// The world `filter-plugin`.
pub mod filter {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "filter-plugin",
        pub_export_macro: true,
        with: {
            "trommel:plugin/types@0.1.0": crate::raw::types,
            "trommel:plugin/log@0.1.0": crate::raw::host::log,
            "trommel:plugin/clock@0.1.0": crate::raw::host::clock,
            "trommel:plugin/state@0.1.0": crate::raw::host::state,
            "trommel:plugin/metrics@0.1.0": crate::raw::host::metrics,
        },
    });
}

/// The world `transform-plugin`.
pub mod transform {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "transform-plugin",
        pub_export_macro: true,
        with: {
            "trommel:plugin/types@0.1.0": crate::raw::types,
            "trommel:plugin/log@0.1.0": crate::raw::host::log,
            "trommel:plugin/clock@0.1.0": crate::raw::host::clock,
            "trommel:plugin/state@0.1.0": crate::raw::host::state,
            "trommel:plugin/metrics@0.1.0": crate::raw::host::metrics,
        },
    });
}

/// The world `alert-plugin`.
pub mod alert {
    wit_bindgen::generate!({
        path: "../../../wit",
        world: "alert-plugin",
        pub_export_macro: true,
        with: {
            "trommel:plugin/types@0.1.0": crate::raw::types,
            "trommel:plugin/log@0.1.0": crate::raw::host::log,
            "trommel:plugin/clock@0.1.0": crate::raw::host::clock,
            "trommel:plugin/state@0.1.0": crate::raw::host::state,
            "trommel:plugin/metrics@0.1.0": crate::raw::host::metrics,
        },
    });
}
