//! Why there is no connection, told apart by what is to be done: try again soon, or tell somebody and
//! try again slowly. Key type: [`Failure`].

use std::fmt;
use std::time::SystemTime;

use super::token::TokenError;
use crate::backoff::{self, Class};
use crate::dial::DialError;

/// A try to connect that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it wants.
    pub class: Class,
    /// What happened, with what the server said.
    pub detail: String,
    /// What to do about it; empty where nothing can be said.
    pub hint: String,
    /// The HTTP status of the handshake, if there was an answer.
    pub status: Option<u16>,
}

impl Failure {
    /// One that passes by itself.
    pub fn passing(detail: impl Into<String>) -> Self {
        Failure {
            class: Class::Transient { after: None },
            detail: detail.into(),
            hint: String::new(),
            status: None,
        }
    }

    /// One that somebody must see to.
    pub fn needs_attention(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { class: Class::NeedsAttention, hint: hint.into(), ..Failure::passing(detail) }
    }

    /// The server refused the handshake. `body` is the beginning of what it said, `retry_after` the
    /// header of that name.
    pub fn refused(status: u16, body: &str, retry_after: Option<&str>) -> Self {
        let detail = match body {
            "" => format!("the server answered {status}"),
            body => format!("the server answered {status}: {body}"),
        };
        let hint = match status {
            400 => HINT_400,
            403 => HINT_403,
            404 => HINT_404,
            429 => "fewer connections, or other clients of the same credentials?",
            300..=399 => "redirects are not followed: is base_url right?",
            401 | 408 | 425 | 500.. => "",
            _ => "is base_url that of a Central cluster?",
        };
        let after = retry_after.and_then(|value| backoff::retry_after(value, SystemTime::now()));
        let class = Class::of_status(status, after);
        Failure { class, detail, hint: hint.to_owned(), status: Some(status) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.hint {
            "" => f.write_str(&self.detail),
            hint => write!(f, "{} (hint: {hint})", self.detail),
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        let detail = error.to_string();
        Failure { class: error.class, detail, hint: error.hint, status: None }
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let detail = format!("no token: {error}");
        Failure { class: error.class, detail, hint: error.hint, status: None }
    }
}

const HINT_400: &str =
    "is every value of event_types one that this stream knows, and the path that of a stream?";
const HINT_403: &str = "streaming needs devices with an Advanced licence, and credentials of the \
                        present kind: create a new API client if this one is old";
const HINT_404: &str = "does this cluster have the stream? see streams and cluster";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        let transient = Class::Transient { after: None };
        for (status, class) in [
            (400, Class::NeedsAttention),
            (403, Class::NeedsAttention),
            (404, Class::NeedsAttention),
            (302, Class::NeedsAttention),
            (200, Class::NeedsAttention),
            (429, transient),
            (500, transient),
            (503, transient),
        ] {
            let failure = Failure::refused(status, "no", None);
            assert_eq!(failure.class, class, "{status}");
            assert_eq!(failure.detail, format!("the server answered {status}: no"));
            assert_eq!(failure.hint.is_empty(), status >= 500, "{status}");
        }
        let after = Some(Duration::from_secs(7));
        assert_eq!(Failure::refused(429, "", Some("7")).class, Class::Transient { after });
    }
}
