//! Envelopes like one before. Those of one kind differ only in id, payload and time; where all else is byte
//! for byte what it was in an envelope already read, what was read then holds again. Key types: [`Layout`],
//! [`Template`].

use super::registry::MessageId;
use super::wire::{Reader, Value};
use crate::text::is_same;

/// Envelopes with more around the payload than this are read anew each time.
const MAX_LENGTH: usize = 1_024;

/// The parts of an envelope written in the usual order, its fields by ascending number.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    /// `id`
    pub id: &'a [u8],
    /// `type`
    pub ty: &'a [u8],
    /// The value of the `Any`.
    pub value: &'a [u8],
    /// `time`, a message.
    pub time: &'a [u8],
    /// The fields between `id` and the payload.
    head: &'a [u8],
    /// The `type_url` of the `Any`.
    type_url: &'a [u8],
    /// The fields behind the time.
    tail: &'a [u8],
}

impl<'a> Layout<'a> {
    /// The parts of an envelope; `None` if it is written in any other way.
    #[inline]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (1, Value::Bytes(id)) = reader.field()? else { return None };
        let after_id = reader.rest();
        let mut ty = &[][..];
        let mut head_length = 0;
        let any = loop {
            match reader.field()? {
                (4, Value::Bytes(text)) => ty = text,
                (2 | 3 | 5, Value::Bytes(_)) => {}
                (8, Value::Bytes(any)) => break any,
                _ => return None,
            }
            head_length = after_id.len() - reader.rest().len();
        };
        let (9, Value::Bytes(time)) = reader.field()? else { return None };
        let mut inner = Reader::new(any);
        let (1, Value::Bytes(type_url)) = inner.field()? else { return None };
        let (2, Value::Bytes(value)) = inner.field()? else { return None };
        let head = after_id.get(..head_length)?;
        let is_whole = inner.is_done() && !id.is_empty();
        is_whole.then_some(Layout { id, ty, value, time, head, type_url, tail: reader.rest() })
    }

    /// Whether nothing behind the time takes the place of another part.
    fn has_plain_tail(&self) -> bool {
        let mut reader = Reader::new(self.tail);
        while !reader.is_done() {
            if !matches!(reader.field(), Some((10 | 11, Value::Bytes(_)))) {
                return false;
            }
        }
        true
    }
}

/// What an envelope was read as, all but its id, payload and time.
#[derive(Debug)]
pub(super) struct Template {
    /// The number of the registry that chose the message.
    registry: u64,
    stream: Box<str>,
    head: Box<[u8]>,
    type_url: Box<[u8]>,
    tail: Box<[u8]>,
    /// `source`
    pub source: Box<str>,
    /// `type`
    pub ty: Box<str>,
    /// `subject`
    pub subject: Box<str>,
    /// `dataschema`
    pub schema: Box<str>,
    /// Other attributes, as members of a JSON object.
    pub extensions: Box<str>,
    /// The message of the payload.
    pub message: MessageId,
}

/// What was read from an envelope.
pub(super) struct Reading<'a> {
    pub registry: u64,
    pub stream: &'a str,
    pub source: &'a str,
    pub ty: &'a str,
    pub subject: &'a str,
    pub schema: &'a str,
    pub extensions: &'a str,
    pub message: MessageId,
}

impl Template {
    /// A template from an envelope and what was read from it, unless it is one of those that are not worth it.
    pub fn new(layout: &Layout<'_>, reading: &Reading<'_>) -> Option<Self> {
        let length = layout.head.len() + layout.type_url.len() + layout.tail.len();
        if length > MAX_LENGTH || !layout.has_plain_tail() {
            return None;
        }
        Some(Template {
            registry: reading.registry,
            stream: reading.stream.into(),
            head: layout.head.into(),
            type_url: layout.type_url.into(),
            tail: layout.tail.into(),
            source: reading.source.into(),
            ty: reading.ty.into(),
            subject: reading.subject.into(),
            schema: reading.schema.into(),
            extensions: reading.extensions.into(),
            message: reading.message,
        })
    }

    /// Whether an envelope is of this kind.
    #[inline]
    pub fn fits(&self, registry: u64, stream: &str, layout: &Layout<'_>) -> bool {
        self.registry == registry
            && is_same(&self.head, layout.head)
            && is_same(&self.type_url, layout.type_url)
            && is_same(&self.tail, layout.tail)
            && is_same(self.stream.as_bytes(), stream.as_bytes())
    }
}
