//! The events of one batch on their way through a pipeline: a table that only grows, and the list
//! of those still on their way. Payloads become JSON once, when somebody first asks. Pure; knows
//! nothing of protobuf or plugins. Key types: [`Batch`], [`Transcode`].

use std::cell::Cell;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::columns::{Blobs, ByteLines, ByteTexts, Columns, Fields, Lines, Span, Texts};
use crate::frame::Frame;
use crate::line::{self, Event, LineData, ReadLine};
use crate::outcome::{Outcomes, Verdicts, lines};
use crate::row::{Line, Made, Mark, Row};
pub use crate::row::{NewRow, Payload, RowId};
use crate::shapes::{Common, Shapes};
use crate::text::{Append as _, push_compact_json, push_json_string};
use crate::timestamp::LastSecond;

/// Turns payloads that are not JSON into JSON: the decoder, as the batch sees it.
pub trait Transcode {
    /// Appends the payload as compact JSON, which is UTF-8.
    ///
    /// # Errors
    /// Why it cannot be done, for the dead letter.
    fn json(&self, message: u16, payload: &[u8], out: &mut Vec<u8>) -> Result<(), String>;
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
    lines: ByteTexts,
    shapes: Shapes,
    last_second: Cell<LastSecond>,
    /// Where JSON is written before it is text.
    scratch: Vec<u8>,
}

/// So many bytes of scratch space.
const KEPT_SCRATCH: usize = 64 << 10;

impl Batch {
    /// Empties it, for the next batch to use its memory.
    pub fn clear(&mut self) {
        self.received.clear();
        self.rows.clear();
        self.live.clear();
        for texts in [&mut self.ids, &mut self.subjects, &mut self.extensions, &mut self.data] {
            texts.clear();
        }
        self.lines.clear();
        self.shapes.clear();
        self.scratch.clear();
        self.scratch.shrink_to(KEPT_SCRATCH);
    }

    /// Adds a frame; the rows pushed before, since the last one, are what is in it. Returns its number.
    pub fn push_frame(&mut self, frame: Frame, canonical: Option<Vec<u8>>) -> u32 {
        self.received.push(Received { frame, canonical, is_dead: false, is_delivered: false });
        self.received.len() as u32 - 1
    }

    /// Adds an event of the frame that is pushed next: it may still borrow from it.
    pub fn push(&mut self, new: &NewRow<'_>) {
        let row = Row {
            frame: self.received.len() as u32,
            shape: self.shapes.place(new),
            id: self.ids.push(new.id),
            subject: self.subjects.push(new.subject),
            time: new.time,
            extensions: match new.extensions {
                "" => Span::default(),
                members => self.extensions.push(members),
            },
            payload: new.payload,
            data: None,
            line: None,
            mark: Mark::Live,
        };
        self.live.push(self.rows.len() as RowId);
        self.rows.push(row);
    }

    /// Adds an event that was written as a line before, as transforms' are: with its payload as JSON.
    /// The frame is what it came from once.
    ///
    /// # Errors
    /// When its payload is not what it says.
    pub fn push_line(&mut self, frame: Frame, line: &ReadLine) -> Result<(), String> {
        let (payload, bytes) = match &line.data {
            LineData::None => (Payload::None, None),
            LineData::Json(_) => (Payload::Made, None),
            LineData::Base64(text) => {
                let bytes = BASE64_STANDARD.decode(text).map_err(|error| error.to_string())?;
                (Payload::Bytes(Span { start: 0, end: bytes.len() as u32 }), Some(bytes))
            }
        };
        self.push(&NewRow {
            id: &line.id,
            source: &line.source,
            ty: &line.ty,
            subject: &line.subject,
            time: line.time,
            content_type: &line.content_type,
            schema: &line.schema,
            stream: &line.stream,
            extensions: &line.extensions,
            payload,
        });
        if let (LineData::Json(json), Some(row)) = (&line.data, self.rows.last_mut()) {
            row.data = Some(self.data.push_with(|out| push_compact_json(out, json)));
        }
        self.push_frame(frame, bytes);
        Ok(())
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
        // The types of earlier batches are still known, and not to be asked for.
        let mut by_number = vec![None; self.shapes.types.len()];
        let is_wanted = |row: &RowId| {
            let ty = self.common(self.row(*row)).ty;
            *by_number[ty as usize].get_or_insert_with(|| wanted(self.shapes.types.get(ty)))
        };
        self.live.iter().copied().filter(is_wanted).collect()
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
            let mut made = Ok(());
            if fields.has(Fields::DATA) {
                made = self.make_data(*row, transcode);
            }
            if fields.has(Fields::WHOLE) && made.is_ok() {
                made = self.make_line(*row, transcode);
            }
            if let Err(reason) = made {
                failed.push((*row, reason));
            }
        }
        failed
    }

    /// The wanted columns of some events. What was wanted must have been prepared.
    pub fn columns(&self, rows: &[RowId], fields: Fields) -> Columns<'_> {
        let of = |get: fn(&Row) -> Span, texts| self.texts_of(rows, get, texts);
        let wants = |field| fields.has(field);
        let shapes = &self.shapes;
        let numbers =
            |get: fn(&Common) -> u32| rows.iter().map(move |row| get(self.common(self.row(*row))));
        Columns {
            types: shapes.types.dictionary(numbers(|common| common.ty)),
            sources: wants(Fields::SOURCES)
                .then(|| shapes.sources.dictionary(numbers(|common| common.source))),
            times: wants(Fields::TIMES).then(|| {
                rows.iter().map(|row| self.row(*row).time.map_or(0, |t| t.micros())).collect()
            }),
            ids: wants(Fields::IDS).then(|| of(|row| row.id, &self.ids)),
            subjects: wants(Fields::SUBJECTS).then(|| of(|row| row.subject, &self.subjects)),
            data: wants(Fields::DATA).then(|| of(|row| row.data.unwrap_or_default(), &self.data)),
            attributes: wants(Fields::ATTRIBUTES).then(|| self.attributes(rows)),
            whole: wants(Fields::WHOLE).then(|| self.lines_of(rows).into_text()),
            raw: wants(Fields::RAW).then(|| self.raw(rows)),
        }
    }

    /// The lines of some events, which must have been prepared with [`Fields::WHOLE`].
    pub fn lines_of(&self, rows: &[RowId]) -> ByteLines<'_> {
        let span = |row: &RowId| self.row(*row).line.map_or_else(Span::default, |line| line.all);
        self.lines.lines(rows.iter().map(span))
    }

    /// The line of one event for its dead letter, if it can be made.
    pub fn line_of(&mut self, row: RowId, transcode: &dyn Transcode) -> Option<String> {
        self.make_line(row, transcode).ok()?;
        Some(String::from_utf8_lossy(self.lines.get(self.row(row).line?.all)).into_owned())
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
    /// the event goes on to others.
    pub fn refuse(&mut self, row: RowId) {
        self.received[self.rows[row as usize].frame as usize].is_dead = true;
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
        let span = if let Some(line) = row.line {
            self.data.push_json(text(self.lines.get(line.data))?)
        } else {
            let mut out = self.take_scratch();
            let written = self.write_data(&mut out, self.row(id), transcode);
            let span = written.and_then(|()| Ok(self.data.push_json(text(&out)?)));
            self.scratch = out;
            span?
        };
        self.rows[id as usize].data = Some(span);
        Ok(())
    }

    /// Makes the line of an event, its payload straight into it unless somebody had that before.
    fn make_line(&mut self, id: RowId, transcode: &dyn Transcode) -> Result<(), String> {
        if self.row(id).line.is_some() {
            return Ok(());
        }
        // Taken out, so that it can be written to while the rest is read.
        let mut lines = std::mem::take(&mut self.lines);
        let written = lines.append(|out| self.write_line(out, self.row(id), transcode));
        self.lines = lines;
        let (all, data) = written?;
        self.rows[id as usize].line = Some(Line { all, data });
        Ok(())
    }

    /// Taken out as well.
    fn take_scratch(&mut self) -> Vec<u8> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch
    }

    /// Writes a line; where in it the payload is.
    fn write_line(
        &self,
        out: &mut Vec<u8>,
        row: &Row,
        transcode: &dyn Transcode,
    ) -> Result<Span, String> {
        let mut last = self.last_second.get();
        line::open(out, &self.event(row), &mut last);
        self.last_second.set(last);
        line::open_data(out, matches!(row.payload, Payload::Bytes(_)));
        let start = out.len() as u32;
        match row.data {
            Some(made) => out.text(self.data.get(made)),
            None => self.write_data(out, row, transcode)?,
        }
        let data = Span { start, end: out.len() as u32 };
        line::close(out, data.is_empty());
        Ok(data)
    }

    fn write_data(
        &self,
        out: &mut Vec<u8>,
        row: &Row,
        transcode: &dyn Transcode,
    ) -> Result<(), String> {
        let payload = self.payload_bytes(row);
        match row.payload {
            Payload::None | Payload::Made => {}
            Payload::Message(message, _) => transcode.json(message, payload, out)?,
            Payload::Json(_) => push_compact_json(out, &String::from_utf8_lossy(payload)),
            Payload::Text(_) => push_json_string(out, &String::from_utf8_lossy(payload)),
            Payload::Bytes(_) => push_json_string(out, &BASE64_STANDARD.encode(payload)),
        }
        Ok(())
    }

    #[inline]
    fn common(&self, row: &Row) -> &Common {
        &self.shapes.all[row.shape as usize].common
    }

    fn event(&self, row: &Row) -> Event<'_> {
        let shape = &self.shapes.all[row.shape as usize];
        Event {
            id: self.ids.get(row.id),
            head: &shape.head,
            subject: self.subjects.get(row.subject),
            time: row.time,
            tail: &shape.tail,
            extensions: self.extensions.get(row.extensions),
        }
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
        let mut common = *self.common(&row);
        if let Some(ty) = made.ty {
            common.ty = self.shapes.types.number(ty);
        }
        if let Some(subject) = made.subject {
            row.subject = self.subjects.push(subject);
        }
        if let Some(attributes) = made.attributes {
            let new = line::read_attributes(attributes).unwrap_or_default();
            common.schema = self.shapes.schemas.number(&new.schema);
            row.extensions = self.extensions.push(&new.extensions);
        }
        common.content_type = self.shapes.content_types.number("application/json");
        row.shape = self.shapes.place_of(common);
        row.payload = Payload::Made;
        row.data = Some(self.data.push_with(|out| push_compact_json(out, made.data)));
        row.line = None;
        row.mark = Mark::Live;
        self.rows.push(row);
    }
}

/// All of it at once, rather than each piece as it is written.
fn text(json: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(json).map_err(|error| error.to_string())
}
