//! From the bytes of a file to a compiled component: core modules become components, and what was
//! compiled is kept on disk. Key types: [`Compiler`], [`LoadError`].

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use wasmtime::component::Component;

use super::engine::Engine;
use crate::runner::Role;

/// Largest plugin file.
pub const MAX_FILE: u64 = 64 << 20;
/// Most bytes of compiled components that are kept.
const MAX_CACHE: u64 = 1 << 30;

/// Why a file cannot serve as a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is too large.
    #[error("has {0} bytes; {1} is the most")]
    TooLarge(u64, u64),
    /// It is something else.
    #[error(
        "is not WebAssembly\nhint: a plugin is a component, or a core module with an embedded component type"
    )]
    NotWasm,
    /// A core module that cannot become a component.
    #[error(
        "is a core module that cannot be made a component: {0}\nhint: build it with bindings generated from wit/"
    )]
    NotAComponent(String),
    /// It does not compile.
    #[error("does not compile: {0}")]
    Compile(String),
    /// It exports no role, or not by this host's version of the contract.
    #[error(
        "exports {found}; a plugin exports lifecycle and one of filter, transform, alert, exporter of trommel:plugin@0.1\nhint: build it against this host's wit/"
    )]
    NoRole {
        /// What it does export.
        found: String,
    },
    /// It exports more than one role.
    #[error("exports the roles {0}; a plugin has one")]
    SeveralRoles(String),
    /// It imports what no plugin gets.
    #[error(
        "cannot be linked: {0}\nhint: plugins get log, clock, state, metrics, export plugins http besides; WASI 0.2 is there but gives nothing"
    )]
    Link(String),
    /// It failed in `describe`.
    #[error("describe failed: {0}")]
    Describe(String),
    /// Its schema is no schema.
    #[error("its config schema is not a JSON Schema: {0}")]
    Schema(String),
    /// Its own file is wrong.
    #[error("{0}")]
    File(String),
    /// The configuration does not fit its schema, or it refused it.
    #[error("refuses its configuration: {0}")]
    Refused(String),
    /// It failed in `configure`.
    #[error("configure failed: {0}")]
    Configure(String),
}

/// Compiles components and keeps them.
#[derive(Debug, Clone)]
pub struct Compiler {
    engine: Arc<Engine>,
    /// Where compiled components are kept; `None` for nowhere.
    cache: Option<PathBuf>,
    /// Distinguishes what other versions or settings of wasmtime compiled.
    compatibility: String,
}

impl Compiler {
    /// A compiler that keeps what it makes in `dir`, which it creates for its user alone. Where that
    /// fails nothing is kept, and the log says so.
    pub fn new(engine: Arc<Engine>, dir: Option<&Path>) -> Self {
        use std::hash::{Hash as _, Hasher as _};
        let mut hasher = std::hash::DefaultHasher::new();
        engine.inner().precompile_compatibility_hash().hash(&mut hasher);
        let compatibility = format!("{:016x}", hasher.finish());
        let cache = dir.and_then(|dir| match private_dir(dir) {
            Ok(()) => Some(dir.to_owned()),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "compiled plugins will not be kept");
                None
            }
        });
        Compiler { engine, cache, compatibility }
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Compiles a plugin file, or takes what was kept of it.
    pub(super) fn compile(&self, bytes: &[u8], sha256: &str) -> Result<Component, LoadError> {
        if let Some(kept) = self.kept(sha256) {
            return Ok(kept);
        }
        self.check_core(bytes)?;
        let encoded = component_bytes(bytes)?;
        let component = Component::from_binary(self.engine.inner(), &encoded)
            .map_err(|e| LoadError::Compile(format!("{e:#}")))?;
        if let Err(error) = self.keep(sha256, &component) {
            tracing::warn!(%error, "a compiled plugin could not be kept");
        }
        Ok(component)
    }

    /// A core module must be valid before it is made a component: what does that takes it for granted.
    fn check_core(&self, bytes: &[u8]) -> Result<(), LoadError> {
        if !bytes.starts_with(CORE_MODULE) {
            return Ok(());
        }
        wasmtime::Module::validate(self.engine.inner(), bytes)
            .map_err(|error| LoadError::Compile(format!("{error:#}")))
    }

    fn path(&self, sha256: &str) -> Option<PathBuf> {
        Some(self.cache.as_ref()?.join(format!("{sha256}-{}.cwasm", self.compatibility)))
    }

    fn kept(&self, sha256: &str) -> Option<Component> {
        let path = self.path(sha256)?;
        let bytes = fs::read(&path).ok()?;
        let (check, compiled) = bytes.split_at_checked(32)?;
        if digest(&SHA256, compiled).as_ref() != check {
            return None;
        }
        #[expect(
            unsafe_code,
            reason = "wasmtime cannot prove that machine code is its own: here it \
            comes from a directory of mode 0700 that only this host writes to, with its digest, \
            under the hash of its source and of the compiler's settings"
        )]
        // SAFETY: as the reason says; wasmtime checks its own version and settings besides.
        let component = unsafe { Component::deserialize(self.engine.inner(), compiled) }.ok()?;
        // For the order in which old ones go.
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(component)
    }

    fn keep(&self, sha256: &str, component: &Component) -> std::io::Result<()> {
        let Some(path) = self.path(sha256) else { return Ok(()) };
        let compiled = component.serialize().map_err(std::io::Error::other)?;
        let part = path.with_extension("part");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(digest(&SHA256, &compiled).as_ref())?;
        file.write_all(&compiled)?;
        fs::rename(&part, &path)?;
        self.evict()
    }

    /// Removes those longest not used until the rest fits.
    fn evict(&self) -> std::io::Result<()> {
        let Some(dir) = &self.cache else { return Ok(()) };
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|file| file.1).sum();
        for (_, size, path) in &files {
            if total <= MAX_CACHE {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }
}

/// Makes a directory for this user alone, or makes sure that it is one.
fn private_dir(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let metadata = fs::symlink_metadata(dir)?;
    if !metadata.is_dir() {
        return Err(std::io::Error::other("it is not a directory"));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The hash of a file, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a core module begins.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A component as it is; a core module made one.
fn component_bytes(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, LoadError> {
    match bytes.get(..8) {
        Some(b"\0asm\x0d\0\x01\0") => Ok(bytes.into()),
        Some(start) if start == CORE_MODULE => {
            let encoded = wit_component::ComponentEncoder::default()
                .module(bytes)
                .and_then(|encoder| encoder.validate(true).encode());
            encoded.map(Into::into).map_err(|e| LoadError::NotAComponent(format!("{e:#}")))
        }
        _ => Err(LoadError::NotWasm),
    }
}

const PACKAGE: &str = "trommel:plugin/";

/// The role of a component, by what it exports.
pub(super) fn role_of(component: &Component) -> Result<Role, LoadError> {
    let has =
        |name: &str| component.get_export_index(None, format!("{PACKAGE}{name}@0.1.0")).is_some();
    let roles: Vec<_> = [
        ("filter", Role::Filter),
        ("transform", Role::Transform),
        ("alert", Role::Alert),
        ("exporter", Role::Export),
    ]
    .into_iter()
    .filter(|(name, _)| has(name))
    .collect();
    match &roles[..] {
        [(_, role)] if has("lifecycle") => Ok(*role),
        [_, _, ..] => {
            let names: Vec<_> = roles.iter().map(|(name, _)| *name).collect();
            Err(LoadError::SeveralRoles(names.join(", ")))
        }
        _ => {
            let ty = component.component_type();
            let names: Vec<_> =
                ty.exports(component.engine()).map(|(name, _)| name.to_owned()).collect();
            let found = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            Err(LoadError::NoRole { found })
        }
    }
}
