//! One event in a batch's table. Pure data. Key types: [`NewRow`], [`Row`].

use crate::columns::Span;
use crate::timestamp::Timestamp;

/// Number of an event in the batch's table.
pub type RowId = u32;

/// What an event's payload is, as received: where it lies in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// There is none.
    None,
    /// A message that can be written as JSON.
    Message(u16, Span),
    /// JSON text.
    Json(Span),
    /// Other text.
    Text(Span),
    /// Bytes that nobody here can read.
    Bytes(Span),
    /// JSON that a plugin made; it is in the data column.
    Made,
}

/// An event as it is put into the table.
#[derive(Debug, Clone, Copy)]
pub struct NewRow<'a> {
    /// CloudEvents `id`.
    pub id: &'a str,
    /// CloudEvents `source`.
    pub source: &'a str,
    /// CloudEvents `type`.
    pub ty: &'a str,
    /// CloudEvents `subject`, empty for none.
    pub subject: &'a str,
    /// CloudEvents `time`.
    pub time: Option<Timestamp>,
    /// CloudEvents `datacontenttype` of the payload as it will be written.
    pub content_type: &'a str,
    /// CloudEvents `dataschema`, empty for none.
    pub schema: &'a str,
    /// Name of the stream.
    pub stream: &'a str,
    /// Other attributes, as members of a JSON object.
    pub extensions: &'a str,
    /// The payload, lying in the frame that is pushed next.
    pub payload: Payload,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub frame: u32,
    /// Place of its shape.
    pub shape: u32,
    pub id: Span,
    pub subject: Span,
    pub time: Option<Timestamp>,
    pub extensions: Span,
    pub payload: Payload,
    /// Where its JSON is, once somebody asked for it.
    pub data: Option<Span>,
    pub line: Option<Line>,
    pub mark: Mark,
}

/// The line of an event: where it is, and the payload as JSON within it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub all: Span,
    pub data: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Live,
    Gone,
    /// The rows from the first number on, that many, stand in its place.
    Replaced(RowId, u32),
}

/// A new event that a transform made.
pub(crate) struct Made<'a> {
    pub part: Option<u32>,
    pub data: &'a str,
    pub subject: Option<&'a str>,
    pub attributes: Option<&'a str>,
    pub ty: Option<&'a str>,
}
