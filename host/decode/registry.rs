//! Which message an `Any` holds: the `type_url` first, then what the stream is known to carry.
//! Key type: [`Registry`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use prost_reflect::{DescriptorPool, MessageDescriptor};

use super::catalog::{EVENT_TYPE_PREFIX, STREAMS};
use super::table::Tables;

static COUNT: AtomicU64 = AtomicU64::new(1);

/// By name. What is in it comes from schemas, never from events, so no seed needs to be secret.
type ByName<K, V> = HashMap<K, V, FixedState>;

/// A message of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub(super) u16);

/// The message that a payload is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// The message.
    pub message: MessageId,
    /// Whether the `type_url` names another, which nobody here knows: then the payload may well be
    /// something else.
    pub is_guess: bool,
}

/// All messages that can be decoded, and the rules by which one is chosen.
#[derive(Debug, Default)]
pub struct Registry {
    /// Of all registries of this process, this one.
    number: u64,
    messages: Vec<MessageDescriptor>,
    tables: Tables,
    by_full_name: ByName<String, MessageId>,
    streams: ByName<&'static str, Choices>,
    any_stream: Choices,
}

/// What is known of one stream, or of all of them together. A name that stands for two messages is
/// no choice at all.
#[derive(Debug, Default)]
struct Choices {
    by_last_segment: ByName<String, Option<MessageId>>,
    by_event_type: ByName<String, Option<MessageId>>,
}

impl Registry {
    /// The registry of the schemas built in.
    ///
    /// # Panics
    /// If the catalogue names a message that `proto/` does not define, which a test rules out.
    pub fn built_in() -> Self {
        let mut registry =
            Self::of(&DescriptorPool::decode(super::DESCRIPTORS).unwrap_or_default());
        registry.learn_streams();
        registry
    }

    /// All messages of these schemas, found by their full names only.
    pub(super) fn of(pool: &DescriptorPool) -> Self {
        let messages: Vec<_> = pool.all_messages().filter(|m| !m.is_map_entry()).collect();
        let by_full_name: ByName<_, _> = messages
            .iter()
            .zip(0..)
            .map(|(message, id)| (message.full_name().to_owned(), MessageId(id)))
            .collect();
        let tables = Tables::compile(&messages);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Registry { number, messages, tables, by_full_name, ..Registry::default() }
    }

    fn learn_streams(&mut self) {
        for stream in STREAMS {
            let choices: &mut Choices = self.streams.entry(stream.name).or_default();
            for payload in stream.payloads {
                let id = self.by_full_name[&format!("{}.{}", stream.package, payload.message)];
                let event_type = payload.event_type.map(|t| format!("{EVENT_TYPE_PREFIX}{t}"));
                for choices in [&mut *choices, &mut self.any_stream] {
                    note(&mut choices.by_last_segment, payload.message, id);
                    if let Some(event_type) = &event_type {
                        note(&mut choices.by_event_type, event_type, id);
                    }
                }
            }
        }
    }

    /// Chooses the message: the full name in `type_url`; else its last segment among the stream's
    /// payloads; else the event type; else the stream's one payload. `stream` is `None` where it is
    /// not known, and then all streams count.
    pub fn choose(&self, stream: Option<&str>, type_url: &str, event_type: &str) -> Option<Chosen> {
        let sure = |message| Chosen { message, is_guess: false };
        let full_name = memchr::memrchr(b'/', type_url.as_bytes())
            .map_or(type_url, |slash| &type_url[slash + 1..]);
        if let Some(id) = self.by_full_name.get(full_name) {
            return Some(sure(*id));
        }
        let choices = match stream {
            Some(stream) => self.streams.get(stream)?,
            None => &self.any_stream,
        };
        let last_segment = full_name.rsplit('.').next().unwrap_or(full_name);
        let by_name = choices.by_last_segment.get(last_segment).copied().flatten();
        let otherwise = || {
            let by_type = choices.by_event_type.get(event_type).copied().flatten();
            let message = by_type.or_else(|| choices.only())?;
            Some(Chosen { message, is_guess: !full_name.is_empty() })
        };
        by_name.map(sure).or_else(otherwise)
    }

    /// The id of a message by its full name.
    pub fn named(&self, full_name: &str) -> Option<MessageId> {
        self.by_full_name.get(full_name).copied()
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(super) fn descriptor(&self, id: MessageId) -> &MessageDescriptor {
        &self.messages[usize::from(id.0)]
    }
}

impl Choices {
    fn only(&self) -> Option<MessageId> {
        let mut names = self.by_last_segment.values();
        match (names.next(), names.next()) {
            (Some(only), None) => *only,
            _ => None,
        }
    }
}

fn note(choices: &mut ByName<String, Option<MessageId>>, name: &str, id: MessageId) {
    let choice = choices.entry(name.to_owned()).or_insert(Some(id));
    if *choice != Some(id) {
        *choice = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(stream: Option<&str>, type_url: &str, event_type: &str) -> Option<String> {
        let registry = Registry::built_in();
        let chosen = registry.choose(stream, type_url, event_type)?;
        Some(registry.descriptor(chosen.message).full_name().to_owned())
    }

    #[test]
    fn the_full_name_wins() {
        let url = "type.googleapis.com/network_monitoring.gw.v1.DeviceStats";
        assert_eq!(
            chosen(Some("ap-events"), url, "").as_deref(),
            Some("network_monitoring.gw.v1.DeviceStats")
        );
    }

    #[test]
    fn else_the_last_segment_within_the_stream() {
        assert_eq!(
            chosen(Some("ap-events"), "x/ap.APSystemStat", "").as_deref(),
            Some("network_monitoring.ap.v1alpha1.APSystemStat")
        );
        let documented = "x/network_services.audit_trail.v1alpha1.AuditTrail";
        assert_eq!(
            chosen(Some("audit-trail-events"), documented, "").as_deref(),
            Some("audittrail.AuditTrail")
        );
    }

    #[test]
    fn what_a_url_names_that_nobody_knows_is_guessed() {
        let registry = Registry::built_in();
        for (url, is_guess) in [
            ("x/network_monitoring.switch.v1.StreamSwitchMessage", false),
            ("x/other.StreamSwitchMessage", false),
            ("x/acme.Unknown", true),
            ("acme.Unknown", true),
            ("", false),
            ("x/", false),
        ] {
            let chosen = registry.choose(Some("switch-events"), url, "").unwrap();
            assert_eq!(chosen.is_guess, is_guess, "{url}");
        }
    }

    #[test]
    fn else_the_event_type_then_the_one_payload() {
        let ty = "com.hpe.greenlake.network-monitoring.v1alpha1.aps.stats.radio";
        let radio = Some("network_monitoring.ap.v1alpha1.RadioStat");
        assert_eq!(chosen(Some("ap-events"), "", ty).as_deref(), radio);
        assert_eq!(chosen(None, "", ty).as_deref(), radio);
        assert_eq!(
            chosen(Some("switch-events"), "what/ever", "unheard.of").as_deref(),
            Some("network_monitoring.switch.v1.StreamSwitchMessage")
        );
        assert_eq!(chosen(Some("ap-events"), "what/ever", "unheard.of"), None);
        assert_eq!(chosen(Some("a-new-stream"), "x/ap.APSystemStat", ""), None);
    }
}
