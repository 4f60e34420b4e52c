//! The bearer token of a source: got once for all of its streams, got anew when it is refused. Key
//! type: [`Tokens`].

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::config::Access;

/// What a token request may take.
const TIME: Duration = Duration::from_secs(30);
/// Largest answer of a token endpoint.
const MAX_ANSWER: usize = 1 << 20;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("token endpoint: {0}")]
    Unreachable(String),
    #[error("token endpoint: status {status}: {body}")]
    Refused { status: u16, body: String },
    #[error("token endpoint: the answer holds no access_token: {0}")]
    Odd(String),
}

/// The token of a source.
pub(super) struct Tokens {
    access: Access,
    client: reqwest::Client,
    /// Held while a token is got, so that several streams ask once.
    current: Mutex<Option<Arc<SecretString>>>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
}

impl Tokens {
    pub fn new(access: Access, tls: &rustls::ClientConfig) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIME)
            .user_agent(concat!("trommel/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Tokens { access, client, current: Mutex::new(None) })
    }

    /// The token, got if there is none.
    pub async fn get(&self) -> Result<Arc<SecretString>, TokenError> {
        let mut current = self.current.lock().await;
        if let Some(token) = &*current {
            return Ok(Arc::clone(token));
        }
        let token = Arc::new(self.fetch().await?);
        *current = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Notes that a token was refused. Another that was got meanwhile stays.
    pub async fn refuse(&self, token: &Arc<SecretString>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, token)) {
            *current = None;
        }
    }

    async fn fetch(&self) -> Result<SecretString, TokenError> {
        let (id, secret, endpoint) = match &self.access {
            Access::Token(token) => return Ok(token.clone()),
            Access::Client { id, secret, endpoint } => (id, secret, endpoint),
        };
        let unreachable = |error: reqwest::Error| TokenError::Unreachable(causes(&error));
        let mut response = self
            .client
            .post(endpoint.clone())
            .basic_auth(id.expose_secret(), Some(secret.expose_secret()))
            .form(&[("grant_type", "client_credentials")])
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            if body.len() + part.len() > MAX_ANSWER {
                return Err(TokenError::Odd("it is larger than 1 MiB".to_owned()));
            }
            body.extend_from_slice(&part);
        }
        if !status.is_success() {
            return Err(TokenError::Refused { status: status.as_u16(), body: excerpt(&body) });
        }
        let answer: Answer = serde_json::from_slice(&body)
            // Not the body: half of a token may be in it.
            .map_err(|error| {
                TokenError::Odd(format!("{:?} at column {}", error.classify(), error.column()))
            })?;
        Ok(answer.access_token)
    }
}

/// The beginning of what a server said, on one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// An error with its causes on one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
