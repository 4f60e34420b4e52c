//! `http.send`: the one way out of the sandbox, for export plugins, to the origins their operator
//! allows. Secrets are put in here, after the guest and only towards those origins, and taken out
//! of what comes back. Key type: [`Http`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret as _, SecretString};
use url::Origin;

use super::bindings::outward::trommel::plugin::http::{Body, Failure, Host, Request, Response};
use super::guest::Guest;
use crate::config::Egress;

/// What one request may take when its guest does not say.
const TIME: Duration = Duration::from_secs(10);
/// The most a guest can ask for.
const MAX_TIME: Duration = Duration::from_secs(60);
/// The most that one call of a guest may wait for responses, all its requests together.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(120);
/// Largest request and response.
const MAX_REQUEST: usize = 16 << 20;
const MAX_RESPONSE: usize = 4 << 20;
/// Header fields that are the host's.
const HOST_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "proxy-authorization",
];

/// A client for one plugin.
#[derive(Debug)]
pub struct Http {
    client: reqwest::Client,
    allow: Vec<Origin>,
    secrets: BTreeMap<String, SecretString>,
}

impl Http {
    /// A client that reaches what `egress` allows.
    ///
    /// # Errors
    /// What is wrong with the certificate authorities, or the client.
    pub(super) fn new(egress: &Egress) -> Result<Self, String> {
        let tls =
            crate::tls::client_config(egress.ca_file.as_deref()).map_err(|e| e.to_string())?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .dns_resolver(Resolver)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(TIME)
            .pool_max_idle_per_host(4)
            .user_agent(concat!("trommel/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Http { client, allow: egress.allow.clone(), secrets: egress.secrets.clone() })
    }

    async fn send(&self, request: Request) -> Result<Response, Failure> {
        let (prepared, used) = self.prepare(request).map_err(Failure::Refused)?;
        let mut response = self.client.execute(prepared).await.map_err(failure)?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect::<Vec<_>>();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(failure)? {
            if body.len() + part.len() > MAX_RESPONSE {
                let most = MAX_RESPONSE >> 20;
                return Err(Failure::Unreachable(format!("a response of more than {most} MiB")));
            }
            body.extend_from_slice(&part);
        }
        let headers = headers.into_iter().map(|(n, v)| (n, self.scrub(&used, v))).collect();
        let body = match String::from_utf8(body) {
            Ok(text) => Body::Text(self.scrub(&used, text)),
            Err(bytes) if used.is_empty() => Body::Bytes(bytes.into_bytes()),
            Err(bytes) => {
                let text = String::from_utf8_lossy(bytes.as_bytes()).into_owned();
                Body::Text(self.scrub(&used, text))
            }
        };
        Ok(Response { status, headers, body })
    }

    /// Checks a request and fills the secrets in. Errors never tell what was filled in.
    fn prepare(&self, request: Request) -> Result<(reqwest::Request, Vec<String>), String> {
        let mut used = Vec::new();
        let method = Method::from_bytes(request.method.as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT)
            .ok_or_else(|| format!("{:?} is not a method", request.method))?;
        let url = self.fill(&request.url, &mut used)?;
        let url = Url::parse(&url).map_err(|_| format!("{:?} is not a URL", request.url))?;
        if !self.allow.contains(&url.origin())
            || !url.username().is_empty()
            || url.password().is_some()
        {
            // The URL as the guest wrote it: nothing was filled in.
            return Err(format!("{:?} is not in [egress] allow", origin_of(&request.url)));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            if HOST_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!("the header {name:?} is the host's"));
            }
            let filled = self.fill(value, &mut used)?;
            let header = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(&filled);
            let (Ok(header), Ok(value)) = (header, value) else {
                return Err(format!("the header {name:?} is not one that can be sent"));
            };
            headers.append(header, value);
        }
        let body = match request.body {
            Body::Text(text) => text.into_bytes(),
            Body::Bytes(bytes) => bytes,
        };
        if body.len() > MAX_REQUEST {
            return Err(format!("a body of {} bytes; {MAX_REQUEST} is the most", body.len()));
        }
        let time = match u64::from(request.timeout) {
            0 => TIME,
            millis => Duration::from_millis(millis).min(MAX_TIME),
        };
        let mut prepared = reqwest::Request::new(method, url);
        *prepared.headers_mut() = headers;
        *prepared.body_mut() = Some(body.into());
        *prepared.timeout_mut() = Some(time);
        Ok((prepared, used))
    }

    /// Puts secrets in the place of `{secret:NAME}`, and notes their names.
    fn fill(&self, text: &str, used: &mut Vec<String>) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("{secret:") {
            out.push_str(&rest[..at]);
            let after = &rest[at + "{secret:".len()..];
            let (name, tail) =
                after.split_once('}').ok_or_else(|| "a {secret: without its }".to_owned())?;
            let secret =
                self.secrets.get(name).ok_or_else(|| format!("there is no secret {name:?}"))?;
            out.push_str(secret.expose_secret());
            used.push(name.to_owned());
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Takes out the secrets that were sent, should the other side have echoed them.
    fn scrub(&self, used: &[String], mut text: String) -> String {
        for name in used {
            if let Some(secret) = self.secrets.get(name)
                && text.contains(secret.expose_secret())
            {
                text = text.replace(secret.expose_secret(), "***");
            }
        }
        text
    }
}

fn origin_of(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

fn failure(error: reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::Timeout;
    }
    // The URL may hold secrets.
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if error.is_builder() { Failure::Refused(text) } else { Failure::Unreachable(text) }
}

/// Resolves a name once per connection and connects to nothing else. Addresses that no name of a
/// service out there has, such as a cloud's metadata service, are left out: a name server must not
/// be able to point an allowed name at them.
struct Resolver;

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let is_local = name == "localhost" || name.ends_with(".localhost");
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<SocketAddr> =
                found.filter(|address| may_be_named(address.ip(), is_local)).collect();
            if addresses.is_empty() {
                return Err(format!("{name:?} has no address that may be reached").into());
            }
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

fn may_be_named(address: IpAddr, is_local: bool) -> bool {
    match address {
        IpAddr::V4(v4) => may_be_named_v4(v4, is_local),
        IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), v6.segments()) {
            (Some(v4), _) => may_be_named_v4(v4, is_local),
            // NAT64 leads back into the IPv4 network.
            (None, [0x64, 0xff9b, 0, 0, 0, 0, high, low]) => {
                may_be_named_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)), is_local)
            }
            _ => {
                (!v6.is_loopback() || is_local)
                    && !v6.is_unspecified()
                    && !v6.is_multicast()
                    && !v6.is_unicast_link_local()
            }
        },
    }
}

fn may_be_named_v4(v4: Ipv4Addr, is_local: bool) -> bool {
    (!v4.is_loopback() || is_local)
        && !v4.is_unspecified()
        && !v4.is_multicast()
        && !v4.is_broadcast()
        && !v4.is_link_local()
}

impl Host for Guest {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Failure>> {
        let Some(http) = self.http.clone() else {
            return Ok(Err(Failure::Refused("nothing is in [egress] allow".to_owned())));
        };
        let left = MAX_WAIT.saturating_sub(self.call.waited);
        let begun = Instant::now();
        let sent = tokio::time::timeout(left, http.send(request)).await;
        self.waited(begun.elapsed());
        Ok(sent.unwrap_or(Err(Failure::Timeout)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> Http {
        let secret = SecretString::from("xyzzy");
        Http::new(&Egress {
            allow: vec![Url::parse("https://hooks.example").unwrap().origin()],
            ca_file: None,
            secrets: [("hook".to_owned(), secret)].into_iter().collect(),
        })
        .unwrap()
    }

    fn request(url: &str) -> Request {
        Request {
            method: "POST".into(),
            url: url.into(),
            headers: vec![],
            body: Body::Text(String::new()),
            timeout: 0,
        }
    }

    #[test]
    fn secrets_go_to_allowed_origins_only() {
        let http = http();
        let (sent, _) = http.prepare(request("https://hooks.example/{secret:hook}")).unwrap();
        assert_eq!(sent.url().path(), "/xyzzy");
        for (url, says) in [
            ("https://evil.example/{secret:hook}", "not in [egress] allow"),
            ("https://{secret:hook}.evil.example/", "not in [egress] allow"),
            ("http://hooks.example/", "not in [egress] allow"),
            ("https://hooks.example:444/", "not in [egress] allow"),
            ("https://hooks.example@evil.example/", "not in [egress] allow"),
            ("https://user:pw@hooks.example/", "not in [egress] allow"),
            ("https://hooks.example/{secret:other}", "no secret \"other\""),
            ("nonsense", "not a URL"),
        ] {
            let error = http.prepare(request(url)).unwrap_err();
            assert!(error.contains(says) && !error.contains("xyzzy"), "{url}: {error}");
        }
    }

    #[test]
    fn an_echoed_secret_is_taken_out() {
        let scrubbed = http().scrub(&["hook".to_owned()], "you sent xyzzy".to_owned());
        assert_eq!(scrubbed, "you sent ***");
    }

    #[test]
    fn the_hosts_headers_are_refused() {
        let mut request = request("https://hooks.example/");
        request.headers = vec![("Host".into(), "evil.example".into())];
        assert!(http().prepare(request).unwrap_err().contains("Host"));
    }

    #[test]
    fn no_name_leads_to_the_metadata_service() {
        for refused in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "0.0.0.0",
            "127.0.0.1",
            "::1",
        ] {
            assert!(!may_be_named(refused.parse().unwrap(), false), "{refused}");
        }
        for fine in ["192.0.2.1", "10.1.2.3", "2001:db8::1"] {
            assert!(may_be_named(fine.parse().unwrap(), false), "{fine}");
        }
        assert!(may_be_named("127.0.0.1".parse().unwrap(), true));
    }
}
