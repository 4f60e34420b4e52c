//! What the simulated Central reports: one feed for each stream, each a small world of its own that
//! tells the same story as the others. Makes payloads only; knows nothing of envelopes, sockets or
//! rates. Key trait: [`Feed`].

mod alerts;
mod ap;
mod ap_unit;
mod audit;
mod clients;
mod gateway;
mod geofence;
mod incidents;
mod location;
mod moment;
mod rng;
mod rssi;
mod switch;
mod switch_unit;
mod wids;
mod world;

pub(super) use moment::Moment;
pub(super) use rng::{Rng, key, mix};

use crate::decode::catalog::{EVENT_TYPE_PREFIX, Stream};
use incidents::Calendar;
use world::World;

/// Fills the `optional` fields of a message: each value is put in `Some`, the rest stays empty.
macro_rules! message {
    ($ty:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        #[allow(clippy::needless_update, reason = "some messages are filled completely")]
        let message = $ty { $($field: Some($value.into()),)* ..$ty::default() };
        message
    }};
}
use message;

/// Payloads of one stream, one after the other, for ever.
pub(super) trait Feed: Send {
    /// Puts the payload of the event at this moment into `out`, which is empty, and says which of
    /// the stream's payloads (in the catalogue's order) it is.
    fn next(&mut self, now: &Moment, out: &mut Vec<u8>) -> usize;
}

/// What a feed is made of.
struct Stage {
    world: World,
    calendar: Calendar,
    rng: Rng,
}

impl Stage {
    fn new(seed: u64, stream: &str) -> Self {
        let world = World::new(seed);
        let calendar = Calendar::new(seed, &world);
        Stage { world, calendar, rng: Rng::new(seed, stream) }
    }
}

/// The feed of a stream; `None` for a stream that the simulator has no content for.
pub(super) fn feed(stream: &Stream, seed: u64) -> Option<Box<dyn Feed>> {
    let stage = Stage::new(seed, stream.name);
    Some(match stream.name {
        "ap-events" => Box::new(ap::ApFeed::new(stage)),
        "audit-trail-events" => Box::new(audit::AuditFeed::new(stage)),
        "location" => Box::new(location::LocationFeed::new(stage)),
        "rssi-events" => Box::new(rssi::RssiFeed::new(stage)),
        "geofence" => Box::new(geofence::GeofenceFeed::new(stage)),
        "clients-events" => Box::new(clients::ClientsFeed::new(stage)),
        "switch-events" => Box::new(switch::SwitchFeed::new(stage)),
        "alert-events" => Box::new(alerts::AlertFeed::new(stage)),
        "gw-events" => Box::new(gateway::GatewayFeed::new(stage)),
        "wids" => Box::new(wids::WidsFeed::new(stage)),
        _ => return None,
    })
}

/// Identifier of the customer (tenant), which each envelope names as its subject.
pub(super) fn tenant(seed: u64) -> String {
    World::new(seed).tenant
}

/// The CloudEvents type of a payload. Where the vendor's is not known it is one that nobody can
/// take for the vendor's.
pub(super) fn event_type(stream: &Stream, payload: usize) -> String {
    match stream.payloads[payload].event_type {
        Some(name) => format!("{EVENT_TYPE_PREFIX}{name}"),
        None => format!("sim.{}.{}", stream.name, case_name(stream, payload)),
    }
}

/// The type URL of a payload. Real ones come with a short package, with one that is documented but
/// not in the schema, and, presumably, with the full name; so do these.
pub(super) fn type_url(stream: &Stream, payload: usize) -> String {
    let message = stream.payloads[payload].message;
    match stream.name {
        "ap-events" if payload % 3 != 1 => format!("type.googleapis.com/ap.{message}"),
        "audit-trail-events" => {
            format!("type.googleapis.com/network_services.audit_trail.v1alpha1.{message}")
        }
        _ => format!("type.googleapis.com/{}.{message}", stream.package),
    }
}

fn case_name(stream: &Stream, payload: usize) -> &'static str {
    let names: &[&str] = match stream.name {
        "clients-events" => &["client_state", "client_stats"],
        "switch-events" => &[
            "switch_state",
            "interface_state",
            "lldp_state",
            "vlan_state",
            "vsx_state",
            "device_stats",
            "interface_stats",
            "stack_state",
        ],
        "alert-events" => &["alert"],
        _ => &[],
    };
    names.get(payload).copied().unwrap_or("event")
}

/// Encodes a message into the reused buffer.
fn put(message: &impl prost::Message, out: &mut Vec<u8>) {
    // What `encode` adds is a walk for the length, to see whether a bounded buffer has the room.
    message.encode_raw(out);
}

/// Overwrites a text in place.
fn set(field: &mut Option<String>, text: &str) {
    let field = field.get_or_insert_default();
    field.clear();
    field.push_str(text);
}

/// Adds to a counter.
fn grow(field: &mut Option<u64>, by: u64) {
    *field.get_or_insert_default() += by;
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::decode::Registry;
    use crate::decode::catalog::STREAMS;

    /// The first payloads of a stream, with the number of their kind.
    fn payloads(stream: &Stream, seed: u64, count: u64) -> Vec<(usize, Vec<u8>)> {
        let mut feed = feed(stream, seed).unwrap();
        let mut now = Moment::first(seed);
        let payload = |sequence| {
            now.advance(sequence, mix(sequence));
            let mut out = Vec::new();
            (feed.next(&now, &mut out), out)
        };
        (0..count).map(payload).collect()
    }

    #[test]
    fn every_payload_occurs_early_and_is_the_message_it_says() {
        let registry = Registry::built_in();
        for stream in STREAMS {
            let mut seen = BTreeSet::new();
            for (kind, payload) in payloads(stream, 1, 500) {
                seen.insert(kind);
                let (url, ty) = (type_url(stream, kind), event_type(stream, kind));
                let message = registry.choose(Some(stream.name), &url, &ty).unwrap().message;
                let mut json = String::new();
                registry.write_json(message, &payload, &mut json).unwrap();
                assert!(json.len() > 60, "{}: {json}", stream.name);
            }
            assert_eq!(seen.len(), stream.payloads.len(), "{}: {seen:?}", stream.name);
        }
    }

    #[test]
    fn a_wrapper_holds_the_case_it_says() {
        for stream in STREAMS.iter().filter(|stream| stream.payloads[0].case != 0) {
            for (kind, payload) in payloads(stream, 2, 500) {
                let case = u8::try_from(stream.payloads[kind].case).unwrap() << 3 | 2;
                // An RssiEvent begins with the firmware version, a varint.
                let first = if stream.name == "rssi-events" { payload[2] } else { payload[0] };
                assert_eq!(first, case, "{}", stream.name);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_payloads() {
        for stream in STREAMS {
            assert_eq!(payloads(stream, 9, 2_000), payloads(stream, 9, 2_000), "{}", stream.name);
            assert_ne!(payloads(stream, 9, 20), payloads(stream, 10, 20), "{}", stream.name);
        }
    }

    #[test]
    fn three_access_points_of_a_zone_drop_within_a_minute() {
        use crate::decode::proto::network_monitoring::ap::v1alpha1::ApInfo;
        use prost::Message as _;

        let stream = Stream::named("ap-events").unwrap();
        let mut drops: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut status = BTreeMap::new();
        for (kind, payload) in payloads(stream, 1, 480) {
            if kind != 0 {
                continue;
            }
            let info = ApInfo::decode(&payload[..]).unwrap();
            let up = info.status.unwrap();
            status.insert(info.serial_number.unwrap(), up);
            if !up {
                let at = crate::timestamp::Timestamp::parse(&info.timestamp.unwrap()).unwrap();
                drops.entry(info.zone.unwrap()).or_default().push(at.seconds);
            }
        }
        let outage = drops.values().find(|times| times.len() >= 3).unwrap();
        assert!(outage[2] - outage[0] < 60);
        assert!(status.values().all(|up| *up), "all are back at the end");
    }
}
