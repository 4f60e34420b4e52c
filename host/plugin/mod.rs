//! The plugin host: from files in a directory to instances that run batches. The only module that
//! knows wasmtime. Key types: [`Engine`], [`Loader`], [`Version`].

mod bindings;
mod component;
mod convert;
mod engine;
mod files;
mod folder;
mod guest;
mod http;
mod imports;
mod instance;
mod quota;
mod retire;
mod version;
mod wasi;

pub use component::{Compiler, LoadError, MAX_FILE};
pub use engine::Engine;
pub use folder::{Change, Folder, load_file, load_once};
pub use version::{Loader, Version};
