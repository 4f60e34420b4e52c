//! What lies in the plugin directory: names, and whether a file has changed since. Reads nothing but
//! metadata, until a file is to be loaded. Key types: [`Listing`], [`Files`].

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::{fs, io};

use super::component::{LoadError, MAX_FILE};
use crate::config::PluginFile;

/// Largest `NAME.toml`.
pub(super) const MAX_TOML: u64 = 1 << 20;

/// The plugins of a directory, by name.
pub(super) type Listing = BTreeMap<String, Files>;

/// The files of one plugin, by what tells that they changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Files {
    /// `NAME.wasm`
    pub wasm: Option<Stamp>,
    /// `NAME.toml`
    pub toml: Option<Stamp>,
}

impl Files {
    /// Whether one of them is empty, as a file is that is about to be written: truncating it, or making it,
    /// can take the disk a while, in which nobody tells of it.
    pub(super) fn is_begun(&self) -> bool {
        let is_empty = |stamp: &Stamp| stamp.size == 0 && stamp.inode != 0;
        [&self.wasm, &self.toml].into_iter().flatten().any(is_empty)
    }
}

/// Changes whenever a file does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Option<Stamp>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Stamp::from(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(metadata: &fs::Metadata) -> Self {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Lists the plugins of a directory: every `NAME.wasm`, with its `NAME.toml` if it has one. Names
/// that begin with a dot are passed over, as editors and copying tools use them for drafts.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = plugin_name(&path) else { continue };
        let wasm = match Stamp::of(&path) {
            // A link that leads nowhere, or a directory that cannot be entered: loading will say so.
            Err(_) => {
                Some(Stamp { device: 0, inode: 0, size: 0, modified: (0, 0), changed: (0, 0) })
            }
            Ok(stamp) => stamp,
        };
        // Gone between listing and looking: as if it had not been there.
        if wasm.is_none() && !path.is_symlink() {
            continue;
        }
        let toml = Stamp::of(&path.with_extension("toml")).unwrap_or(None);
        listing.insert(name, Files { wasm, toml });
    }
    Ok(listing)
}

fn plugin_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".wasm").filter(|stem| !stem.is_empty())?;
    (!stem.starts_with('.')).then(|| stem.to_owned())
}

/// What was read of a plugin's files.
pub(super) struct Content {
    pub wasm: Vec<u8>,
    pub file: PluginFile,
}

/// Reads the files of a plugin. `None` when they changed meanwhile and are to be looked at again.
///
/// # Errors
/// What is wrong with them.
pub(super) fn read(
    dir: &Path,
    name: &str,
    expected: &Files,
) -> Result<Option<Content>, (LoadError, Vec<u8>)> {
    let path = dir.join(format!("{name}.wasm"));
    let wasm = read_capped(&path, MAX_FILE).map_err(|e| (e, Vec::new()))?;
    let toml_path = path.with_extension("toml");
    let toml = match &expected.toml {
        None => String::new(),
        Some(_) => {
            let bytes = read_capped(&toml_path, MAX_TOML).map_err(|e| {
                (LoadError::File(format!("{}: {e}", toml_path.display())), wasm.clone())
            })?;
            String::from_utf8(bytes).map_err(|_| {
                (LoadError::File(format!("{}: not UTF-8", toml_path.display())), wasm.clone())
            })?
        }
    };
    let now = |path: &Path| Stamp::of(path).unwrap_or(None);
    if now(&path) != expected.wasm || now(&toml_path) != expected.toml {
        return Ok(None);
    }
    match PluginFile::parse(&toml, &toml_path) {
        Ok(file) => Ok(Some(Content { wasm, file })),
        Err(error) => Err((LoadError::File(error.to_string()), wasm)),
    }
}

/// Reads a file, or what a link leads to, up to a limit, whatever its size is said to be.
pub(super) fn read_capped(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let unreadable = |error: io::Error| LoadError::Unreadable(error.to_string());
    let check = |metadata: &fs::Metadata| match metadata.is_file() {
        false => Err(LoadError::Unreadable("it is not a file".to_owned())),
        true if metadata.len() > limit => Err(LoadError::TooLarge(metadata.len(), limit)),
        true => Ok(()),
    };
    check(&fs::metadata(path).map_err(unreadable)?)?;
    // What took its place meanwhile may be a pipe, and opening one waits for whoever writes to it.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    check(&metadata)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(LoadError::TooLarge(metadata.len().max(limit + 1), limit));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_plugins_and_sees_changes() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["10-a.wasm", "10-a.toml", ".hidden.wasm", "readme.md", "b.toml", ".wasm"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let before = list(dir.path()).unwrap();
        assert_eq!(before.keys().collect::<Vec<_>>(), ["10-a"]);
        assert!(before["10-a"].toml.is_some());
        assert_eq!(list(dir.path()).unwrap(), before);
        fs::write(dir.path().join("10-a.toml"), "# longer than before").unwrap();
        assert_ne!(list(dir.path()).unwrap(), before);
        assert!(!before["10-a"].is_begun());
        for name in ["10-a.toml", "10-a.wasm"] {
            fs::write(dir.path().join(name), "").unwrap();
            assert!(list(dir.path()).unwrap()["10-a"].is_begun(), "{name}");
            fs::write(dir.path().join(name), "# no longer").unwrap();
        }
        assert!(read(dir.path(), "10-a", &before["10-a"]).is_ok_and(|read| read.is_none()));
    }
}
