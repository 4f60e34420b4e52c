//! The events of one batch on their way through a pipeline: a table that only grows, and the list
//! of those still on their way. Payloads become JSON once, when somebody first asks. Pure; knows
//! nothing of protobuf or plugins. Key types: [`Batch`], [`Transcode`].

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::columns::{Blobs, Columns, Fields, Lines, Names, Span, Texts};
use crate::frame::Frame;
use crate::line::{self, Event};
use crate::outcome::{Outcomes, Verdicts, lines};
use crate::text::{Timestamp, push_compact_json, push_json_string};

/// Turns payloads that are not JSON into JSON: the decoder, as the batch sees it.
pub trait Transcode {
    /// Appends the payload as compact JSON.
    ///
    /// # Errors
    /// Why it cannot be done, for the dead letter.
    fn json(&self, message: u16, payload: &[u8], out: &mut String) -> Result<(), String>;
}

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
    /// The payload, lying in the frame last pushed.
    pub payload: Payload,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    frame: u32,
    id: Span,
    source: u32,
    ty: u32,
    subject: Span,
    time: Option<Timestamp>,
    content_type: u32,
    schema: u32,
    stream: u32,
    extensions: Span,
    payload: Payload,
    /// Where its JSON is, once somebody asked for it.
    data: Option<Span>,
    line: Option<Span>,
    mark: Mark,
    is_refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Live,
    Gone,
    /// The rows from the first number on, that many, stand in its place.
    Replaced(RowId, u32),
}

#[derive(Debug)]
struct Received {
    frame: Frame,
    /// The same event written anew, where the frame is odd.
    canonical: Option<Vec<u8>>,
    /// Set for good once a part of it is dead or delivered.
    is_dead: bool,
    is_delivered: bool,
}

/// How the frames of a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends {
    /// All sinks and export plugins took what became of them.
    pub delivered: u64,
    /// A plugin ended their way.
    pub filtered: u64,
    /// They, or a part of them, are dead letters.
    pub dead_lettered: u64,
}

/// A batch of events.
#[derive(Debug, Default)]
pub struct Batch {
    received: Vec<Received>,
    rows: Vec<Row>,
    live: Vec<RowId>,
    ids: Texts,
    subjects: Texts,
    extensions: Texts,
    data: Texts,
    lines: Texts,
    sources: Names,
    types: Names,
    content_types: Names,
    schemas: Names,
    streams: Names,
}

impl Batch {
    /// Adds a frame; the rows pushed next are what is in it. Returns its number.
    pub fn push_frame(&mut self, frame: Frame, canonical: Option<Vec<u8>>) -> u32 {
        self.received.push(Received { frame, canonical, is_dead: false, is_delivered: false });
        self.received.len() as u32 - 1
    }

    /// Adds an event of the frame last pushed.
    pub fn push(&mut self, new: &NewRow<'_>) {
        let row = Row {
            frame: self.received.len() as u32 - 1,
            id: self.ids.push(new.id),
            source: self.sources.number(new.source),
            ty: self.types.number(new.ty),
            subject: self.subjects.push(new.subject),
            time: new.time,
            content_type: self.content_types.number(new.content_type),
            schema: self.schemas.number(new.schema),
            stream: self.streams.number(new.stream),
            extensions: self.extensions.push(new.extensions),
            payload: new.payload,
            data: None,
            line: None,
            mark: Mark::Live,
            is_refused: false,
        };
        self.live.push(self.rows.len() as RowId);
        self.rows.push(row);
    }

    /// How many frames came in.
    pub fn frame_count(&self) -> usize {
        self.received.len()
    }

    /// The events still on their way, in order.
    pub fn live(&self) -> &[RowId] {
        &self.live
    }

    /// Those of them whose type `wanted` says yes to; it is asked once per type.
    pub fn live_of(&self, wanted: impl Fn(&str) -> bool) -> Vec<RowId> {
        let by_number: Vec<_> =
            (0..self.types.len()).map(|n| wanted(self.types.get(n as u32))).collect();
        let rows = self.live.iter().copied();
        rows.filter(|row| by_number[self.row(*row).ty as usize]).collect()
    }

    /// The frame that an event came in.
    pub fn frame_of(&self, row: RowId) -> u32 {
        self.row(row).frame
    }

    /// A frame as received.
    pub fn frame(&self, number: u32) -> &Frame {
        &self.received[number as usize].frame
    }

    /// The `id` of an event.
    pub fn id(&self, row: RowId) -> &str {
        self.ids.get(self.row(row).id)
    }

    /// Makes what `fields` ask of these events. Those whose payload cannot be written as JSON come
    /// back with the reason; they must be given up before the columns are taken.
    pub fn prepare(
        &mut self,
        rows: &[RowId],
        fields: Fields,
        transcode: &dyn Transcode,
    ) -> Vec<(RowId, String)> {
        let mut failed = Vec::new();
        if !fields.has(Fields::DATA) && !fields.has(Fields::WHOLE) {
            return failed;
        }
        for row in rows {
            if let Err(reason) = self.make_data(*row, transcode) {
                failed.push((*row, reason));
            } else if fields.has(Fields::WHOLE) {
                self.make_line(*row);
            }
        }
        failed
    }

    /// The wanted columns of some events. What was wanted must have been prepared.
    pub fn columns(&self, rows: &[RowId], fields: Fields) -> Columns<'_> {
        let of = |get: fn(&Row) -> Span, texts| self.texts_of(rows, get, texts);
        let wants = |field| fields.has(field);
        let numbers = |get: fn(&Row) -> u32| rows.iter().map(move |row| get(self.row(*row)));
        Columns {
            types: self.types.dictionary(numbers(|row| row.ty)),
            sources: wants(Fields::SOURCES)
                .then(|| self.sources.dictionary(numbers(|row| row.source))),
            times: wants(Fields::TIMES).then(|| {
                rows.iter().map(|row| self.row(*row).time.map_or(0, |t| t.micros())).collect()
            }),
            ids: wants(Fields::IDS).then(|| of(|row| row.id, &self.ids)),
            subjects: wants(Fields::SUBJECTS).then(|| of(|row| row.subject, &self.subjects)),
            data: wants(Fields::DATA).then(|| of(|row| row.data.unwrap_or_default(), &self.data)),
            attributes: wants(Fields::ATTRIBUTES).then(|| self.attributes(rows)),
            whole: wants(Fields::WHOLE).then(|| self.lines_of(rows)),
            raw: wants(Fields::RAW).then(|| self.raw(rows)),
        }
    }

    /// The lines of some events, which must have been prepared with [`Fields::WHOLE`].
    pub fn lines_of(&self, rows: &[RowId]) -> Lines<'_> {
        self.texts_of(rows, |row| row.line.unwrap_or_default(), &self.lines)
    }

    /// The line of one event for its dead letter, if it can be made.
    pub fn line_of(&mut self, row: RowId, transcode: &dyn Transcode) -> Option<String> {
        self.make_data(row, transcode).ok()?;
        self.make_line(row);
        Some(self.lines.get(self.row(row).line?).to_owned())
    }

    /// Ends the way of the events that a filter does not keep.
    pub fn filter(&mut self, rows: &[RowId], verdicts: &Verdicts) {
        for (row, keep) in rows.iter().zip(&verdicts.keep) {
            if *keep == 0 {
                self.rows[*row as usize].mark = Mark::Gone;
            }
        }
    }

    /// Puts new events in the place of those that a transform changed, and ends the way of those it
    /// dropped. The answer must have been checked.
    pub fn transform(&mut self, rows: &[RowId], outcomes: &Outcomes) {
        let count = outcomes.new_events();
        let mut data = lines(&outcomes.data, count);
        let mut subjects = outcomes.subjects.as_deref().map(|text| lines(text, count));
        let mut attributes = outcomes.attributes.as_deref().map(|text| lines(text, count));
        let mut types = outcomes
            .types
            .as_ref()
            .map(|(values, index)| index.iter().map(|at| &*values[usize::from(*at)]));
        for (old, fate) in rows.iter().zip(&outcomes.fates) {
            let Ok(parts) = u32::try_from(*fate) else { continue };
            let first = self.rows.len() as RowId;
            for part in 1..=parts {
                let made = Made {
                    part: (parts > 1).then_some(part),
                    data: data.next().unwrap_or_default(),
                    subject: subjects.as_mut().and_then(Iterator::next),
                    attributes: attributes.as_mut().and_then(Iterator::next),
                    ty: types.as_mut().and_then(Iterator::next),
                };
                self.push_made(*old, &made);
            }
            let mark = if parts == 0 { Mark::Gone } else { Mark::Replaced(first, parts) };
            self.rows[*old as usize].mark = mark;
        }
    }

    /// Gives an event up: the frame it came in counts as dead-lettered.
    pub fn give_up(&mut self, row: RowId) {
        let row = &mut self.rows[row as usize];
        row.mark = Mark::Gone;
        self.received[row.frame as usize].is_dead = true;
    }

    /// Notes that somebody will never take an event: the frame it came in counts as dead-lettered, but
    /// the event goes on to others. Returns false if that was noted before.
    pub fn refuse(&mut self, row: RowId) -> bool {
        let row = &mut self.rows[row as usize];
        self.received[row.frame as usize].is_dead = true;
        !std::mem::replace(&mut row.is_refused, true)
    }

    /// Gives a frame up of which there is no event.
    pub fn give_up_frame(&mut self, number: u32) {
        self.received[number as usize].is_dead = true;
    }

    /// Brings the list of events up to date with what was marked since.
    pub fn settle(&mut self) {
        let rows = &self.rows;
        if self.live.iter().all(|row| rows[*row as usize].mark == Mark::Live) {
            return;
        }
        let mut settled = Vec::with_capacity(self.live.len());
        for row in &self.live {
            match rows[*row as usize].mark {
                Mark::Live => settled.push(*row),
                Mark::Gone => {}
                Mark::Replaced(first, count) => settled.extend(first..first + count),
            }
        }
        self.live = settled;
    }

    /// Counts how every frame ended, now that what is left has been delivered.
    pub fn finish(&mut self) -> Ends {
        for row in &self.live {
            self.received[self.rows[*row as usize].frame as usize].is_delivered = true;
        }
        let mut ends = Ends::default();
        for received in &self.received {
            let end = match received {
                Received { is_dead: true, .. } => &mut ends.dead_lettered,
                Received { is_delivered: true, .. } => &mut ends.delivered,
                _ => &mut ends.filtered,
            };
            *end += 1;
        }
        ends
    }

    fn row(&self, row: RowId) -> &Row {
        &self.rows[row as usize]
    }

    fn texts_of<'a>(&self, rows: &[RowId], get: fn(&Row) -> Span, texts: &'a Texts) -> Lines<'a> {
        texts.lines(rows.iter().map(|row| get(self.row(*row))))
    }

    fn payload_bytes(&self, row: &Row) -> &[u8] {
        let (Payload::Message(_, at) | Payload::Json(at) | Payload::Text(at) | Payload::Bytes(at)) =
            row.payload
        else {
            return &[];
        };
        let received = &self.received[row.frame as usize];
        &received.canonical.as_deref().unwrap_or(&received.frame.bytes)[at.range()]
    }

    fn make_data(&mut self, id: RowId, transcode: &dyn Transcode) -> Result<(), String> {
        let row = self.row(id);
        if row.data.is_some() {
            return Ok(());
        }
        let kind = row.payload;
        // Taken out, so that it can be written to while the frame is read.
        let mut data = std::mem::take(&mut self.data);
        let payload = self.payload_bytes(self.row(id));
        let span = data.try_push_with(|out| write_data(out, kind, payload, transcode));
        self.data = data;
        self.rows[id as usize].data = Some(span?);
        Ok(())
    }

    fn event(&self, row: &Row) -> Event<'_> {
        Event {
            id: self.ids.get(row.id),
            source: self.sources.get(row.source),
            ty: self.types.get(row.ty),
            subject: self.subjects.get(row.subject),
            time: row.time,
            content_type: self.content_types.get(row.content_type),
            schema: self.schemas.get(row.schema),
            stream: self.streams.get(row.stream),
            extensions: self.extensions.get(row.extensions),
            data: self.data.get(row.data.unwrap_or_default()),
            is_base64: matches!(row.payload, Payload::Bytes(_)),
        }
    }

    fn make_line(&mut self, id: RowId) {
        if self.row(id).line.is_some() {
            return;
        }
        // Taken out, so that it can be written to while the rest is read.
        let mut lines = std::mem::take(&mut self.lines);
        let span = lines.push_with(|out| line::push_event(out, &self.event(self.row(id))));
        self.lines = lines;
        self.rows[id as usize].line = Some(span);
    }

    fn attributes(&self, rows: &[RowId]) -> Lines<'static> {
        let mut text = String::new();
        let mut ends = Vec::with_capacity(rows.len());
        for row in rows {
            text.push('{');
            line::push_attributes(&mut text, &self.event(self.row(*row)));
            text.push('}');
            ends.push(text.len() as u32);
            text.push('\n');
        }
        Lines { text: text.into(), ends }
    }

    fn raw(&self, rows: &[RowId]) -> Blobs {
        let mut blobs = Blobs::default();
        for row in rows {
            blobs.bytes.extend_from_slice(self.payload_bytes(self.row(*row)));
            blobs.ends.push(blobs.bytes.len() as u32);
        }
        blobs
    }

    fn push_made(&mut self, old: RowId, made: &Made<'_>) {
        let mut row = *self.row(old);
        if let Some(part) = made.part {
            let id = format!("{}.{part}", self.ids.get(row.id));
            row.id = self.ids.push(&id);
        }
        if let Some(ty) = made.ty {
            row.ty = self.types.number(ty);
        }
        if let Some(subject) = made.subject {
            row.subject = self.subjects.push(subject);
        }
        if let Some(attributes) = made.attributes {
            let new = line::read_attributes(attributes).unwrap_or_default();
            row.schema = self.schemas.number(&new.schema);
            row.extensions = self.extensions.push(&new.extensions);
        }
        row.content_type = self.content_types.number("application/json");
        row.payload = Payload::Made;
        row.data = Some(self.data.push_with(|out| push_compact_json(out, made.data)));
        row.line = None;
        row.mark = Mark::Live;
        self.rows.push(row);
    }
}

fn write_data(
    out: &mut String,
    kind: Payload,
    payload: &[u8],
    transcode: &dyn Transcode,
) -> Result<(), String> {
    match kind {
        Payload::None | Payload::Made => {}
        Payload::Message(message, _) => transcode.json(message, payload, out)?,
        Payload::Json(_) => push_compact_json(out, &String::from_utf8_lossy(payload)),
        Payload::Text(_) => push_json_string(out, &String::from_utf8_lossy(payload)),
        Payload::Bytes(_) => {
            out.push('"');
            BASE64_STANDARD.encode_string(payload, out);
            out.push('"');
        }
    }
    Ok(())
}

/// A new event that a transform made.
struct Made<'a> {
    part: Option<u32>,
    data: &'a str,
    subject: Option<&'a str>,
    attributes: Option<&'a str>,
    ty: Option<&'a str>,
}
