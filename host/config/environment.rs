//! What the environment says of proxies, in the variables that curl reads. Key function:
//! [`proxies`].

use secrecy::SecretString;

use super::Problem;
use super::check::PROXY_HINT;
use crate::proxy::{self, Proxies, Settings};

/// The proxies that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name, in upper or lower
/// case; upper case goes first.
///
/// # Errors
/// Which variable is wrong, and how. Never what it holds: a password may be in it.
pub fn proxies() -> Result<Proxies, Problem> {
    Ok(Proxies::new(&Settings {
        https: address("HTTPS_PROXY")?,
        http: address("HTTP_PROXY")?,
        all: address("ALL_PROXY")?,
        no: variable("NO_PROXY").map(|(_, text)| text).unwrap_or_default(),
    }))
}

fn address(name: &str) -> Result<Option<SecretString>, Problem> {
    let Some((name, text)) = variable(name) else { return Ok(None) };
    proxy::address(&text).map(Some).map_err(|error| Problem {
        file: "the environment".to_owned(),
        key: name,
        what: error.to_string(),
        hint: PROXY_HINT.to_owned(),
    })
}

/// A variable that is set and not empty, with the name it was found by.
fn variable(name: &str) -> Option<(String, String)> {
    [name.to_owned(), name.to_ascii_lowercase()].into_iter().find_map(|name| {
        let text = std::env::var(&name).ok()?;
        (!text.trim().is_empty()).then_some((name, text))
    })
}
