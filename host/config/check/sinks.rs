//! The rules for sinks. Key function: `Check::sinks`.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use url::{Host, Url};

use super::{Check, nearest};
use crate::config::{Format, Header, HttpConfig, Rotation, SinkConfig, SinkKind, raw, units};
use crate::pattern::Pattern;
use crate::proxy::Proxies;

/// The least that `rotate_size`, `rotate_age` and `max_bytes` can be.
const LEAST_SIZE: u64 = 64 << 10;
const LEAST_AGE: Duration = Duration::from_secs(1);
const LEAST_BODY: u64 = 1 << 10;
/// The bounds of what a request may be and take.
const MOST_BODY: u64 = 64 << 20;
const TIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);

/// Header fields that the sink itself sets.
const OWN_HEADERS: &[&str] = &[
    "host",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "idempotency-key",
    "upgrade",
    "expect",
    "te",
    "trailer",
    "proxy-authorization",
];

impl Check<'_> {
    pub(super) fn sinks(&mut self, raw: &BTreeMap<String, raw::Kind>) -> Vec<SinkConfig> {
        let mut sinks: Vec<SinkConfig> = Vec::new();
        for (name, kind) in raw {
            self.name("sink", name);
            let key = format!("sink.{name}");
            let found = match kind.kind.as_str() {
                "stdout" => self.plain_sink(&key, SinkKind::Stdout),
                "null" => self.plain_sink(&key, SinkKind::Null),
                "file" => self.file_sink(&key),
                "http" => self.http_sink(&key),
                other => {
                    let what = format!("{other:?} is not a kind of sink");
                    self.problem(&format!("{key}.kind"), what, "known: file, http, stdout, null");
                    None
                }
            };
            let Some((kind, types)) = found else { continue };
            if let Some(twin) = sinks.iter().find(|sink| same_place(&sink.kind, &kind)) {
                let what = format!("writes to the same place as sink.{}", twin.name);
                self.problem(&key, what, "several pipelines may name one sink");
            }
            sinks.push(SinkConfig { name: name.clone(), types, kind });
        }
        sinks
    }

    fn plain_sink(&mut self, key: &str, kind: SinkKind) -> Option<(SinkKind, Vec<Pattern>)> {
        let raw = self.extract::<raw::PlainSink>(key)?;
        Some((kind, self.types(key, raw.types)))
    }

    fn file_sink(&mut self, key: &str) -> Option<(SinkKind, Vec<Pattern>)> {
        let raw = self.extract::<raw::FileSink>(key)?;
        let rotation = self.rotation(key, &raw);
        let kind = SinkKind::File { path: self.dir.join(raw.path), rotation };
        Some((kind, self.types(key, raw.types)))
    }

    fn types(&mut self, key: &str, types: Option<Vec<String>>) -> Vec<Pattern> {
        let key = format!("{key}.types");
        let hint = "for example [\"com.hpe.*\"]; without types it takes all";
        if types.as_ref().is_some_and(Vec::is_empty) {
            self.problem(&key, "names no type, so the sink would take nothing", hint);
        }
        let types = types.unwrap_or_default();
        if types.iter().any(|text| text.trim() != text || text.is_empty()) {
            self.problem(&key, "an entry is empty, or has white space around it", hint);
        }
        self.distinct(&key, &types);
        types.into_iter().map(Pattern::new).collect()
    }

    fn rotation(&mut self, key: &str, raw: &raw::FileSink) -> Option<Rotation> {
        let size_key = format!("{key}.rotate_size");
        let size = raw.rotate_size.as_deref().and_then(|t| self.unit(&size_key, units::size(t)));
        if size.is_some_and(|size| size < LEAST_SIZE) {
            self.problem(&size_key, "is less than 64KiB", "for example \"100MiB\"");
        }
        let age_key = format!("{key}.rotate_age");
        let age = raw.rotate_age.as_deref().and_then(|t| self.unit(&age_key, units::duration(t)));
        if age.is_some_and(|age| age < LEAST_AGE) {
            self.problem(&age_key, "is less than 1s", "for example \"24h\"");
        }
        let gzip = match raw.compress.as_deref() {
            Some("gzip") => true,
            Some("none") | None => false,
            Some(other) => {
                let what = format!("{other:?} is no way to compress");
                self.problem(&format!("{key}.compress"), what, "known: gzip, none");
                false
            }
        };
        if raw.rotate_size.is_some() || raw.rotate_age.is_some() {
            return Some(Rotation { size, age, keep: raw.keep.unwrap_or(0), gzip });
        }
        for (name, is_there) in [("keep", raw.keep.is_some()), ("compress", gzip)] {
            if is_there {
                let what = "has no effect, for no file is ever rotated";
                self.problem(&format!("{key}.{name}"), what, "give rotate_size or rotate_age too");
            }
        }
        None
    }

    fn http_sink(&mut self, key: &str) -> Option<(SinkKind, Vec<Pattern>)> {
        let raw = self.extract::<raw::HttpSink>(key)?;
        let types = self.types(key, raw.types);
        let url = self.post_url(&format!("{key}.url"), &raw.url);
        let headers = self.headers(&format!("{key}.headers"), &raw.headers, url.as_ref());
        let format = self.format(&format!("{key}.format"), &raw.format);
        let proxies = self.proxies(key, raw.proxy.as_ref());
        let timeout_key = format!("{key}.timeout");
        let timeout = self.unit(&timeout_key, units::duration(&raw.timeout));
        if timeout.is_some_and(|time| !TIMES.contains(&time)) {
            self.problem(&timeout_key, "is not between 100ms and 10min", "for example \"30s\"");
        }
        let bytes_key = format!("{key}.max_bytes");
        let max_bytes = self.unit(&bytes_key, units::size(&raw.max_bytes));
        if max_bytes.is_some_and(|bytes| !(LEAST_BODY..=MOST_BODY).contains(&bytes)) {
            self.problem(&bytes_key, "is not between 1KiB and 64MiB", "for example \"1MiB\"");
        }
        if raw.max_events == 0 {
            self.problem(&format!("{key}.max_events"), "is 0", "1 sends each event alone");
        }
        let url = url?;
        let http = HttpConfig {
            // A proxy elsewhere would make what is meant for this machine go out.
            proxies: if is_here(&url) { Proxies::none() } else { proxies? },
            url,
            format: format?,
            gzip: raw.gzip,
            headers,
            ca_file: raw.ca_file.map(|file| self.dir.join(file)),
            timeout: timeout?,
            max_events: raw.max_events,
            max_bytes: usize::try_from(max_bytes?).unwrap_or(usize::MAX),
        };
        Some((SinkKind::Http(Box::new(http)), types))
    }

    fn format(&mut self, key: &str, text: &str) -> Option<Format> {
        const KNOWN: &[&str] = &["cloudevents-batch", "ndjson"];
        match text {
            "cloudevents-batch" => Some(Format::CloudEventsBatch),
            "ndjson" => Some(Format::Ndjson),
            other => {
                let hint = nearest(other, KNOWN).map_or_else(
                    || format!("known: {}", KNOWN.join(", ")),
                    |nearest| format!("did you mean {nearest:?}?"),
                );
                self.problem(key, format!("{other:?} is not a format"), hint);
                None
            }
        }
    }

    /// Where to post. Nothing of it is shown that might be a secret.
    fn post_url(&mut self, key: &str, raw: &raw::Secret) -> Option<Url> {
        let text = self.secret(key, raw, true)?;
        let is_plain = matches!(raw, raw::Secret::Plain(_));
        let hint = "for example https://collector.example/in";
        let url = match Url::parse(text.expose_secret()) {
            Ok(url) if matches!(url.scheme(), "https" | "http") && url.has_host() => url,
            _ => {
                let shown = match is_plain {
                    true => format!("{:?}", text.expose_secret()),
                    false => "what stands there".to_owned(),
                };
                self.problem(key, format!("{shown} is not an http or https URL"), hint);
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            let hint = "headers.Authorization = { env = \"NAME\" } is where they go";
            self.problem(key, "has credentials in it", hint);
            return None;
        }
        if url.fragment().is_some() {
            self.problem(key, "has a fragment (#…), which is never sent", hint);
            return None;
        }
        if !is_plain && is_open(&url) {
            self.no_secrets(key);
        }
        Some(url)
    }

    fn headers(
        &mut self,
        key: &str,
        raw: &BTreeMap<String, raw::Secret>,
        url: Option<&Url>,
    ) -> Vec<Header> {
        let mut headers: Vec<Header> = Vec::new();
        for (name, secret) in raw {
            let key = format!("{key}.{name}");
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.problem(&key, "is not the name of a header field", "");
                continue;
            }
            if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                self.problem(&key, "is a header field that the sink sets itself", "leave it out");
                continue;
            }
            if headers.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
                self.problem(&key, "stands here twice", "case makes no difference");
                continue;
            }
            let Some(value) = self.secret(&key, secret, !is_secret_name(name)) else { continue };
            if HeaderValue::from_str(value.expose_secret()).is_err() {
                let what = "its value cannot be sent in a header field";
                self.problem(&key, what, "it is one line of visible ASCII");
                continue;
            }
            let is_secret = !matches!(secret, raw::Secret::Plain(_));
            if is_secret && url.is_some_and(is_open) {
                self.no_secrets(&key);
            }
            headers.push(Header { name: name.clone(), value });
        }
        headers
    }

    fn no_secrets(&mut self, key: &str) {
        let what = "would send a secret over plain http, for all on the way to read";
        self.problem(key, what, "use https; plain http with secrets is for this machine only");
    }
}

/// Whether everybody on the way can read what is sent there.
fn is_open(url: &Url) -> bool {
    url.scheme() == "http" && !is_here(url)
}

/// Whether it is this machine.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether a header field of this name holds a secret, so that its value must not stand in the
/// configuration.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(&*name, "authorization" | "cookie")
        || ["api-key", "apikey", "token", "secret", "password"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// Whether two sinks would write over each other.
fn same_place(one: &SinkKind, other: &SinkKind) -> bool {
    match (one, other) {
        (SinkKind::Stdout, SinkKind::Stdout) => true,
        (SinkKind::File { path: one, .. }, SinkKind::File { path: other, .. }) => one == other,
        _ => false,
    }
}
