//! JSON pointers (RFC 6901) into JSON text: `/site/name`, `/ports/0`; `~1` stands for `/` in a
//! name, `~0` for `~`, and the empty pointer for the whole. Where a name occurs twice the last one
//! counts, as for serde_json.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::json;

/// Finds the value that a pointer points to, as it stands in the text. Only what lies around the
/// path is looked at: several times cheaper than making a value of the whole.
///
/// ```
/// use trommel_plugin::pointer;
/// let data = r#"{"site": {"name": "north", "aps": [1, 2.0]}}"#;
/// assert_eq!(pointer::find(data, "/site/name"), Some("\"north\""));
/// assert_eq!(pointer::find(data, "/site/aps/1"), Some("2.0"));
/// assert_eq!(pointer::find(data, "/site/id"), None);
/// ```
pub fn find<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
    Pointer::parse(pointer).ok()?.find(text)
}

/// A pointer, read once for many texts. Reads from configuration with serde.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// If it is neither empty nor begins with `/`, or has a `~` that is not `~0` or `~1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return match text {
                "" => Ok(Self { tokens: Vec::new() }),
                _ => Err(format!("\"{text}\" is not a JSON pointer: it must begin with /")),
            };
        };
        if path.replace("~0", "").replace("~1", "").contains('~') {
            return Err(format!("\"{text}\" is not a JSON pointer: ~ must be written ~0"));
        }
        let tokens = path.split('/').map(|token| token.replace("~1", "/").replace("~0", "~"));
        Ok(Self { tokens: tokens.collect() })
    }

    /// The names on the path, escapes undone.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The value it points to in a text, if there is one.
    pub fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.tokens.iter().try_fold(json::value(text)?, |value, token| step(value, token))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The place of an array's element: digits without leading zeros.
pub fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with('0');
    let digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    if plain && digits { token.parse().ok() } else { None }
}

fn step<'a>(value: &'a str, token: &str) -> Option<&'a str> {
    if let Some(members) = json::members(value) {
        let mut found = None;
        for member in members {
            let (key, value) = member.ok()?;
            if key.is(token) {
                found = Some(value);
            }
        }
        found
    } else {
        json::elements(value)?.nth(index(token)?)?.ok()
    }
}

#[cfg(test)]
#[path = "pointer_tests.rs"]
mod tests;
