//! The CloudEvents envelope, borrowed from the frame. The usual form is read in place; whatever is
//! odd about it (a field twice, a wire type of its own) goes through prost, which settles it, and
//! is read from the canonical bytes. Key type: [`Envelope`].

use prost::Message as _;

use super::DecodeError;
use super::proto::cloudevents::v1::CloudEvent;
use super::wire::{Reader, Value};
use crate::timestamp::Timestamp;

/// The fields of one CloudEvent. Texts that are not there are empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Envelope<'a> {
    /// `id`
    pub id: &'a str,
    /// `source`
    pub source: &'a str,
    /// `type`
    pub ty: &'a str,
    /// `time`
    pub time: Option<Timestamp>,
    /// `datacontenttype`
    pub content_type: &'a str,
    /// `dataschema`
    pub schema: &'a str,
    /// The payload.
    pub data: Data<'a>,
    /// Number of entries in the attribute map.
    pub attribute_count: u32,
    /// The first of them, so that the usual few need not be read twice.
    first: [(&'a str, Attribute<'a>); FEW],
    bytes: &'a [u8],
}

/// Up to how many attributes are usual.
const FEW: usize = 4;

/// The payload of an envelope, one of its three fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Data<'a> {
    /// None of them is there.
    None,
    /// `binary_data`
    Binary(&'a [u8]),
    /// `text_data`
    Text(&'a str),
    /// `proto_data`, an `Any`
    Message {
        /// Names the message.
        type_url: &'a str,
        /// Its bytes.
        value: &'a [u8],
    },
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attribute<'a> {
    /// `ce_boolean`
    Boolean(bool),
    /// `ce_integer`
    Integer(i32),
    /// `ce_string`, `ce_uri` or `ce_uri_ref`
    Text(&'a str),
    /// `ce_bytes`
    Bytes(&'a [u8]),
    /// `ce_timestamp`
    Time(Timestamp),
    /// None of these is there.
    Empty,
}

/// The same event written anew, for a frame whose envelope is odd.
///
/// # Errors
/// When prost cannot read the frame either.
pub fn canonical(frame: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let event = CloudEvent::decode(frame).map_err(|e| DecodeError::Envelope(e.to_string()))?;
    Ok(event.encode_to_vec())
}

impl<'a> Envelope<'a> {
    /// Reads an envelope in its usual form; `None` when it is malformed or odd.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        Self::read_with(bytes, &|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The same where `text` knows a quicker way to tell UTF-8.
    #[inline]
    pub(super) fn read_with(
        bytes: &'a [u8],
        text: &impl Fn(&'a [u8]) -> Option<&'a str>,
    ) -> Option<Self> {
        let mut envelope = Envelope {
            id: "",
            source: "",
            ty: "",
            time: None,
            content_type: "",
            schema: "",
            data: Data::None,
            attribute_count: 0,
            first: [("", Attribute::Empty); FEW],
            bytes,
        };
        let mut reader = Reader::new(bytes);
        let mut seen_time = false;
        while !reader.is_done() {
            let (number, value) = reader.field()?;
            match number {
                1 => envelope.id = value.text()?,
                2 => envelope.source = text(value.bytes()?)?,
                3 => drop(text(value.bytes()?)?),
                4 => envelope.ty = text(value.bytes()?)?,
                5 => {
                    let attribute = read_attribute(value.bytes()?, text)?;
                    if let Some(place) = envelope.first.get_mut(envelope.attribute_count as usize) {
                        *place = attribute;
                    }
                    envelope.attribute_count += 1;
                }
                6 => envelope.set_data(Data::Binary(value.bytes()?))?,
                7 => envelope.set_data(Data::Text(value.text()?))?,
                8 => envelope.set_data(read_any(value.bytes()?, text)?)?,
                9 if seen_time => return None,
                9 => {
                    seen_time = true;
                    envelope.time = Some(read_time(value.bytes()?)?);
                }
                10 => envelope.content_type = text(value.bytes()?)?,
                11 => envelope.schema = text(value.bytes()?)?,
                _ => {}
            }
        }
        envelope.has_distinct_keys().then_some(envelope)
    }

    /// The entries of the attribute map, in the order of the wire.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, Attribute<'a>)> + '_ {
        let count = self.attribute_count as usize;
        let few = &self.first[..count.min(FEW)];
        // More than a few are read again from where they are.
        let mut reader = Reader::new(if count > FEW { self.bytes } else { &[] });
        let rest = std::iter::from_fn(move || {
            while !reader.is_done() {
                let (number, value) = reader.field()?;
                if number == 5 {
                    return read_attribute(value.bytes()?, &|bytes| {
                        std::str::from_utf8(bytes).ok()
                    });
                }
            }
            None
        });
        few.iter().copied().chain(rest.skip(FEW))
    }

    /// Two payload fields, or one twice, would have to be merged: that is odd.
    fn set_data(&mut self, data: Data<'a>) -> Option<()> {
        let first = self.data == Data::None;
        self.data = data;
        first.then_some(())
    }

    fn has_distinct_keys(&self) -> bool {
        // An envelope of very many attributes takes the long way rather than quadratic time here.
        match self.attribute_count {
            0 | 1 => true,
            2..=32 => self.attributes().enumerate().all(|(index, (key, _))| {
                self.attributes().take(index).all(|(earlier, _)| earlier != key)
            }),
            _ => {
                let keys: std::collections::HashSet<_> = self.attributes().map(|a| a.0).collect();
                keys.len() == self.attribute_count as usize
            }
        }
    }
}

/// Reads an `Any` in its usual form.
#[inline]
fn read_any<'a>(bytes: &'a [u8], text: &impl Fn(&'a [u8]) -> Option<&'a str>) -> Option<Data<'a>> {
    let (mut type_url, mut value) = ("", &[][..]);
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        match reader.field()? {
            (1, field) => type_url = text(field.bytes()?)?,
            (2, field) => value = field.bytes()?,
            _ => {}
        }
    }
    Some(Data::Message { type_url, value })
}

pub(super) fn read_time(bytes: &[u8]) -> Option<Timestamp> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        match reader.field()? {
            (1, Value::Varint(value)) => seconds = value as i64,
            (2, Value::Varint(value)) => nanos = value as i32,
            (1 | 2, _) => return None,
            _ => {}
        }
    }
    Timestamp::new(seconds, nanos)
}

/// Reads one map entry in its usual form: key, then value, each once.
#[inline]
fn read_attribute<'a>(
    bytes: &'a [u8],
    text: &impl Fn(&'a [u8]) -> Option<&'a str>,
) -> Option<(&'a str, Attribute<'a>)> {
    let (mut key, mut attribute, mut values) = ("", Attribute::Empty, 0);
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        match reader.field()? {
            (1, field) => key = text(field.bytes()?)?,
            (2, field) => {
                attribute = read_attribute_value(field.bytes()?, text)?;
                values += 1;
            }
            _ => {}
        }
    }
    (values <= 1).then_some((key, attribute))
}

#[inline]
fn read_attribute_value<'a>(
    bytes: &'a [u8],
    text: &impl Fn(&'a [u8]) -> Option<&'a str>,
) -> Option<Attribute<'a>> {
    let mut attribute = Attribute::Empty;
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        let (number, value) = reader.field()?;
        let next = match number {
            1 => Attribute::Boolean(value.varint()? != 0),
            2 => Attribute::Integer(value.varint()? as i32),
            3 | 5 | 6 => Attribute::Text(text(value.bytes()?)?),
            4 => Attribute::Bytes(value.bytes()?),
            7 => Attribute::Time(read_time(value.bytes()?)?),
            _ => continue,
        };
        if attribute != Attribute::Empty {
            return None;
        }
        attribute = next;
    }
    Some(attribute)
}

#[cfg(test)]
mod tests {
    use super::super::proto::cloudevents::v1::{
        CloudEventAttributeValue, cloud_event, cloud_event_attribute_value::Value as Ce,
    };
    use super::super::registry::Registry;
    use super::super::table::tests::random;
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;

    fn event() -> CloudEvent {
        CloudEvent {
            id: "1".into(),
            source: "/s".into(),
            specversion: "1.0".into(),
            r#type: "t".into(),
            time: Some(prost_types::Timestamp { seconds: 5, nanos: 7 }),
            datacontenttype: "application/protobuf".into(),
            dataschema: "x".into(),
            attributes: [("subject", Ce::CeString("tenant".into())), ("n", Ce::CeInteger(-3))]
                .into_iter()
                .map(|(k, v)| (k.to_owned(), CloudEventAttributeValue { value: Some(v) }))
                .collect(),
            data: Some(cloud_event::Data::ProtoData(prost_types::Any {
                type_url: "a/b.C".into(),
                value: vec![1, 2],
            })),
        }
    }

    #[test]
    fn reads_every_field() {
        let bytes = event().encode_to_vec();
        let envelope = Envelope::read(&bytes).unwrap();
        assert_eq!((envelope.id, envelope.source, envelope.ty), ("1", "/s", "t"));
        assert_eq!(envelope.time, Timestamp::new(5, 7));
        assert_eq!(envelope.data, Data::Message { type_url: "a/b.C", value: &[1, 2] });
        let mut attributes: Vec<_> = envelope.attributes().collect();
        attributes.sort_by_key(|a| a.0);
        assert_eq!(attributes[0], ("n", Attribute::Integer(-3)));
        assert_eq!(attributes[1], ("subject", Attribute::Text("tenant")));
    }

    #[test]
    fn an_odd_envelope_is_settled_by_prost() {
        // The payload twice: protobuf merges them, the later value wins.
        let mut bytes = event().encode_to_vec();
        let second = CloudEvent {
            data: Some(cloud_event::Data::ProtoData(prost_types::Any {
                type_url: String::new(),
                value: vec![9],
            })),
            ..CloudEvent::default()
        };
        bytes.extend(second.encode_to_vec());
        assert!(Envelope::read(&bytes).is_none());
        let settled = canonical(&bytes).unwrap();
        let envelope = Envelope::read(&settled).unwrap();
        assert_eq!(envelope.data, Data::Message { type_url: "a/b.C", value: &[9] });
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(canonical(b"\xff\xff\xff").is_err());
        assert!(canonical(b"\x0a\x02\xff\xfe").is_err(), "an id that is not UTF-8");
    }

    fn attribute(value: &CloudEventAttributeValue) -> Attribute<'_> {
        match value.value.as_ref() {
            None => Attribute::Empty,
            Some(Ce::CeBoolean(value)) => Attribute::Boolean(*value),
            Some(Ce::CeInteger(value)) => Attribute::Integer(*value),
            Some(Ce::CeString(text) | Ce::CeUri(text) | Ce::CeUriRef(text)) => {
                Attribute::Text(text)
            }
            Some(Ce::CeBytes(bytes)) => Attribute::Bytes(bytes),
            Some(Ce::CeTimestamp(time)) => {
                Attribute::Time(Timestamp::new(time.seconds, time.nanos).unwrap())
            }
        }
    }

    /// What is read in place is what prost reads. Whether it was.
    fn agree(bytes: &[u8]) -> bool {
        let Some(read) = Envelope::read(bytes) else { return false };
        let event = CloudEvent::decode(bytes).unwrap();
        assert_eq!((read.id, read.source, read.ty), (&*event.id, &*event.source, &*event.r#type));
        assert_eq!((read.content_type, read.schema), (&*event.datacontenttype, &*event.dataschema));
        assert_eq!(read.time, event.time.and_then(|t| Timestamp::new(t.seconds, t.nanos)));
        let data = match event.data.as_ref() {
            None => Data::None,
            Some(cloud_event::Data::BinaryData(bytes)) => Data::Binary(bytes),
            Some(cloud_event::Data::TextData(text)) => Data::Text(text),
            Some(cloud_event::Data::ProtoData(any)) => {
                Data::Message { type_url: &any.type_url, value: &any.value }
            }
        };
        assert_eq!(read.data, data);
        assert_eq!(read.attributes().count(), event.attributes.len());
        for (key, value) in read.attributes() {
            assert_eq!(value, attribute(&event.attributes[key]), "{key}");
        }
        true
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_in_place_is_what_prost_reads(seed: u64) {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let registry = Registry::built_in();
            let id = registry.named("cloudevents.v1.CloudEvent").unwrap();
            let mut bytes = random::message(&mut rng, registry.descriptor(id), 0).encode_to_vec();
            assert!(agree(&bytes), "not read in place: {bytes:?}");
            for _ in 0..20 {
                bytes = random::mangle(&mut rng, &bytes);
                agree(&bytes);
            }
        }
    }

    #[test]
    fn many_attributes_are_all_there() {
        for count in 0..40 {
            let mut event = event();
            event.attributes = (0..count)
                .map(|n| {
                    (format!("a{n}"), CloudEventAttributeValue { value: Some(Ce::CeInteger(n)) })
                })
                .collect();
            assert!(agree(&event.encode_to_vec()), "{count}");
        }
    }
}
