//! Requests over HTTP, for plugins that export, and only to hosts that the operator's configuration
//! allows.
//!
//! The host fills in `{secret:NAME}` in URLs and headers, so that no plugin sees a secret. A plugin
//! of another role that calls this does not load: its world has no `http`.

use std::time::Duration;

#[cfg(target_arch = "wasm32")]
use crate::raw::host::http as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::http as host;

pub use crate::raw::host::http::{Body, Failure, Request, Response};

/// Sends a request and waits for the whole response, of whatever status.
///
/// # Errors
/// [`Failure`] tells whether it may work later.
pub fn send(request: &Request) -> Result<Response, Failure> {
    host::send(request)
}

impl Request {
    /// A request without header fields and body.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Body::Text(String::new()),
            timeout: 0,
        }
    }

    /// With one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a text to send.
    #[must_use]
    pub fn with_body(mut self, text: impl Into<String>) -> Self {
        self.body = Body::Text(text.into());
        self
    }

    /// With a time it may take in all, in place of the host's.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        self
    }
}

impl Response {
    /// Whether the status is one of success.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header field of a name, in whatever case it is written.
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }

    /// The body; empty if it is not text.
    pub fn text(&self) -> &str {
        match &self.body {
            Body::Text(text) => text,
            Body::Bytes(_) => "",
        }
    }
}
