//! Puts the events of frames into a batch. Key type: [`Decoder`].

use std::cell::RefCell;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::DecodeError;
use super::envelope::{Attribute, Data, Envelope, canonical, read_time};
use super::known::Known;
use super::registry::{Chosen, MessageId, Registry};
use super::template::{Layout, Reading, Template};
use crate::batch::{Batch, NewRow, Payload, Transcode};
use crate::columns::Span;
use crate::frame::{Frame, Kind};
use crate::line::Extensions;
use crate::text::{is_json, push_json_string};
use crate::timestamp::{Timestamp, push_time};

const JSON: &str = "application/json";

thread_local! {
    /// One per thread, and so one per pipeline: nobody waits for it, and batches come and go.
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Decodes frames into batches, and later their payloads into JSON.
#[derive(Debug, Clone)]
pub struct Decoder {
    registry: Arc<Registry>,
}

impl Decoder {
    /// A decoder with these schemas.
    pub fn new(registry: Arc<Registry>) -> Self {
        Decoder { registry }
    }

    /// Adds a frame, and the event in it, to a batch. `stream` is empty where it is not known.
    ///
    /// # Errors
    /// When there is no event in the frame. The frame is in the batch all the same, with no event.
    pub fn decode(&self, stream: &str, frame: Frame, batch: &mut Batch) -> Result<(), DecodeError> {
        match frame.kind {
            Kind::Binary => {}
            Kind::Text => {
                batch.push_frame(frame, None);
                return Err(DecodeError::TextFrame);
            }
            Kind::TooLarge(size) => {
                batch.push_frame(frame, None);
                return Err(DecodeError::TooLarge(size));
            }
        }
        let (canonical, result) =
            KNOWN.with_borrow(|known| self.push_any(stream, &frame.bytes, known, batch));
        if KNOWN.with_borrow(Known::is_stale) {
            KNOWN.take();
        }
        batch.push_frame(frame, canonical);
        result
    }

    /// Adds the event in these bytes, in whatever form it is. The bytes that it was read from come back
    /// where they are others.
    fn push_any(
        &self,
        stream: &str,
        bytes: &[u8],
        known: &Known,
        batch: &mut Batch,
    ) -> (Option<Vec<u8>>, Result<(), DecodeError>) {
        let layout = Layout::read(bytes);
        if layout.as_ref().is_some_and(|layout| self.push_like(stream, bytes, layout, known, batch))
        {
            return (None, Ok(()));
        }
        if let Some(envelope) = Envelope::read_with(bytes, &|bytes| known.text(bytes)) {
            return (None, self.push_event(stream, bytes, &envelope, layout, known, batch));
        }
        match canonical(bytes) {
            Ok(settled) => {
                let result = self.push_settled(stream, &settled, known, batch);
                (Some(settled), result)
            }
            Err(error) => (None, Err(error)),
        }
    }

    /// Adds an event whose envelope is like one before; `false` if it is not.
    fn push_like(
        &self,
        stream: &str,
        bytes: &[u8],
        layout: &Layout<'_>,
        known: &Known,
        batch: &mut Batch,
    ) -> bool {
        let Some(template) = known.template(layout.ty) else { return false };
        let Ok(id) = std::str::from_utf8(layout.id) else { return false };
        let Some(time) = read_time(layout.time) else { return false };
        if !template.fits(self.registry.number(), stream, layout) {
            return false;
        }
        batch.push(&NewRow {
            id,
            source: &template.source,
            ty: &template.ty,
            subject: &template.subject,
            time: Some(time),
            content_type: JSON,
            schema: &template.schema,
            stream,
            extensions: &template.extensions,
            payload: Payload::Message(template.message.0, span(bytes, layout.value)),
        });
        true
    }

    fn push_settled(
        &self,
        stream: &str,
        bytes: &[u8],
        known: &Known,
        batch: &mut Batch,
    ) -> Result<(), DecodeError> {
        let envelope = Envelope::read(bytes)
            .ok_or_else(|| DecodeError::Envelope("a time beyond the years 1 to 9999".to_owned()))?;
        self.push_event(stream, bytes, &envelope, None, known, batch)
    }

    fn push_event(
        &self,
        stream: &str,
        bytes: &[u8],
        envelope: &Envelope<'_>,
        layout: Option<Layout<'_>>,
        known: &Known,
        batch: &mut Batch,
    ) -> Result<(), DecodeError> {
        for (value, name) in
            [(envelope.id, "id"), (envelope.source, "source"), (envelope.ty, "type")]
        {
            if value.is_empty() {
                return Err(DecodeError::Missing(name));
            }
        }
        let extra = Extra::read(envelope);
        let content = self.content(stream, bytes, envelope, &extra, known);
        let Content { payload, content_type, schema, .. } = content;
        batch.push(&NewRow {
            id: envelope.id,
            source: envelope.source,
            ty: envelope.ty,
            subject: extra.subject,
            time: envelope.time.or(extra.time),
            content_type,
            schema,
            stream,
            extensions: &extra.extensions,
            payload,
        });
        if let (Some(layout), Payload::Message(message, _), false) =
            (layout, payload, content.is_guess)
        {
            let reading = Reading {
                registry: self.registry.number(),
                stream,
                source: envelope.source,
                ty: envelope.ty,
                subject: extra.subject,
                schema,
                extensions: &extra.extensions,
                message: MessageId(message),
            };
            known.learn(layout.ty, || Template::new(&layout, &reading));
        }
        Ok(())
    }

    /// What the payload is, and what is said of it.
    fn content<'a>(
        &self,
        stream: &str,
        bytes: &[u8],
        envelope: &Envelope<'a>,
        extra: &Extra<'a>,
        known: &Known,
    ) -> Content<'a> {
        let declared = first(envelope.content_type, extra.content_type);
        let schema = first(envelope.schema, extra.schema);
        let content =
            |payload, content_type| Content { payload, content_type, schema, is_guess: false };
        match envelope.data {
            Data::None => content(Payload::None, first(declared, JSON)),
            Data::Message { type_url, value } => {
                let given = Some(stream).filter(|name| !name.is_empty());
                let choose = || self.registry.choose(given, type_url, envelope.ty);
                let number = self.registry.number();
                let chosen = known.choice(number, stream, type_url, envelope.ty, choose);
                let at = span(bytes, value);
                match chosen.filter(|chosen| !chosen.is_guess || self.fits(chosen.message, value)) {
                    Some(Chosen { message, is_guess }) => {
                        Content { is_guess, ..content(Payload::Message(message.0, at), JSON) }
                    }
                    None => Content {
                        schema: first(schema, type_url),
                        ..content(Payload::Bytes(at), first(declared, "application/protobuf"))
                    },
                }
            }
            Data::Text(text) => {
                let at = span(bytes, text.as_bytes());
                let says_json =
                    declared.is_empty() || declared == JSON || declared.ends_with("+json");
                if says_json && is_json(text) {
                    content(Payload::Json(at), first(declared, JSON))
                } else {
                    content(Payload::Text(at), if says_json { "text/plain" } else { declared })
                }
            }
            Data::Binary(value) => content(
                Payload::Bytes(span(bytes, value)),
                first(declared, "application/octet-stream"),
            ),
        }
    }

    /// Whether a payload can be read as a message. Only for those that may be something else: it costs
    /// as much as writing it does.
    fn fits(&self, message: MessageId, payload: &[u8]) -> bool {
        let mut json = Vec::new();
        self.registry.write_json_bytes(message, payload, &mut json).is_ok()
            && std::str::from_utf8(&json).is_ok()
    }
}

/// What an event's payload is.
#[derive(Debug, Clone, Copy)]
struct Content<'a> {
    payload: Payload,
    /// As it will be written.
    content_type: &'a str,
    schema: &'a str,
    /// Whether it was looked into to know what it is, which the next of its kind must be too.
    is_guess: bool,
}

impl Transcode for Decoder {
    fn json(&self, message: u16, payload: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let written = self.registry.write_json_bytes(MessageId(message), payload, out);
        written.map_err(|error| error.to_string())
    }
}

/// What the attribute map holds besides the envelope's own fields.
#[derive(Debug, Default)]
struct Extra<'a> {
    subject: &'a str,
    time: Option<Timestamp>,
    content_type: &'a str,
    schema: &'a str,
    extensions: String,
}

impl<'a> Extra<'a> {
    fn read(envelope: &Envelope<'a>) -> Self {
        let mut extra = Extra::default();
        if envelope.attribute_count == 0 {
            return extra;
        }
        let mut extensions = Extensions::default();
        for (name, value) in envelope.attributes() {
            match (name, value) {
                ("subject", Attribute::Text(text)) => extra.subject = text,
                // In the CloudEvents schema these three are attributes, in Central's they are fields.
                ("datacontenttype", Attribute::Text(text)) if envelope.content_type.is_empty() => {
                    extra.content_type = text;
                }
                ("dataschema", Attribute::Text(text)) if envelope.schema.is_empty() => {
                    extra.schema = text;
                }
                ("time", Attribute::Time(time)) if envelope.time.is_none() => {
                    extra.time = Some(time);
                }
                (_, Attribute::Empty) => {}
                (name, value) => {
                    extensions.push_name(&mut extra.extensions, name);
                    push_value(&mut extra.extensions, value);
                }
            }
        }
        extra
    }
}

fn push_value(out: &mut String, value: Attribute<'_>) {
    match value {
        Attribute::Boolean(value) => out.push_str(if value { "true" } else { "false" }),
        Attribute::Integer(value) => out.push_str(&value.to_string()),
        Attribute::Text(text) => push_json_string(out, text),
        Attribute::Bytes(bytes) => push_json_string(out, &BASE64_STANDARD.encode(bytes)),
        Attribute::Time(time) => {
            out.push('"');
            push_time(out, time);
            out.push('"');
        }
        Attribute::Empty => out.push_str("null"),
    }
}

fn first<'a>(wanted: &'a str, otherwise: &'a str) -> &'a str {
    if wanted.is_empty() { otherwise } else { wanted }
}

/// Where a part of `bytes` lies within them, which it must. An empty part may lie anywhere.
fn span(bytes: &[u8], part: &[u8]) -> Span {
    if part.is_empty() {
        return Span::default();
    }
    let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
    Span { start: start as u32, end: (start + part.len()) as u32 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use rand::SeedableRng as _;

    use super::super::catalog::STREAMS;
    use super::super::table::tests::random;
    use super::*;
    use crate::columns::Fields;
    use crate::decode::proto::cloudevents::v1::{CloudEvent, cloud_event};
    use crate::sim::central::frames;

    /// What became of some frames: their lines and errors.
    fn outcome(decoder: &Decoder, stream: &str, frames: &[Vec<u8>]) -> Vec<String> {
        let mut batch = Batch::default();
        frames
            .iter()
            .map(|frame| {
                batch.clear();
                let decoded = decoder.decode(stream, Frame::binary(frame.clone()), &mut batch);
                if let Err(error) = decoded {
                    return error.to_string();
                }
                let rows = batch.live().to_vec();
                match batch.prepare(&rows, Fields::WHOLE, decoder).pop() {
                    Some((_, error)) => error,
                    None => batch.lines_of(&rows).into_text().text.into_owned(),
                }
            })
            .collect()
    }

    fn wrapped(id: &str, ty: &str, type_url: &str, value: &[u8]) -> Vec<u8> {
        let (type_url, value) = (type_url.to_owned(), value.to_vec());
        let event = CloudEvent {
            id: id.to_owned(),
            source: "/test".to_owned(),
            r#type: ty.to_owned(),
            data: Some(cloud_event::Data::ProtoData(prost_types::Any { type_url, value })),
            ..CloudEvent::default()
        };
        event.encode_to_vec()
    }

    /// The same by one who has seen nothing before.
    fn by_strangers(decoder: &Decoder, stream: &str, frames: &[Vec<u8>]) -> Vec<String> {
        let one = |frame: &Vec<u8>| {
            KNOWN.take();
            outcome(decoder, stream, std::slice::from_ref(frame)).remove(0)
        };
        frames.iter().map(one).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn what_was_seen_before_changes_nothing(seed: u64) {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let decoder = Decoder::new(Arc::new(Registry::built_in()));
            for stream in STREAMS {
                let mut frames: Vec<_> = frames(stream, seed, 20).collect();
                for at in 0..frames.len() {
                    frames.push(random::mangle(&mut rng, &frames[at]));
                }
                let fresh = by_strangers(&decoder, stream.name, &frames);
                let seen = outcome(&decoder, stream.name, &frames);
                prop_assert_eq!(&seen, &fresh);
                // Seen on another stream, they must not be taken for those of this one.
                let other = outcome(&decoder, "another", &frames);
                prop_assert_eq!(other, by_strangers(&decoder, "another", &frames));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

        /// What is taken for the stream's payload and is one stays what it was; all else is kept too.
        #[test]
        fn a_payload_of_an_unknown_type_is_always_an_event(seed: u64) {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let decoder = Decoder::new(Arc::new(Registry::built_in()));
            for stream in STREAMS {
                for frame in frames(stream, seed, 20) {
                    let envelope = Envelope::read(&frame).unwrap();
                    let Data::Message { value, .. } = envelope.data else { unreachable!() };
                    for value in [value.to_vec(), random::mangle(&mut rng, value)] {
                        let url = "x/acme.Unknown";
                        let frame = wrapped(envelope.id, envelope.ty, url, &value);
                        let line = outcome(&decoder, stream.name, &[frame]).remove(0);
                        let line: serde_json::Value = serde_json::from_str(&line).expect(&line);
                        let chosen = decoder.registry.choose(Some(stream.name), url, envelope.ty);
                        let mut json = String::new();
                        let read = chosen
                            .map(|chosen| decoder.registry.write_json(chosen.message, &value, &mut json));
                        if matches!(read, Some(Ok(()))) {
                            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
                            prop_assert_eq!(&line["data"], &json);
                        } else {
                            prop_assert_eq!(&line["data_base64"], &BASE64_STANDARD.encode(&value));
                            prop_assert_eq!(&line["dataschema"], url);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn envelopes_of_a_stream_are_read_by_template() {
        let decoder = Decoder::new(Arc::new(Registry::built_in()));
        for stream in STREAMS {
            KNOWN.take();
            let frames: Vec<_> = frames(stream, 1, 200).collect();
            outcome(&decoder, stream.name, &frames);
            let like = frames.iter().filter(|frame| {
                KNOWN.with_borrow(|known| {
                    let layout = Layout::read(frame).unwrap();
                    let template = known.template(layout.ty);
                    template
                        .is_some_and(|t| t.fits(decoder.registry.number(), stream.name, &layout))
                })
            });
            // Some types may share a place.
            assert!(like.count() * 10 >= frames.len() * 9, "{}", stream.name);
        }
    }

    #[test]
    fn a_message_known_to_another_registry_is_not_known_to_this() {
        let text = |decoder: &Decoder, frame: &Vec<u8>| {
            outcome(decoder, "ap-events", std::slice::from_ref(frame))
        };
        let stream = super::super::catalog::Stream::named("ap-events").unwrap();
        let frame = frames(stream, 1, 1).next().unwrap();
        let empty = Decoder::new(Arc::new(Registry::of(&prost_reflect::DescriptorPool::new())));
        let built_in = Decoder::new(Arc::new(Registry::built_in()));
        let (before, first) = (text(&empty, &frame), text(&built_in, &frame));
        assert!(first[0].contains("\"data\":{") && before[0].contains("data_base64"));
        assert_eq!(text(&empty, &frame), before);
    }
}
