//! The bindings as generated from `wit/`; nothing is written by hand here.
//!
//! For those who must go below the SDK's function per event. Each world of the contract exports
//! `lifecycle` and one role. Here it is cut in two, so that `lifecycle`, the types and what the
//! host offers exist once: a plugin ties itself to [`base`] and to its role by calling both
//! `export!` macros (the macros of the SDK do it). Linking this crate alone exports nothing, and
//! what a plugin does not call it does not import.

#![allow(
    missing_docs,
    unsafe_code,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the documentation is in wit/"
)]

/// What all roles share: `lifecycle`, the types, and what the host offers.
pub mod base {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package trommel:sdk;
            world base {
                include trommel:plugin/imports@0.1.0;
                import trommel:plugin/http@0.1.0;
                export trommel:plugin/lifecycle@0.1.0;
            }
        ",
        world: "trommel:sdk/base",
        generate_all,
        pub_export_macro: true,
    });
}

pub use base::exports::trommel::plugin::lifecycle;
pub use base::trommel::plugin::types;

/// What the host offers: `log`, `clock`, `state`, `metrics`, `http`.
pub mod host {
    pub use super::base::trommel::plugin::{clock, http, log, metrics, state};
}

/// The role `filter`.
pub mod filter {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "package trommel:sdk; world filter-role { export trommel:plugin/filter@0.1.0; }",
        world: "trommel:sdk/filter-role",
        with: { "trommel:plugin/types@0.1.0": crate::raw::types },
        pub_export_macro: true,
    });
}

/// The role `transform`.
pub mod transform {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package trommel:sdk;
            world transform-role { export trommel:plugin/transform@0.1.0; }
        ",
        world: "trommel:sdk/transform-role",
        with: { "trommel:plugin/types@0.1.0": crate::raw::types },
        pub_export_macro: true,
    });
}

/// The role `alert`.
pub mod alert {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "package trommel:sdk; world alert-role { export trommel:plugin/alert@0.1.0; }",
        world: "trommel:sdk/alert-role",
        with: { "trommel:plugin/types@0.1.0": crate::raw::types },
        pub_export_macro: true,
    });
}

/// The role `exporter`.
pub mod export {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "package trommel:sdk; world export-role { export trommel:plugin/exporter@0.1.0; }",
        world: "trommel:sdk/export-role",
        with: { "trommel:plugin/types@0.1.0": crate::raw::types },
        pub_export_macro: true,
    });
}
