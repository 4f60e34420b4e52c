//! The bearer token of a source: got once for all of its streams, renewed before it expires, got anew
//! when it is refused. No secret is ever logged. Key types: [`Tokens`], [`Token`], [`TokenError`].

mod answer;
mod endpoint;
mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::backoff::{Backoff, Class};
use crate::config::{Access, CentralConfig};
use answer::Granted;
use endpoint::Endpoint;

pub(super) use crate::excerpt::{causes, excerpt};

/// Waits between tokens that are refused one after the other, and between renewals that fail.
const LEAST_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(300);
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
    /// Held while a token is got, so that several streams ask once.
    current: Mutex<Current>,
}

/// Where tokens come from.
enum From {
    Given(SecretString),
    File(PathBuf),
    Endpoint(Box<Endpoint>),
}

struct Current {
    token: Option<Token>,
    /// Whether a server has taken the token.
    is_accepted: bool,
    /// Tokens that were refused one after the other, none accepted between them.
    refused: u32,
    backoff: Backoff,
    /// Not before then is another one asked for.
    not_before: Option<Instant>,
    /// The last failure to get one, and when.
    failed: Option<(Instant, TokenError)>,
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
        let current = Current {
            token: None,
            is_accepted: false,
            refused: 0,
            backoff: Backoff::new(LEAST_WAIT, MOST_WAIT),
            not_before: None,
            failed: None,
        };
        Tokens { source: name.to_owned(), from, current: Mutex::new(current) }
    }

    /// The token to connect with: the one at hand, or another where that is due to be renewed, was
    /// refused, or stands in a file that has changed. To be called before each connection, and when
    /// [`Token::renew_at`] has come. While one is asked for, all who call wait for its answer.
    ///
    /// # Errors
    /// When there is no token that could be used. A renewal that fails is none as long as the token
    /// at hand has not expired.
    pub async fn get(&self) -> Result<Token, TokenError> {
        let called = Instant::now();
        let mut current = self.current.lock().await;
        match &self.from {
            From::Given(secret) => Ok(current.given(secret)),
            From::File(path) => current.of_file(&self.source, path).await,
            From::Endpoint(endpoint) => current.of_endpoint(&self.source, endpoint, called).await,
        }
    }

    /// Notes that a server took a token.
    pub async fn accept(&self, token: &Token) {
        let mut current = self.current.lock().await;
        if current.token.as_ref().is_some_and(|own| own.is(token)) {
            current.is_accepted = true;
            current.refused = 0;
            current.backoff.reset();
            current.not_before = None;
        }
    }

    /// Notes that a server refused a token (status 401), and says what that means. The next
    /// [`Tokens::get`] gets another one: at once, but no faster than backoff allows where token after
    /// token is refused.
    pub async fn refuse(&self, token: &Token) -> Refusal {
        let mut current = self.current.lock().await;
        let now = Instant::now();
        let hint = match &self.from {
            From::Given(_) => {
                "a token that stands in the configuration is never renewed: give a new one, or \
                 client_id and client_secret"
                    .to_owned()
            }
            From::File(path) => format!("put a new token into {}", path.display()),
            From::Endpoint(_) => {
                if current.token.as_ref().is_some_and(|own| own.is(token)) {
                    current.drop_refused(now);
                }
                "tokens are given out, but the server does not take them: are base_url or cluster, \
                 and the workspace of the API client, those of one Central?"
                    .to_owned()
            }
        };
        let is_endless = !matches!(self.from, From::Endpoint(_)) || current.refused > 1;
        if is_endless {
            Refusal { class: Class::NeedsAttention, hint }
        } else {
            let class = Class::Transient { after: Some(Duration::ZERO) };
            Refusal { class, hint: String::new() }
        }
    }
}

impl Current {
    fn given(&mut self, secret: &SecretString) -> Token {
        let granted = || Granted { token: secret.clone(), life: None };
        self.token.get_or_insert_with(|| Token::new(granted(), Instant::now())).clone()
    }

    async fn of_file(&mut self, source: &str, path: &Path) -> Result<Token, TokenError> {
        let granted = file::read(path.to_owned()).await?;
        let now = Instant::now();
        let is_same = self
            .token
            .as_ref()
            .is_some_and(|own| own.secret.expose_secret() == granted.token.expose_secret());
        let fresh = Token::new(granted, now);
        match &mut self.token {
            // The same, and perhaps a little nearer to its end: looked at again after a part of that.
            Some(own) if is_same => {
                if own.is_due(now) {
                    own.renew_at = fresh.renew_at.map(|at| at.max(now + LEAST_WAIT));
                }
                Ok(own.clone())
            }
            own => {
                log_token(source, "token read", &fresh);
                Ok(own.insert(fresh).clone())
            }
        }
    }

    async fn of_endpoint(
        &mut self,
        source: &str,
        endpoint: &Endpoint,
        called: Instant,
    ) -> Result<Token, TokenError> {
        let now = Instant::now();
        if let Some(token) = &self.token
            && !token.is_due(now)
            && !token.has_expired(now)
        {
            return Ok(token.clone());
        }
        // Who waited while another asked in vain need not ask again.
        if let Some((failed, error)) = &self.failed
            && *failed >= called
        {
            return self.make_do(error.clone(), now);
        }
        if let Some(not_before) = self.not_before.filter(|not_before| *not_before > now) {
            let wait = (not_before - now).as_secs() + 1;
            let error = TokenError {
                what: format!("{endpoint}: the server refused the last {} tokens; another is asked for in {wait} s", self.refused),
                hint: "are base_url or cluster, and the workspace of the API client, those of one Central?".to_owned(),
                class: Class::NeedsAttention,
            };
            return Err(error);
        }
        match endpoint.fetch().await {
            Ok(granted) => {
                let token = Token::new(granted, now);
                log_token(source, "token got", &token);
                self.is_accepted = false;
                self.failed = None;
                Ok(self.token.insert(token).clone())
            }
            Err(error) => {
                let now = Instant::now();
                self.failed = Some((now, error.clone()));
                if self.token.as_ref().is_some_and(|token| !token.has_expired(now)) {
                    tracing::warn!(source, hint = error.hint, "token not renewed: {error}");
                }
                self.make_do(error, now)
            }
        }
    }

    /// A renewal has failed: the token at hand will do while it lasts, and another is tried later.
    fn make_do(&mut self, error: TokenError, now: Instant) -> Result<Token, TokenError> {
        let wait = self.backoff.next_wait();
        match &mut self.token {
            Some(token) if !token.has_expired(now) => {
                if token.is_due(now) {
                    let least = match error.class {
                        Class::Transient { after } => after.unwrap_or_default(),
                        Class::NeedsAttention => Duration::ZERO,
                    };
                    token.renew_at = Some(now + wait.max(least));
                }
                Ok(token.clone())
            }
            _ => Err(error),
        }
    }

    /// Lets go of a token that was refused. If it had worked before, its time was up; if not, the
    /// next will hardly be better, and is not asked for in haste.
    fn drop_refused(&mut self, now: Instant) {
        self.token = None;
        if self.is_accepted {
            self.refused = 0;
            return;
        }
        self.refused = self.refused.saturating_add(1);
        if self.refused > 1 {
            self.not_before = Some(now + self.backoff.next_wait());
        }
    }
}

fn log_token(source: &str, what: &str, token: &Token) {
    let life = token.expires.map(|expires| (expires - token.got).as_secs());
    match life {
        Some(life_s) => tracing::info!(source, life_s, "{what}"),
        None => tracing::info!(source, "{what}; nobody says how long it lives"),
    }
}
