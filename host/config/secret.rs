//! Secrets: from a variable or a file, never from the configuration itself, never shown. Key
//! function: [`resolve`].

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};

use super::raw::Secret;

/// What is wrong, and the likely fix.
type Wrong = (String, String);

/// Fetches a secret. Files are relative to `dir`; white space around their content is cut off.
pub(super) fn resolve(
    secret: &Secret,
    dir: &Path,
    may_be_plain: bool,
) -> Result<SecretString, Wrong> {
    let text = match secret {
        Secret::Plain(text) if may_be_plain => return Ok(text.clone()),
        Secret::Plain(_) => {
            let what = "a secret cannot stand in the configuration".to_owned();
            return Err((what, "write { env = \"NAME\" } or { file = \"PATH\" }".to_owned()));
        }
        Secret::Env(from) => std::env::var(&from.env).map_err(|_| {
            let what = format!("the environment variable {:?} is not set", from.env);
            (what, format!("export {}=… before starting", from.env))
        })?,
        Secret::File(from) => {
            let path = dir.join(&from.file);
            std::fs::read_to_string(&path).map_err(|error| {
                let what = format!("cannot read the secret in {}: {error}", path.display());
                (what, "the file holds the secret and nothing else".to_owned())
            })?
        }
    };
    match text.trim() {
        "" => Err(("the secret is empty".to_owned(), String::new())),
        text => Ok(SecretString::from(text)),
    }
}

/// Fetches a secret that a command line names by its variable.
///
/// # Errors
/// What is wrong, with a hint.
pub fn secret_of_variable(name: &str) -> Result<SecretString, String> {
    let secret = Secret::Env(super::raw::SecretEnv { env: name.to_owned() });
    resolve(&secret, Path::new(""), false).map_err(|(what, hint)| match &*hint {
        "" => what,
        hint => format!("{what}\nhint: {hint}"),
    })
}

/// Whether two secrets are the same.
pub(super) fn same_secret(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
