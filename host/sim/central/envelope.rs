//! Events as complete WebSocket frames: the CloudEvents envelope written by hand around a payload,
//! since all of it but id, time and lengths is the same for each kind of event. Key type:
//! [`Envelopes`].

use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::websocket::{Opcode, payload_of, push_header};
use crate::decode::catalog::Stream;
use crate::decode::proto::cloudevents::v1::{
    CloudEvent, CloudEventAttributeValue, cloud_event_attribute_value::Value,
};
use crate::sim::content::{self, Moment, key, mix};

/// Tags of the fields written here: number and wire type 2.
const ID: u8 = 1 << 3 | 2;
const PROTO_DATA: u8 = 8 << 3 | 2;
const TIME: u8 = 9 << 3 | 2;
const ANY_VALUE: u8 = 2 << 3 | 2;

/// Length of an id: a UUID.
const ID_LENGTH: usize = 36;

/// A field number that no payload uses.
const UNKNOWN_FIELD: u64 = 15_000;

/// What the envelopes of one stream are made from.
#[derive(Debug)]
pub(super) struct Envelopes {
    key: u64,
    kinds: Vec<Kind>,
    /// The field `datacontenttype`.
    tail: Vec<u8>,
}

/// What is the same in all events of one kind.
#[derive(Debug)]
struct Kind {
    /// The fields from `source` to the attribute map.
    head: Vec<u8>,
    /// The type URL as a field of `Any`.
    url: Vec<u8>,
}

impl Envelopes {
    /// The envelopes of a stream under a seed.
    pub fn new(stream: &Stream, seed: u64) -> Self {
        let tenant = content::tenant(seed);
        let kinds = (0..stream.payloads.len()).map(|n| Kind::new(stream, n, &tenant)).collect();
        let tail =
            CloudEvent { datacontenttype: "application/protobuf".into(), ..CloudEvent::default() };
        Envelopes { key: key(seed, stream.name), kinds, tail: tail.encode_to_vec() }
    }

    /// Bits of an event's own, different for each number; its id is made of them.
    pub fn bits(&self, sequence: u64) -> u64 {
        mix(self.key.wrapping_add(sequence))
    }

    /// Appends an event as a binary frame.
    pub fn push(&self, out: &mut Vec<u8>, kind: usize, bits: u64, now: &Moment, payload: &[u8]) {
        let Kind { head, url } = &self.kinds[kind];
        let any = url.len() + field_length(payload.len());
        let (seconds, nanos) = (now.seconds(), u64::from(now.nanos()));
        let time = 2 + encoded_len_varint(seconds) + encoded_len_varint(nanos);
        let length = field_length(ID_LENGTH)
            + head.len()
            + field_length(any)
            + field_length(time)
            + self.tail.len();
        push_header(out, Opcode::Binary, length);
        push_id(out, bits);
        out.extend_from_slice(head);
        push_length(out, PROTO_DATA, any);
        out.extend_from_slice(url);
        push_length(out, ANY_VALUE, payload.len());
        out.extend_from_slice(payload);
        push_length(out, TIME, time);
        out.push(1 << 3);
        encode_varint(seconds, out);
        out.push(2 << 3);
        encode_varint(nanos, out);
        out.extend_from_slice(&self.tail);
    }

    /// An event of just so many bytes, as a binary frame: its payload is of the stream's first kind
    /// and holds nothing but a field that no reader knows. Always the same one.
    pub fn oversized(&self, bytes: usize) -> Vec<u8> {
        let padding = |length: usize| {
            let mut payload = Vec::with_capacity(length + 10);
            encode_varint(UNKNOWN_FIELD << 3 | 2, &mut payload);
            encode_varint(length as u64, &mut payload);
            payload.resize(payload.len() + length, b'x');
            payload
        };
        let frame = |length: usize| {
            let mut out = Vec::with_capacity(length + 1_024);
            // An id that no event has: there are not so many.
            self.push(&mut out, 0, self.bits(u64::MAX), &Moment::first(0), &padding(length));
            out
        };
        // Lengths take more bytes the larger they are, so the first guess may be a few bytes off.
        let mut length = bytes.saturating_sub(payload_of(&frame(0)).len());
        for _ in 0..4 {
            let is = payload_of(&frame(length)).len();
            length = (length + bytes).saturating_sub(is);
        }
        frame(length)
    }
}

impl Kind {
    fn new(stream: &Stream, payload: usize, tenant: &str) -> Self {
        let subject = CloudEventAttributeValue { value: Some(Value::CeString(tenant.to_owned())) };
        let head = CloudEvent {
            source: format!("/{}/{}", stream.service, stream.name),
            specversion: "1.0".into(),
            r#type: content::event_type(stream, payload),
            attributes: [("subject".to_owned(), subject)].into(),
            ..CloudEvent::default()
        };
        let url =
            prost_types::Any { type_url: content::type_url(stream, payload), value: Vec::new() };
        Kind { head: head.encode_to_vec(), url: url.encode_to_vec() }
    }
}

/// Length of a field of these many bytes, tag and length included.
fn field_length(bytes: usize) -> usize {
    1 + encoded_len_varint(bytes as u64) + bytes
}

fn push_length(out: &mut Vec<u8>, tag: u8, length: usize) {
    out.push(tag);
    encode_varint(length as u64, out);
}

/// A UUID of version 4 in which all the bits that tell events apart are kept.
fn push_id(out: &mut Vec<u8>, bits: u64) {
    let more = mix(bits ^ 0x5851_f42d_4c95_7f2d);
    let high = bits & 0xffff_ffff_ffff_0000 | 0x4000 | more >> 52;
    let low = 0x8000_0000_0000_0000 | (more & 0x3fff_ffff_ffff) << 16 | bits & 0xffff;
    let mut field = [0; 2 + ID_LENGTH];
    field[0] = ID;
    field[1] = ID_LENGTH as u8;
    let mut at = 2;
    for (index, byte) in high.to_be_bytes().into_iter().chain(low.to_be_bytes()).enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            field[at] = b'-';
            at += 1;
        }
        field[at] = DIGITS[usize::from(byte >> 4)];
        field[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    out.extend_from_slice(&field);
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Envelope;
    use crate::decode::catalog::STREAMS;

    #[test]
    fn is_the_event_that_prost_reads() {
        for stream in STREAMS {
            let envelopes = Envelopes::new(stream, 4);
            let mut now = Moment::first(4);
            now.advance(5, 123);
            let payload = vec![7; 300];
            let mut out = Vec::new();
            envelopes.push(&mut out, 0, envelopes.bits(5), &now, &payload);
            let event = CloudEvent::decode(&out[4..]).unwrap();
            assert_eq!(event.encode_to_vec(), out[4..], "in the order that prost writes");
            assert_eq!(event.time.unwrap(), now.proto());
            assert_eq!(event.r#type, content::event_type(stream, 0));
            assert!(Envelope::read(&out[4..]).is_some(), "in the usual form");
            let subject = event.attributes["subject"].value.clone();
            assert_eq!(subject, Some(Value::CeString(content::tenant(4))));
        }
    }

    #[test]
    fn an_oversized_event_has_just_its_size() {
        let envelopes = Envelopes::new(&STREAMS[0], 4);
        for bytes in [1_024, 16_500, 70_000, 3 << 20] {
            let frame = envelopes.oversized(bytes);
            assert_eq!(payload_of(&frame).len(), bytes);
            assert!(Envelope::read(payload_of(&frame)).is_some());
        }
    }

    #[test]
    fn ids_are_all_different_and_look_like_uuids() {
        let envelopes = Envelopes::new(&STREAMS[0], 1);
        let mut ids = std::collections::HashSet::new();
        for sequence in 0..100_000 {
            let mut out = Vec::new();
            push_id(&mut out, envelopes.bits(sequence));
            let id = String::from_utf8(out[2..].to_vec()).unwrap();
            assert_eq!((id.len(), &id[14..15]), (36, "4"));
            assert!("89ab".contains(&id[19..20]) && id.is_ascii());
            assert!(ids.insert(id));
        }
    }
}
