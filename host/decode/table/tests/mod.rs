//! What is written by table is the text that the slow way writes.

pub mod random;
mod schema;

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::super::registry::{MessageId, Registry};
use super::super::wire::{Reader, Value as Wire};
use random::{mangle, message, varint};

/// A registry and its messages, by number.
struct Subject {
    registry: Registry,
    messages: Vec<MessageDescriptor>,
}

impl Subject {
    fn new(pool: &DescriptorPool) -> Self {
        let registry = Registry::of(pool);
        let messages = pool.all_messages().filter(|message| !message.is_map_entry()).collect();
        Subject { registry, messages }
    }

    fn id(&self, message: &MessageDescriptor) -> MessageId {
        self.registry.named(message.full_name()).unwrap()
    }

    fn slow(&self, message: &MessageDescriptor, bytes: &[u8]) -> Result<String, String> {
        let mut out = String::new();
        let done = self.registry.write_json_slowly(self.id(message), bytes, &mut out);
        done.map(|()| out).map_err(|error| error.to_string())
    }

    fn fast(&self, message: &MessageDescriptor, bytes: &[u8]) -> Option<String> {
        let mut out = b"before".to_vec();
        let place = usize::from(self.id(message).0);
        let settled = self.registry.tables().write(place, bytes, &mut out);
        let written = String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned();
        assert!(settled || written.is_empty(), "{written} left behind");
        settled.then_some(written)
    }

    /// What the tables settle is what the slow way writes. Whether they did.
    fn agree(&self, message: &MessageDescriptor, bytes: &[u8]) -> bool {
        let slow = self.slow(message, bytes);
        let Some(fast) = self.fast(message, bytes) else { return false };
        let slow = slow.unwrap_or_else(|error| {
            panic!("{}: written as {fast}, but {error}; {bytes:?}", message.full_name())
        });
        if fast != slow {
            // The slow way has no order for the entries of maps.
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            let is_same =
                has_maps(message) && fast.len() == slow.len() && value(&fast) == value(&slow);
            assert!(is_same, "{}\n{fast}\n{slow}\n{bytes:?}", message.full_name());
        }
        true
    }
}

/// Whether there are maps in a message, at any depth; a `Struct` has an order.
fn has_maps(message: &MessageDescriptor) -> bool {
    fn look(message: &MessageDescriptor, seen: &mut Vec<String>) -> bool {
        let name = message.full_name();
        if name == "google.protobuf.Struct" || seen.iter().any(|other| other == name) {
            return false;
        }
        seen.push(name.to_owned());
        message.fields().any(|field| match field.kind() {
            Kind::Message(inner) => field.is_map() || look(&inner, seen),
            _ => false,
        })
    }
    look(message, &mut Vec::new())
}

/// Whether something in a message is always left to the slow way.
fn has_slow(message: &MessageDescriptor, seen: &mut Vec<String>) -> bool {
    let name = message.full_name();
    if ["google.protobuf.Any", "google.protobuf.FieldMask"].contains(&name) {
        return true;
    }
    if seen.iter().any(|other| other == name) {
        return false;
    }
    seen.push(name.to_owned());
    message.extensions().len() > 0
        || message.fields().any(|field| match field.kind() {
            Kind::Message(inner) => field.is_group() || has_slow(&inner, seen),
            _ => false,
        })
}

thread_local! {
    static BUILT_IN: Subject =
        Subject::new(&DescriptorPool::decode(super::super::DESCRIPTORS).unwrap());
    static ODD: Subject = Subject::new(&schema::pool());
}

/// Random messages of every kind: all are settled by table, but those that never are.
fn well_formed(subject: &Subject, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for message in &subject.messages {
        let bytes = self::message(&mut rng, message, 0).encode_to_vec();
        let settled = subject.agree(message, &bytes);
        let may_be_slow = has_slow(message, &mut Vec::new());
        assert!(
            settled || may_be_slow,
            "{} is not settled by table: {bytes:?}",
            message.full_name()
        );
    }
}

fn mangled(subject: &Subject, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for message in &subject.messages {
        let mut bytes = self::message(&mut rng, message, 0).encode_to_vec();
        for _ in 0..4 {
            bytes = mangle(&mut rng, &bytes);
            subject.agree(message, &bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn random_messages_are_written_the_same(seed: u64) {
        BUILT_IN.with(|subject| well_formed(subject, seed));
        ODD.with(|subject| well_formed(subject, seed));
    }

    #[test]
    fn mangled_messages_are_written_the_same_or_given_up(seed: u64) {
        BUILT_IN.with(|subject| mangled(subject, seed));
        ODD.with(|subject| mangled(subject, seed));
    }

    #[test]
    fn noise_is_written_the_same_or_given_up(noise in prop::collection::vec(any::<u8>(), 0..60)) {
        BUILT_IN.with(|subject| {
            for message in &subject.messages {
                subject.agree(message, &noise);
            }
        });
    }
}

#[test]
fn only_what_is_meant_to_be_slow_is_slow() {
    let slow: Vec<_> = ODD.with(|subject| {
        let slow =
            |m: &&MessageDescriptor| subject.registry.tables().is_slow(subject.id(m).0.into());
        subject.messages.iter().filter(slow).map(|m| m.full_name().to_owned()).collect()
    });
    assert_eq!(slow, ["google.protobuf.Any", "google.protobuf.FieldMask"]);
}

fn of(name: &str, bytes: &[u8]) -> (Option<String>, Result<String, String>) {
    ODD.with(|subject| {
        let message = subject.messages.iter().find(|m| m.full_name() == name).unwrap();
        subject.agree(message, bytes);
        (subject.fast(message, bytes), subject.slow(message, bytes))
    })
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A `Value` of lists within lists.
fn nested(levels: usize) -> Vec<u8> {
    // Written from the innermost outwards, back to front, so that it takes linear time.
    let mut reversed = Vec::new();
    for _ in 0..levels {
        for number in [1_u64, 6] {
            let length = varint(reversed.len() as u64);
            reversed.extend(length.iter().rev());
            reversed.push((number << 3 | 2) as u8);
        }
    }
    // The outermost is the `Value` itself: a list, field 6 of it.
    reversed.reverse();
    reversed
}

#[test]
fn depth_is_limited_in_both_ways() {
    for levels in 0..60 {
        let bytes = nested(levels);
        let (fast, slow) = of("google.protobuf.Value", &bytes);
        assert_eq!((fast.is_some(), slow.is_ok()), (levels <= 50, levels <= 50), "{levels} levels");
    }
    let (fast, slow) = of("google.protobuf.Value", &nested(10_000));
    assert!(fast.is_none());
    assert!(slow.unwrap_err().contains("recursion limit"));
}

#[test]
fn an_any_within_an_any_does_not_go_on_for_ever() {
    let mut bytes = Vec::new();
    for _ in 0..3_000 {
        bytes = [field(1, b"x/google.protobuf.Any"), field(2, &bytes)].concat();
    }
    let (fast, slow) = of("google.protobuf.Any", &bytes);
    assert!(fast.is_none());
    assert!(slow.unwrap_err().contains("100 deep"));
}

#[test]
fn lengths_beyond_the_bytes_are_errors() {
    for length in [3, 1 << 20, u64::from(u32::MAX), 1 << 63, u64::MAX] {
        let bytes = [vec![0x0a], varint(length), b"ab".to_vec()].concat();
        let (fast, slow) = of("google.protobuf.StringValue", &bytes);
        assert!(fast.is_none() && slow.is_err(), "{length}");
    }
}

#[test]
fn text_must_be_utf_8() {
    let (fast, slow) = of("google.protobuf.StringValue", &field(1, b"\xff\xfe"));
    assert!(fast.is_none());
    assert!(slow.unwrap_err().contains("UTF-8"));
}

#[test]
fn a_text_of_a_hundred_megabytes_is_written_whole() {
    let text = "x".repeat(100_000_000);
    let (fast, slow) = of("google.protobuf.StringValue", &field(1, text.as_bytes()));
    let fast = fast.unwrap();
    assert!(fast.len() == text.len() + 2 && fast == slow.unwrap());
}

#[test]
fn odd_numbers_take_the_slow_way() {
    let double = |value: f64| [vec![0x09], value.to_le_bytes().to_vec()].concat();
    let (fast, slow) = of("google.protobuf.DoubleValue", &double(f64::NAN));
    assert_eq!((fast, slow.as_deref()), (None, Ok("null")));
    let (fast, _) = of("google.protobuf.DoubleValue", &double(-0.0));
    assert_eq!(fast.as_deref(), Some("0.0"));
    let (fast, slow) = of("google.protobuf.Timestamp", &[0x10, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!((fast, slow.as_deref()), (None, Ok("\"1969-12-31T23:59:59.999999999Z\"")));
}
