//! The contract of `wit/` as Rust types: the only `bindgen!` of the host. Nothing here is logic.
//!
//! Imports and exports are generated apart, for wasmtime's generator borrows either the parameters
//! of exports (columns cross from the batch without a copy on this side) or nothing at all.

/// What every plugin finds: log, clock, state, metrics.
pub mod imports {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package trommel:host;
            world imported { include trommel:plugin/imports@0.1.0; }
        ",
        world: "trommel:host/imported",
        imports: { default: trappable },
    });
}

/// `http`, which export plugins find besides.
pub mod outward {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package trommel:host;
            world outward { import trommel:plugin/http@0.1.0; }
        ",
        world: "trommel:host/outward",
        imports: { default: async | trappable },
    });
}

/// `lifecycle` and the roles. What an export plugin exports is called asynchronously, and so is
/// `lifecycle`, which all of them have.
pub mod exports {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package trommel:host;
            world exported {
                export trommel:plugin/lifecycle@0.1.0;
                export trommel:plugin/filter@0.1.0;
                export trommel:plugin/transform@0.1.0;
                export trommel:plugin/alert@0.1.0;
                export trommel:plugin/exporter@0.1.0;
            }
        ",
        world: "trommel:host/exported",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: {
            "trommel:plugin/lifecycle.describe": async,
            "trommel:plugin/lifecycle.configure": async,
            "trommel:plugin/exporter.deliver": async,
        },
    });
}
