//! Which proxy leads to a server, as curl has it. No input or output, and no environment: what was
//! written comes in as [`Settings`]. Credentials are shown nowhere. Key type: [`Proxies`].

use std::fmt;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// Proxies as somebody wrote them, each an address that [`address`] has read.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// For `https` and `wss` (`HTTPS_PROXY`).
    pub https: Option<SecretString>,
    /// For `http` (`HTTP_PROXY`).
    pub http: Option<SecretString>,
    /// For whichever of the two has none (`ALL_PROXY`).
    pub all: Option<SecretString>,
    /// Hosts, domains and networks that are reached without (`NO_PROXY`), separated by commas; `*`
    /// for all.
    pub no: String,
}

/// Why a text is no proxy's address. Never says the text, for a password may be in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It cannot be read.
    #[error("is not a proxy's address")]
    NotAnAddress,
    /// Another kind of proxy.
    #[error("{0} proxies are not supported")]
    Kind(String),
}

/// Reads a proxy's address: `[http://][user[:password]@]host[:port]`; port 80 if none is given.
/// What comes back is the same, spelt out.
///
/// # Errors
/// When it is none, or one of a kind that is not supported: TLS towards the proxy, SOCKS.
pub fn address(text: &str) -> Result<SecretString, AddressError> {
    let text = text.trim();
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&url).map_err(|_| AddressError::NotAnAddress)?;
    if url.scheme() != "http" {
        return Err(AddressError::Kind(url.scheme().to_owned()));
    }
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none();
    // What the matcher cannot read it would take for no proxy at all.
    let is_readable = url.as_str().parse::<Uri>().is_ok();
    if !url.has_host() || !is_bare || url.fragment().is_some() || !is_readable {
        return Err(AddressError::NotAnAddress);
    }
    Ok(SecretString::from(String::from(url)))
}

/// Whether an address holds a password.
pub fn has_password(address: &SecretString) -> bool {
    Url::parse(address.expose_secret()).is_ok_and(|url| url.password().is_some())
}

/// Decides which proxy, if any, leads to a server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Rules>>);

struct Rules {
    /// What it was made from.
    settings: Settings,
    matcher: Matcher,
    /// What would be used but for `no`.
    http: Option<Proxy>,
    https: Option<Proxy>,
}

/// A proxy that leads to a server. It is spoken to in plain HTTP.
#[derive(Clone)]
pub struct Proxy {
    /// Its name or address; IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What it wants as `Proxy-Authorization`; marked as sensitive.
    pub authorization: Option<HeaderValue>,
}

impl Proxies {
    /// No proxy, whatever the environment says.
    pub fn none() -> Self {
        Proxies(None)
    }

    /// This one for all servers. `address` is one that [`address`] has read.
    pub fn always(address: SecretString) -> Self {
        Proxies::new(&Settings { all: Some(address), ..Settings::default() })
    }

    /// The proxies of these settings.
    pub fn new(settings: &Settings) -> Self {
        let text = |secret: &Option<SecretString>| {
            secret.as_ref().map_or_else(String::new, |secret| secret.expose_secret().to_owned())
        };
        let (https, http, all) = (text(&settings.https), text(&settings.http), text(&settings.all));
        // Many write `*.example.com`, which curl does not know but everybody understands.
        let no: Vec<&str> = settings.no.split(',').map(str::trim).collect();
        let no: Vec<&str> = no
            .iter()
            .map(|no| no.strip_prefix('*').filter(|rest| !rest.is_empty()).unwrap_or(no))
            .collect();
        let of = |no: String| {
            Matcher::builder()
                .https(https.clone())
                .http(http.clone())
                .all(all.clone())
                .no(no)
                .build()
        };
        let without_no = of(String::new());
        let any = |uri: &'static str| {
            without_no.intercept(&Uri::from_static(uri)).map(|found| Proxy::new(&found))
        };
        let (http, https) = (any("http://any.invalid/"), any("https://any.invalid/"));
        if http.is_none() && https.is_none() {
            return Proxies(None);
        }
        Proxies(Some(Arc::new(Rules {
            settings: settings.clone(),
            matcher: of(no.join(",")),
            http,
            https,
        })))
    }

    /// The proxy that leads to a server; `None` for the direct way.
    pub fn of(&self, url: &Url) -> Option<Proxy> {
        let rules = self.0.as_ref()?;
        let scheme = match url.scheme() {
            "wss" | "https" => "https",
            _ => "http",
        };
        let uri = format!("{scheme}://{}/", url.host_str()?);
        let found = rules.matcher.intercept(&uri.parse().ok()?)?;
        Some(Proxy::new(&found))
    }

    /// Has an HTTP client go the same ways; nothing else decides for it any more.
    pub fn for_reqwest(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let mut builder = builder.no_proxy();
        let Some(rules) = &self.0 else { return builder };
        for (scheme, proxy) in [("http", &rules.http), ("https", &rules.https)] {
            let Some(proxy) = proxy else { continue };
            let proxies = self.clone();
            let mut custom = reqwest::Proxy::custom(move |url: &Url| {
                let found = (url.scheme() == scheme).then(|| proxies.of(url)).flatten()?;
                Url::parse(&format!("http://{found}")).ok()
            });
            if let Some(authorization) = &proxy.authorization {
                custom = custom.custom_http_auth(authorization.clone());
            }
            builder = builder.proxy(custom);
        }
        builder
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Option<SecretString>, b: &Option<SecretString>| {
            a.as_ref().map(|a| a.expose_secret()) == b.as_ref().map(|b| b.expose_secret())
        };
        self.no == other.no
            && same(&self.https, &other.https)
            && same(&self.http, &other.http)
            && same(&self.all, &other.all)
    }
}

/// Equal when they were made from the same settings.
impl PartialEq for Proxies {
    fn eq(&self, other: &Self) -> bool {
        let settings = |proxies: &'_ Self| proxies.0.as_ref().map(|rules| rules.settings.clone());
        settings(self) == settings(other)
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("none"),
            Some(rules) => rules.matcher.fmt(f),
        }
    }
}

impl Proxy {
    fn new(found: &Intercept) -> Self {
        let uri = found.uri();
        Proxy {
            host: uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            authorization: found.basic_auth().cloned(),
        }
    }
}

/// `host:port`, without credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(https: &str, no: &str) -> Settings {
        Settings { https: Some(address(https).unwrap()), no: no.to_owned(), ..Settings::default() }
    }

    fn way(proxies: &Proxies, url: &str) -> String {
        proxies.of(&Url::parse(url).unwrap()).map_or("direct".to_owned(), |p| p.to_string())
    }

    #[test]
    fn a_proxy_is_chosen_as_curl_would() {
        let no = "localhost, .corp.example,*.lab.example, 10.0.0.0/8,::1";
        let proxies = Proxies::new(&settings("proxy.example:3128", no));
        for (url, expected) in [
            ("https://central.example/", "proxy.example:3128"),
            ("wss://central.example:8443/a", "proxy.example:3128"),
            ("http://central.example/", "direct"),
            ("wss://localhost:1/", "direct"),
            ("wss://a.corp.example/", "direct"),
            ("wss://corp.example/", "direct"),
            ("wss://notcorp.example/", "proxy.example:3128"),
            ("wss://x.lab.example/", "direct"),
            ("https://10.1.2.3/", "direct"),
            ("https://11.1.2.3/", "proxy.example:3128"),
            ("https://[::1]:9/", "direct"),
            ("https://[::2]:9/", "proxy.example:3128"),
        ] {
            assert_eq!(way(&proxies, url), expected, "{url}");
        }
        assert_eq!(way(&Proxies::new(&settings("p:1", "*")), "https://central.example/"), "direct");
        let always = Proxies::always(address("http://[::1]:8080").unwrap());
        assert_eq!(way(&always, "http://localhost/"), "[::1]:8080");
        assert_eq!(way(&Proxies::none(), "https://central.example/"), "direct");
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let address = address("http://al%40ice:p%3Ass:w@proxy.example:3128").unwrap();
        assert!(has_password(&address));
        let proxies = Proxies::always(address);
        let proxy = proxies.of(&Url::parse("https://central.example").unwrap()).unwrap();
        // al@ice:p:ss:w
        let authorization = proxy.authorization.as_ref().unwrap();
        assert_eq!(authorization, "Basic YWxAaWNlOnA6c3M6dw==");
        let shown = format!("{proxies:?} {proxy:?} {proxy} {authorization:?}");
        assert!(!shown.contains("ss") && !shown.contains("YWxA"), "{shown}");
    }

    #[test]
    fn what_is_no_address_is_said_without_repeating_it() {
        for (text, expected) in [
            ("https://u:hidden@proxy", AddressError::Kind("https".to_owned())),
            ("socks5://u:hidden@proxy", AddressError::Kind("socks5".to_owned())),
            ("http://", AddressError::NotAnAddress),
            ("http://u:hidden@proxy:99999", AddressError::NotAnAddress),
            ("http://proxy/path", AddressError::NotAnAddress),
            ("http://pro xy", AddressError::NotAnAddress),
        ] {
            let error = address(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("hidden"));
        }
        for text in
            ["proxy", "proxy:3128", " http://proxy ", "user@proxy:1", "http://u:p@x@proxy:1"]
        {
            assert!(address(text).is_ok(), "{text}");
        }
    }

    #[tokio::test]
    async fn http_clients_go_the_same_ways() {
        use tokio::io::AsyncReadExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://al:pass@{}", listener.local_addr().unwrap());
        let proxies = Proxies::new(&settings(&at, "direct.invalid"));
        let builder =
            reqwest::Client::builder().tls_backend_preconfigured(crate::tls::no_trust().unwrap());
        let client = proxies.for_reqwest(builder).build().unwrap();
        let heard = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = tcp.read(&mut head).await.unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        // Not by the proxy, which would have been heard first.
        assert!(client.get("https://direct.invalid/").send().await.is_err());
        assert!(client.get("http://other.invalid/").send().await.is_err());
        assert!(client.get("https://other.invalid/").send().await.is_err());
        let heard = heard.await.unwrap();
        assert!(heard.starts_with("CONNECT other.invalid:443 HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("Basic YWw6cGFzcw=="), "{heard}");
    }
}
