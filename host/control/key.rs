//! The secret by which a host knows those who may ask it to do something: a file that only its user
//! can read, made anew with each start. Key type: [`Key`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

/// Its file in the data directory.
const FILE: &str = "control.key";
/// How many random bytes it is made of.
const BYTES: usize = 32;

/// The secret of a host, and its file, which goes with it.
pub struct Key {
    secret: SecretString,
    path: PathBuf,
}

impl Key {
    /// Makes one; its file is yet to be written.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn make(data_dir: &Path) -> io::Result<Key> {
        let mut bytes = [0; BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Key { secret: SecretString::from(text), path: data_dir.join(FILE) })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes its file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> io::Result<()> {
        let part = self.path.with_extension("part");
        // One that was left by a host that was killed may be anybody's to read.
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(format!("{}\n", self.secret.expose_secret()).as_bytes())?;
        std::fs::rename(&part, &self.path)
    }

    /// Whether somebody has it. Takes as long whatever it is that they have.
    pub(super) fn is(&self, text: &str) -> bool {
        let secret = self.secret.expose_secret().as_bytes();
        aws_lc_rs::constant_time::verify_slices_are_equal(secret, text.as_bytes()).is_ok()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "control.key was not there");
        }
    }
}

/// Reads the secret of the host that keeps its things in a directory.
///
/// # Errors
/// When it cannot be read; where it lies stands in the error.
pub fn read_key(data_dir: &Path) -> io::Result<SecretString> {
    let path = data_dir.join(FILE);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(1 << 10).read_to_string(&mut text));
    read.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
    })?;
    Ok(SecretString::from(text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_for_one_user_and_goes_with_its_host() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let key = Key::make(dir.path()).unwrap();
        key.write().unwrap();
        let mode = std::fs::metadata(&key.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = read_key(dir.path()).unwrap();
        assert!(key.is(read.expose_secret()) && !key.is("") && !key.is(&"0".repeat(2 * BYTES)));
        let next = Key::make(dir.path()).unwrap();
        next.write().unwrap();
        assert!(!next.is(read.expose_secret()), "each start has its own");
        drop(next);
        let error = read_key(dir.path()).unwrap_err();
        assert!(error.to_string().contains("control.key"), "{error}");
    }
}
