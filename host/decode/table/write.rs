//! One pass over the bytes of a message, appending JSON. Fields must come by ascending number, as all
//! encoders write them; a repeated one may be packed or not, and unknown ones may stand anywhere. Whatever
//! else there is (a field twice, two of one oneof, a wrong wire type, text that is not UTF-8) is given up.
//! Key function: [`Tables::write`].

use super::super::wire::{Reader, Value};
use super::scalar::{is_default, packed_wire_type, push_default, push_key, push_scalar};
use super::{EnumNames, Field, Form, Kind, MAX_DEPTH, Scalar, Shape, Table, Tables};
use crate::text::{Append as _, push_i64, push_json_bytes};

impl Tables {
    /// Appends a payload as JSON, the message being one of those compiled by its place among them.
    /// `false` if it is not settled here; then nothing was appended.
    pub fn write(&self, message: usize, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let before = out.len();
        let written = self.message(message as u32, payload, MAX_DEPTH, out).is_some();
        if !written {
            out.truncate(before);
        }
        written
    }

    /// Whether messages of this kind are never settled here.
    #[cfg(test)]
    pub(super) fn is_slow(&self, message: usize) -> bool {
        self.messages[message].form == Form::Slow
    }

    pub(super) fn message(
        &self,
        message: u32,
        bytes: &[u8],
        depth: u32,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let table = self.messages.get(message as usize)?;
        match table.form {
            Form::Plain => self.plain(table, bytes, depth, out),
            Form::Slow => None,
            form => self.well_known(form, bytes, depth, out),
        }
    }

    fn plain(&self, table: &Table, bytes: &[u8], depth: u32, out: &mut Vec<u8>) -> Option<()> {
        let mut reader = Reader::new(bytes);
        let mut object = Object::default();
        while !reader.is_done() {
            let (number, value) = reader.field()?;
            let Some(field) = table.field(number) else { continue };
            // Most fields by far: settled without a choice between kinds, which processors guess badly.
            if let (Kind::Scalar(Scalar::String), Value::Bytes(text)) = (field.kind, value)
                && let Shape::Implicit | Shape::Explicit = field.shape
            {
                object.next(out, field)?;
                if !text.is_empty() || field.shape == Shape::Explicit {
                    object.key(out, field);
                    push_json_bytes(out, text)?;
                }
                continue;
            }
            match field.shape {
                Shape::Explicit => {
                    object.next(out, field)?;
                    object.key(out, field);
                    self.value(field.kind, value, depth, out)?;
                }
                Shape::Implicit => {
                    object.next(out, field)?;
                    if !is_default_of(field.kind, value) {
                        object.key(out, field);
                        self.value(field.kind, value, depth, out)?;
                    }
                }
                Shape::List => {
                    if object.last != number {
                        object.next(out, field)?;
                    }
                    self.list(&mut object, field, value, depth, out)?;
                }
                Shape::Map => {
                    object.next(out, field)?;
                    object.key(out, field);
                    self.map(&mut reader, field, value.bytes()?, depth, out)?;
                }
            }
        }
        object.end(out);
        Some(())
    }

    /// What is on the wire of a list in one place: one value of it, or several packed ones.
    fn list(
        &self,
        object: &mut Object,
        field: &Field,
        value: Value<'_>,
        depth: u32,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let packed = match (field.kind, value) {
            (Kind::Scalar(scalar), Value::Bytes(_)) => packed_wire_type(scalar),
            (Kind::Enum(_), Value::Bytes(_)) => Some(0),
            _ => None,
        };
        let (Some(wire_type), Value::Bytes(bytes)) = (packed, value) else {
            object.element(out, field);
            return self.value(field.kind, value, depth, out);
        };
        let mut reader = Reader::new(bytes);
        while !reader.is_done() {
            let value = reader.value(wire_type)?;
            object.element(out, field);
            self.value(field.kind, value, depth, out)?;
        }
        Some(())
    }

    /// A whole map, whose entries follow each other. It is written in the order of its keys.
    fn map(
        &self,
        reader: &mut Reader<'_>,
        field: &Field,
        first: &[u8],
        depth: u32,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let Kind::Message(entry) = field.kind else { return None };
        let [key, value] = &self.messages.get(entry as usize)?.fields[..] else { return None };
        let (Kind::Scalar(key), (1, 2)) = (key.kind, (key.number, value.number)) else {
            return None;
        };
        let depth = depth.checked_sub(1)?;
        let mut entries = vec![Entry::read(first, key)?];
        let mut ahead = *reader;
        while !ahead.is_done() {
            let (number, value) = ahead.field()?;
            if number != field.number {
                break;
            }
            entries.push(Entry::read(value.bytes()?, key)?);
            *reader = ahead;
        }
        entries.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        // Of two entries with one key the later would count.
        if entries.windows(2).any(|pair| pair[0].key == pair[1].key) {
            return None;
        }
        let mut opening = b'{';
        for entry in &entries {
            out.push(opening);
            opening = b',';
            out.extend_from_slice(&entry.key);
            out.push(b':');
            match entry.value {
                Some(on_wire) => self.value(value.kind, on_wire, depth, out)?,
                None => self.absent(value.kind, depth, out)?,
            }
        }
        out.push(b'}');
        Some(())
    }

    #[inline]
    fn value(&self, kind: Kind, value: Value<'_>, depth: u32, out: &mut Vec<u8>) -> Option<()> {
        match kind {
            Kind::Scalar(Scalar::String) => push_json_bytes(out, value.bytes()?),
            Kind::Scalar(scalar) => push_scalar(out, scalar, value),
            Kind::Enum(place) => {
                push_enum(out, self.enums.get(place as usize)?, value.varint()? as i32);
                Some(())
            }
            Kind::Message(place) => self.message(place, value.bytes()?, depth.checked_sub(1)?, out),
            Kind::Slow => None,
        }
    }

    /// What a map's value is that is not on the wire.
    fn absent(&self, kind: Kind, depth: u32, out: &mut Vec<u8>) -> Option<()> {
        match kind {
            Kind::Scalar(scalar) => push_default(out, scalar),
            Kind::Enum(_) => self.value(kind, Value::Varint(0), depth, out)?,
            Kind::Message(_) => self.value(kind, Value::Bytes(&[]), depth, out)?,
            Kind::Slow => return None,
        }
        Some(())
    }
}

fn is_default_of(kind: Kind, value: Value<'_>) -> bool {
    match (kind, value) {
        (Kind::Scalar(scalar), value) => is_default(scalar, value),
        (Kind::Enum(_), Value::Varint(value)) => value as i32 == 0,
        _ => false,
    }
}

fn push_enum(out: &mut Vec<u8>, names: &EnumNames, number: i32) {
    if names.is_null {
        out.text("null");
    } else if let Some(name) = names.get(number) {
        out.text(name);
    } else {
        push_i64(out, i64::from(number));
    }
}

/// How far an object is written.
#[derive(Default)]
struct Object {
    /// Number of the field last seen.
    last: u32,
    oneofs: u64,
    has_member: bool,
    is_in_list: bool,
}

impl Object {
    /// Goes on to a field, which must come after the last.
    #[inline]
    fn next(&mut self, out: &mut Vec<u8>, field: &Field) -> Option<()> {
        if field.number <= self.last || self.oneofs & field.oneof != 0 {
            return None;
        }
        self.last = field.number;
        self.oneofs |= field.oneof;
        if std::mem::take(&mut self.is_in_list) {
            out.push(b']');
        }
        Some(())
    }

    #[inline]
    fn key(&mut self, out: &mut Vec<u8>, field: &Field) {
        let at = out.len();
        field.key.push(out);
        if !std::mem::replace(&mut self.has_member, true) {
            // In the place of its comma.
            out[at] = b'{';
        }
    }

    /// What stands before an element of a list.
    fn element(&mut self, out: &mut Vec<u8>, field: &Field) {
        if self.is_in_list {
            out.push(b',');
        } else {
            self.key(out, field);
            out.push(b'[');
            self.is_in_list = true;
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        out.text(match (self.has_member, self.is_in_list) {
            (_, true) => "]}",
            (true, false) => "}",
            (false, false) => "{}",
        });
    }
}

/// One entry of a map, its key as JSON text.
struct Entry<'a> {
    key: Vec<u8>,
    value: Option<Value<'a>>,
}

impl<'a> Entry<'a> {
    fn read(bytes: &'a [u8], scalar: super::Scalar) -> Option<Self> {
        let (mut key, mut value) = (None, None);
        let mut reader = Reader::new(bytes);
        while !reader.is_done() {
            let (number, field) = reader.field()?;
            let slot = match number {
                1 => &mut key,
                2 => &mut value,
                _ => continue,
            };
            if slot.replace(field).is_some() {
                return None;
            }
        }
        let mut text = Vec::new();
        push_key(&mut text, scalar, key)?;
        Some(Entry { key: text, value })
    }
}
