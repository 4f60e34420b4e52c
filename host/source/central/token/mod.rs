//! The bearer token of a source: got once for all of its streams, renewed before it expires, got anew
//! when it is refused. No secret is ever logged. Key types: [`Tokens`], [`Token`], [`TokenError`].

mod answer;
mod current;
mod endpoint;
mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use crate::backoff::Class;
use crate::config::{Access, CentralConfig};
use answer::Granted;
use current::{Current, Next};
use endpoint::Endpoint;

use crate::excerpt::excerpt;

/// Of a token's life, how much goes by before it is renewed.
const RENEW_AT: f64 = 0.8;

/// A bearer token.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// The token itself. Always fit for a header field.
    pub secret: Arc<SecretString>,
    /// When it was got.
    pub got: Instant,
    /// When it ends; `None` where nobody said so.
    pub expires: Option<Instant>,
    /// When [`Tokens::get`] looks for another one. What it gives back then may be the same token with
    /// a later time, where there is no other yet: [`Token::is`] tells.
    pub renew_at: Option<Instant>,
}

impl Token {
    /// Whether both are one token.
    pub fn is(&self, other: &Token) -> bool {
        Arc::ptr_eq(&self.secret, &other.secret)
    }

    fn new(granted: Granted, got: Instant) -> Self {
        let life = granted.life;
        let expires = life.and_then(|life| got.checked_add(life));
        let renew_at = life.and_then(|life| got.checked_add(life.mul_f64(RENEW_AT)));
        Token { secret: Arc::new(granted.token), got, expires, renew_at }
    }

    /// Whether there is no reason to look for another.
    fn is_good(&self, now: Instant) -> bool {
        !self.is_due(now) && !self.has_expired(now)
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.renew_at.is_some_and(|renew_at| renew_at <= now)
    }
}

/// Why there is no token. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(super) struct TokenError {
    /// Where, and what went wrong.
    pub what: String,
    /// The likely fix; empty where none is known.
    pub hint: String,
    /// Whether it may pass by itself.
    pub class: Class,
}

impl TokenError {
    /// How long the other side wants to be left alone, if it said so.
    fn after(&self) -> Option<Duration> {
        match self.class {
            Class::Transient { after } => after,
            Class::NeedsAttention => None,
        }
    }
}

/// What it means that a server refused a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `Transient` with `after` zero: the next [`Tokens::get`] brings another token at once.
    pub class: Class,
    /// What to do; empty where another token will do.
    pub hint: String,
}

/// The tokens of a source.
pub(super) struct Tokens {
    source: String,
    from: From,
    /// Held while a token is asked for, so that several streams ask once.
    asking: tokio::sync::Mutex<()>,
    /// Never held while anything is waited for.
    current: Mutex<Current>,
}

/// Where tokens come from.
enum From {
    Given(SecretString),
    File(PathBuf),
    Endpoint(Box<Endpoint>),
}

impl Tokens {
    /// The tokens of the source `name`. Nothing is asked for yet.
    pub fn new(name: &str, config: &CentralConfig, tls: Arc<rustls::ClientConfig>) -> Self {
        let from = match &config.access {
            Access::Token(token) => From::Given(token.clone()),
            Access::File(path) => From::File(path.clone()),
            Access::Client { id, secret, endpoint, credentials_in } => {
                let credentials = (id.clone(), secret.clone());
                let proxies = config.proxies.clone();
                let endpoint =
                    Endpoint::new(endpoint.clone(), credentials, *credentials_in, proxies, tls);
                From::Endpoint(Box::new(endpoint))
            }
        };
        let current = Mutex::new(Current::default());
        Tokens { source: name.to_owned(), from, asking: tokio::sync::Mutex::new(()), current }
    }

    /// The token to connect with: the one at hand, or another where that is due to be renewed, was
    /// refused, or stands in a file that has changed. To be called before each connection, and when
    /// [`Token::renew_at`] has come. While one is asked for, those who need it wait for its answer.
    ///
    /// # Errors
    /// When there is no token that could be used. A renewal that fails is none as long as the token
    /// at hand is good.
    pub async fn get(&self) -> Result<Token, TokenError> {
        match &self.from {
            From::Given(secret) => {
                let granted = || Granted { token: secret.clone(), life: None };
                Ok(self.current().keep(granted, Instant::now()))
            }
            From::File(path) => self.of_file(path).await,
            From::Endpoint(endpoint) => self.of_endpoint(endpoint).await,
        }
    }

    async fn of_file(&self, path: &Path) -> Result<Token, TokenError> {
        let granted = file::read(path.to_owned()).await?;
        let (token, is_new) = self.current().read(granted, Instant::now());
        if is_new {
            log_token(&self.source, "token read", &token);
        }
        Ok(token)
    }

    async fn of_endpoint(&self, endpoint: &Endpoint) -> Result<Token, TokenError> {
        let called = Instant::now();
        if let Next::Use(token) = self.current().next(called, called) {
            return Ok(token);
        }
        let _asking = self.asking.lock().await;
        // Another may have got one meanwhile, or asked in vain.
        match self.current().next(called, Instant::now()) {
            Next::Use(token) => return Ok(token),
            Next::Fail(error) => return Err(error),
            Next::Ask => {}
        }
        match endpoint.fetch().await {
            Ok(granted) => {
                let token = self.current().granted(granted, Instant::now());
                log_token(&self.source, "token got", &token);
                Ok(token)
            }
            Err(error) => {
                let kept = self.current().failed(error.clone(), Instant::now());
                if kept.is_ok() {
                    let (source, hint) = (&self.source, &error.hint);
                    tracing::warn!(
                        source,
                        hint,
                        "token not renewed, the old one still in use: {error}"
                    );
                }
                kept
            }
        }
    }

    /// Notes that a server took a token.
    pub fn accept(&self, token: &Token) {
        self.current().accept(token);
    }

    /// Notes that a server refused a token (status 401), and says what that means. The next
    /// [`Tokens::get`] gets another one: at once, but no faster than backoff allows where token after
    /// token is refused; until then it gives the refused one, which other streams may have use for.
    pub fn refuse(&self, token: &Token) -> Refusal {
        let hint = match &self.from {
            From::Given(_) => {
                "a token that stands in the configuration is never renewed: give a new one, or \
                 client_id and client_secret"
                    .to_owned()
            }
            From::File(path) => format!("put a new token into {}", path.display()),
            From::Endpoint(_) => {
                let is_first = self.current().refuse(token, Instant::now());
                if is_first {
                    let class = Class::Transient { after: Some(Duration::ZERO) };
                    return Refusal { class, hint: String::new() };
                }
                "tokens are given out, but the server does not take them: are base_url or cluster, \
                 and the workspace of the API client, those of one Central?"
                    .to_owned()
            }
        };
        Refusal { class: Class::NeedsAttention, hint }
    }

    /// Nothing here leaves it half changed, so a panic elsewhere does not spoil it.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_token(source: &str, what: &str, token: &Token) {
    let life = token.expires.map(|expires| (expires - token.got).as_secs());
    match life {
        Some(life_s) => tracing::info!(source, life_s, "{what}"),
        None => tracing::info!(source, "{what}; nobody says how long it lives"),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[tokio::test]
    async fn a_file_is_looked_at_each_time_and_its_token_stays_one_while_it_is_the_same() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("token");
        let tokens = Tokens {
            source: "t".to_owned(),
            from: From::File(path.clone()),
            asking: tokio::sync::Mutex::new(()),
            current: Mutex::default(),
        };
        assert!(tokens.get().await.unwrap_err().hint.contains("made by"));
        std::fs::write(&path, "one\n").unwrap();
        let one = tokens.get().await.unwrap();
        assert!(tokens.get().await.unwrap().is(&one));
        let refusal = tokens.refuse(&one);
        assert_eq!(refusal.class, Class::NeedsAttention);
        assert!(refusal.hint.contains("put a new token into"), "{}", refusal.hint);
        std::fs::write(&path, "{\"access_token\":\"two\",\"expires_in\":100}").unwrap();
        let two = tokens.get().await.unwrap();
        assert!(!two.is(&one) && two.renew_at.is_some());
        assert_eq!(two.secret.expose_secret(), "two");
    }
}
