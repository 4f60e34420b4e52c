//! The rules for sources of kind `central`. Key function: `Check::central`.

use url::Url;

use super::{Check, nearest};
use crate::config::{CentralConfig, StreamConfig, SubscriberId, raw, units};
use crate::decode::catalog::{CLUSTERS, STREAMS, Stream};

impl Check<'_> {
    pub(super) fn central(&mut self, key: &str, raw: &raw::Central) -> Option<CentralConfig> {
        let base_url = self.base_url(key, raw);
        let access = self.access(key, raw);
        let streams = self.streams(key, &raw.streams);
        let max_frame = self.unit(&format!("{key}.max_frame"), units::size(&raw.max_frame));
        let proxies = self.proxies(key, raw.proxy.as_ref());
        let subscriber_id = self.subscriber_id(key, &raw.subscriber_id);
        Some(CentralConfig {
            base_url: base_url?,
            access: access?,
            ca_file: raw.ca_file.as_ref().map(|file| self.dir.join(file)),
            streams,
            max_frame: usize::try_from(max_frame?).unwrap_or(usize::MAX),
            proxies: proxies?,
            subscriber_id: subscriber_id?,
            max_retries: raw.max_retries,
        })
    }

    fn base_url(&mut self, key: &str, raw: &raw::Central) -> Option<Url> {
        match (&raw.cluster, &raw.base_url) {
            (Some(_), Some(_)) => {
                self.problem(key, "has both cluster and base_url", "keep one of them");
                None
            }
            (None, None) => {
                self.problem(
                    key,
                    "has neither cluster nor base_url",
                    "for example cluster = \"US-1\"",
                );
                None
            }
            (Some(cluster), None) => {
                let Some((_, host)) = CLUSTERS.iter().find(|(name, _)| name == cluster) else {
                    let known: Vec<_> = CLUSTERS.iter().map(|(name, _)| *name).collect();
                    let what = format!("{cluster:?} is not a cluster");
                    let hint = format!("known: {}", known.join(", "));
                    self.problem(&format!("{key}.cluster"), what, hint);
                    return None;
                };
                Url::parse(&format!("https://{host}")).ok()
            }
            (None, Some(url)) => self.https_url(&format!("{key}.base_url"), url),
        }
    }

    fn subscriber_id(&mut self, key: &str, raw: &raw::SubscriberId) -> Option<SubscriberId> {
        match raw {
            raw::SubscriberId::Whether(false) => Some(SubscriberId::Off),
            raw::SubscriberId::Whether(true) => Some(SubscriberId::Kept),
            raw::SubscriberId::Which(id) if is_uuid(id) => {
                Some(SubscriberId::Given(id.to_ascii_lowercase()))
            }
            raw::SubscriberId::Which(id) => {
                let what = format!("{id:?} is not a UUID");
                let hint = "true has the host make one up and keep it";
                self.problem(&format!("{key}.subscriber_id"), what, hint);
                None
            }
        }
    }

    fn streams(&mut self, key: &str, raw: &[raw::Stream]) -> Vec<StreamConfig> {
        let mut streams: Vec<StreamConfig> = Vec::new();
        if raw.is_empty() {
            self.problem(
                &format!("{key}.streams"),
                "names no stream",
                "for example [\"ap-events\"]",
            );
        }
        for (number, entry) in raw.iter().enumerate() {
            let key = format!("{key}.streams.{number}");
            let Some(stream) = self.stream(&key, entry) else { continue };
            if streams.iter().any(|s| s.name == stream.name) {
                let what = format!("the stream {:?} stands here twice", stream.name);
                self.problem(&key, what, "one entry holds all its event_types");
            }
            streams.push(stream);
        }
        streams
    }

    fn stream(&mut self, key: &str, raw: &raw::Stream) -> Option<StreamConfig> {
        let (name, path, event_types) = match raw {
            raw::Stream::Name(name) => (Some(name), None, &[][..]),
            raw::Stream::Table(table) => {
                (table.name.as_ref(), table.path.as_deref(), &table.event_types[..])
            }
        };
        let path = path.map(|path| path.trim_matches('/'));
        let (name, path) = match (name, path) {
            (name, Some(path)) if !path.is_empty() => {
                let last = path.rsplit('/').next().unwrap_or(path);
                (name.map_or_else(|| last.to_owned(), Clone::clone), path.to_owned())
            }
            (Some(name), None) => {
                let Some(stream) = Stream::named(name) else {
                    let known: Vec<_> = STREAMS.iter().map(|stream| stream.name).collect();
                    let hint = nearest(name, &known).map_or_else(
                        || format!("known: {}; others by {{ path = \"…\" }}", known.join(", ")),
                        |nearest| format!("did you mean {nearest:?}?"),
                    );
                    self.problem(key, format!("{name:?} is not a known stream"), hint);
                    return None;
                };
                (name.clone(), stream.path())
            }
            _ => {
                self.problem(key, "has neither name nor path", "");
                return None;
            }
        };
        Some(StreamConfig { name, path, event_types: event_types.to_vec() })
    }
}

/// Whether a text is a UUID as everybody writes them.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}
