//! Asks a token endpoint for a token (OAuth2 client credentials, RFC 6749 §4.4) and says what its
//! answer means. Key type: [`Endpoint`].

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio_rustls::TlsConnector;
use url::Url;

use super::answer::{self, Granted};
use super::{TokenError, excerpt};
use crate::backoff::{Class, retry_after};
use crate::config::CredentialsIn;
use crate::dial::{Answer, Limits, dial, exchange};
use crate::proxy::Proxies;

/// What a token request may take, the way there included.
const TIME: Duration = Duration::from_secs(30);
/// Largest answer of a token endpoint.
const MAX_ANSWER: usize = 1 << 20;

/// A token endpoint, and who asks it.
pub(super) struct Endpoint {
    url: Url,
    id: SecretString,
    secret: SecretString,
    credentials_in: CredentialsIn,
    proxies: Proxies,
    tls: TlsConnector,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token endpoint {}", self.url.host_str().unwrap_or_default())
    }
}

impl Endpoint {
    pub fn new(
        url: Url,
        (id, secret): (SecretString, SecretString),
        credentials_in: CredentialsIn,
        proxies: Proxies,
        tls: Arc<rustls::ClientConfig>,
    ) -> Self {
        Endpoint { url, id, secret, credentials_in, proxies, tls: TlsConnector::from(tls) }
    }

    /// Asks for a token.
    pub async fn fetch(&self) -> Result<Granted, TokenError> {
        let fetched = tokio::time::timeout(TIME, self.try_fetch()).await;
        fetched.unwrap_or_else(|_| {
            Err(self.transient(
                format!("no answer within {TIME:?}"),
                "it is slow, or something between swallows the answer; it is tried again",
            ))
        })
    }

    async fn try_fetch(&self) -> Result<Granted, TokenError> {
        let connection = dial(&self.url, &self.proxies, &self.tls, &Limits::default())
            .await
            .map_err(|error| TokenError {
                what: format!("{self}: {error}"),
                hint: error.hint.clone(),
                class: error.class,
            })?;
        let request = self.request().map_err(|error| self.transient(error.to_string(), ""))?;
        let answer = exchange(connection, request, MAX_ANSWER).await;
        let broken = "is token_endpoint right? something between may also cut connections";
        self.judge(answer.map_err(|error| self.transient(error.to_string(), broken))?)
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let host = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(header::HOST, host)
            .header(header::USER_AGENT, crate::USER_AGENT)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        match self.credentials_in {
            CredentialsIn::Header => {
                request = request.header(header::AUTHORIZATION, self.basic()?);
            }
            CredentialsIn::Body => {
                form.append_pair("client_id", self.id.expose_secret());
                form.append_pair("client_secret", self.secret.expose_secret());
            }
        }
        request.body(Full::from(form.finish()))
    }

    fn basic(&self) -> Result<HeaderValue, hyper::http::Error> {
        let pair = format!("{}:{}", self.id.expose_secret(), self.secret.expose_secret());
        let pair = Zeroizing::new(pair);
        let basic = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(&*pair)));
        let mut value = HeaderValue::from_str(&basic)?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn judge<T>(&self, answer: Answer<T>) -> Result<Granted, TokenError> {
        let status = answer.status.as_u16();
        if !answer.status.is_success() {
            return Err(self.refused(status, &answer.headers, &answer.body));
        }
        let hint = "is token_endpoint right?";
        if is_web_page(&answer.headers, &answer.body) {
            let what = format!("{self} answered with a web page");
            let hint = format!("{hint} a portal or a proxy between may also show one");
            return Err(TokenError { what, hint, class: Class::NeedsAttention });
        }
        if answer.is_cut {
            let what = format!("{self}: the answer is larger than {} MiB", MAX_ANSWER >> 20);
            return Err(TokenError { what, hint: hint.to_owned(), class: Class::NeedsAttention });
        }
        let (read, token) = answer::read(&answer.body).map_err(|why| TokenError {
            what: format!("{self}: the answer is none: {why}"),
            hint: hint.to_owned(),
            class: Class::NeedsAttention,
        })?;
        let life = answer::seconds(&read.expires_in).and_then(answer::life);
        Ok(Granted { token, life })
    }

    fn refused(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> TokenError {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let after =
            text(header::RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
        let said = match text(header::LOCATION).and_then(|to| self.url.join(to).ok()) {
            Some(to) if (300..400).contains(&status) => {
                format!("it leads elsewhere, to {}", to.origin().ascii_serialization())
            }
            _ if is_web_page(headers, body) => "a web page".to_owned(),
            _ => said(body),
        };
        let said = self.without_secrets(&said);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        let hint = match status {
            400 | 401 | 403 => {
                "are client id and secret those of an API client of this workspace, and not of an old kind or revoked?"
            }
            404 | 405 | 300..=399 => {
                "is token_endpoint right? for a GreenLake workspace give workspace"
            }
            429 => "tokens are asked for too often: does something else use the same API client?",
            500.. => "the fault is the server's; it is tried again",
            _ => "is token_endpoint right?",
        };
        TokenError {
            what: format!("{self}: status {status}{said}"),
            hint: hint.to_owned(),
            class: Class::of_status(status, after),
        }
    }

    /// A server may repeat what it was given.
    fn without_secrets(&self, said: &str) -> String {
        let pair = format!("{}:{}", self.id.expose_secret(), self.secret.expose_secret());
        let basic = BASE64_STANDARD.encode(pair);
        said.replace(self.secret.expose_secret(), "(secret)").replace(&basic, "(secret)")
    }

    fn transient(&self, what: String, hint: &str) -> TokenError {
        let class = Class::Transient { after: None };
        TokenError { what: format!("{self}: {what}"), hint: hint.to_owned(), class }
    }
}

fn is_web_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
        || body.trim_ascii_start().starts_with(b"<")
}

/// What an error answer says (RFC 6749 §5.2), or its beginning.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refused {
        error: String,
        #[serde(default)]
        error_description: Option<String>,
    }
    match serde_json::from_slice::<Refused>(body) {
        Ok(Refused { error, error_description: None }) => excerpt(error.as_bytes()),
        Ok(Refused { error, error_description: Some(description) }) => {
            excerpt(format!("{error}: {description}").as_bytes())
        }
        Err(_) => excerpt(body),
    }
}
