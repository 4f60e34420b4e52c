//! Puts the events of frames into a batch. Key type: [`Decoder`].

use std::cell::RefCell;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::DecodeError;
use super::envelope::{Attribute, Data, Envelope, canonical};
use super::known::Known;
use super::registry::{MessageId, Registry};
use crate::batch::{Batch, NewRow, Payload, Transcode};
use crate::columns::Span;
use crate::frame::{Frame, Kind};
use crate::line::Extensions;
use crate::text::{Timestamp, is_json, push_json_string, push_time};

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
        let (canonical, result) = KNOWN.with_borrow(|known| {
            match Envelope::read_with(&frame.bytes, &|bytes| known.text(bytes)) {
                Some(envelope) => {
                    (None, self.push_event(stream, &frame.bytes, &envelope, known, batch))
                }
                None => match canonical(&frame.bytes) {
                    Ok(settled) => {
                        let result = self.push_settled(stream, &settled, known, batch);
                        (Some(settled), result)
                    }
                    Err(error) => (None, Err(error)),
                },
            }
        });
        if KNOWN.with_borrow(Known::is_stale) {
            KNOWN.take();
        }
        batch.push_frame(frame, canonical);
        result
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
        self.push_event(stream, bytes, &envelope, known, batch)
    }

    fn push_event(
        &self,
        stream: &str,
        bytes: &[u8],
        envelope: &Envelope<'_>,
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
        let (payload, content_type, schema) = self.payload(stream, bytes, envelope, &extra, known);
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
        Ok(())
    }

    /// What the payload is, its content type as it will be written, and its schema.
    fn payload<'a>(
        &self,
        stream: &str,
        bytes: &[u8],
        envelope: &Envelope<'a>,
        extra: &Extra<'a>,
        known: &Known,
    ) -> (Payload, &'a str, &'a str) {
        let declared = first(envelope.content_type, extra.content_type);
        let schema = first(envelope.schema, extra.schema);
        match envelope.data {
            Data::None => (Payload::None, first(declared, JSON), schema),
            Data::Message { type_url, value } => {
                let given = Some(stream).filter(|name| !name.is_empty());
                let choose = || self.registry.choose(given, type_url, envelope.ty);
                let number = self.registry.number();
                match known.choice(number, stream, type_url, envelope.ty, choose) {
                    Some(id) => (Payload::Message(id.0, span(bytes, value)), JSON, schema),
                    None => (
                        Payload::Bytes(span(bytes, value)),
                        first(declared, "application/protobuf"),
                        first(schema, type_url),
                    ),
                }
            }
            Data::Text(text) => {
                let at = span(bytes, text.as_bytes());
                let says_json =
                    declared.is_empty() || declared == JSON || declared.ends_with("+json");
                if says_json && is_json(text) {
                    (Payload::Json(at), first(declared, JSON), schema)
                } else {
                    let plain = if says_json { "text/plain" } else { declared };
                    (Payload::Text(at), plain, schema)
                }
            }
            Data::Binary(value) => (
                Payload::Bytes(span(bytes, value)),
                first(declared, "application/octet-stream"),
                schema,
            ),
        }
    }
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

/// Where a part of `bytes` lies within them. An empty part may lie anywhere.
fn span(bytes: &[u8], part: &[u8]) -> Span {
    if part.is_empty() {
        return Span::default();
    }
    let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
    Span { start: start as u32, end: (start + part.len()) as u32 }
}
