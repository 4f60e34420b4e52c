//! The messages that have a form of their own in JSON: times, `Struct` and its kin, and the wrappers.
//! Key function: [`Tables::well_known`].

use super::super::wire::{Reader, Value};
use super::scalar::{push_default, push_f64, push_scalar};
use super::{Form, Scalar, Tables};
use crate::text::{Append as _, push_i64, push_json_bytes, push_json_string};
use crate::timestamp::{Timestamp, push_fraction, push_time};

/// The longest `Duration`, in seconds.
const MAX_DURATION: u64 = 315_576_000_000;

impl Tables {
    pub(super) fn well_known(
        &self,
        form: Form,
        bytes: &[u8],
        depth: u32,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        match form {
            Form::Timestamp => timestamp(bytes, out),
            Form::Duration => duration(bytes, out),
            Form::Wrapper(scalar) => wrapper(scalar, bytes, out),
            Form::Struct => structure(bytes, depth, out),
            Form::Value => value(bytes, depth, out),
            Form::List => list(bytes, depth, out),
            Form::Plain | Form::Slow => None,
        }
    }
}

fn timestamp(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (seconds, nanos) = seconds_and_nanos(bytes)?;
    out.push(b'"');
    push_time(out, Timestamp::new(seconds, nanos)?);
    out.push(b'"');
    Some(())
}

fn duration(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (seconds, nanos) = seconds_and_nanos(bytes)?;
    let is_mixed = (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0);
    if is_mixed || seconds.unsigned_abs() > MAX_DURATION || nanos.unsigned_abs() > 999_999_999 {
        return None;
    }
    out.push(b'"');
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    push_i64(out, seconds.abs());
    push_fraction(out, nanos.unsigned_abs());
    out.text("s\"");
    Some(())
}

fn seconds_and_nanos(bytes: &[u8]) -> Option<(i64, i32)> {
    let (mut seconds, mut nanos) = (None, None);
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        let (number, value) = reader.field()?;
        let slot = match number {
            1 => &mut seconds,
            2 => &mut nanos,
            _ => continue,
        };
        if slot.replace(value.varint()?).is_some() {
            return None;
        }
    }
    Some((seconds.unwrap_or(0) as i64, nanos.unwrap_or(0) as i32))
}

fn wrapper(scalar: Scalar, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let Some(value) = only(bytes, 1)? else {
        push_default(out, scalar);
        return Some(());
    };
    match (scalar, value) {
        // The library writes what is not finite as `null` here: not to be copied, nor to be undone.
        (Scalar::Double, Value::Fixed64(value)) if !f64::from_bits(value).is_finite() => None,
        (Scalar::Float, Value::Fixed32(value)) if !f32::from_bits(value).is_finite() => None,
        // It loses the sign of a zero on the way.
        (Scalar::Double, Value::Fixed64(value)) if f64::from_bits(value) == 0.0 => {
            push_default(out, scalar);
            Some(())
        }
        (Scalar::Float, Value::Fixed32(value)) if f32::from_bits(value) == 0.0 => {
            push_default(out, scalar);
            Some(())
        }
        _ => push_scalar(out, scalar, value),
    }
}

/// The one field of this number, if it is there.
fn only(bytes: &[u8], wanted: u32) -> Option<Option<Value<'_>>> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        let (number, value) = reader.field()?;
        if number == wanted && found.replace(value).is_some() {
            return None;
        }
    }
    Some(found)
}

/// A `Struct`, in the order of its keys, as the library writes it.
fn structure(bytes: &[u8], depth: u32, out: &mut Vec<u8>) -> Option<()> {
    let mut entries = Vec::new();
    let mut is_sorted = true;
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        let (number, entry) = reader.field()?;
        if number != 1 {
            continue;
        }
        let (key, value) = entry_of(entry.bytes()?)?;
        is_sorted &= entries.last().is_none_or(|(last, _)| *last < key);
        entries.push((key, value));
    }
    if !is_sorted {
        entries.sort_unstable_by_key(|(key, _)| *key);
        // Of two entries with one key the later would count.
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
    }
    // The entry and its value are messages too.
    let depth = depth.checked_sub(2)?;
    out.push(b'{');
    let mut is_first = true;
    for (key, bytes) in entries {
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        push_json_string(out, key);
        out.push(b':');
        value(bytes, depth, out)?;
    }
    out.push(b'}');
    Some(())
}

fn entry_of(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (mut key, mut value) = (None, None);
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        let (number, field) = reader.field()?;
        let is_twice = match number {
            1 => key.replace(field.text()?).is_some(),
            2 => value.replace(field.bytes()?).is_some(),
            _ => false,
        };
        if is_twice {
            return None;
        }
    }
    Some((key.unwrap_or_default(), value.unwrap_or_default()))
}

fn list(bytes: &[u8], depth: u32, out: &mut Vec<u8>) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    out.push(b'[');
    let mut is_first = true;
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        let (number, element) = reader.field()?;
        if number == 1 {
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            value(element.bytes()?, depth, out)?;
        }
    }
    out.push(b']');
    Some(())
}

fn value(bytes: &[u8], depth: u32, out: &mut Vec<u8>) -> Option<()> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while !reader.is_done() {
        let (number, value) = reader.field()?;
        if (1..=6).contains(&number) && found.replace((number, value)).is_some() {
            return None;
        }
    }
    match found {
        None | Some((1, Value::Varint(_))) => out.text("null"),
        Some((2, Value::Fixed64(number))) => {
            let number = f64::from_bits(number);
            // JSON has no such number, and a `Value` no other way to say it.
            if !number.is_finite() {
                return None;
            }
            push_f64(out, number);
        }
        Some((3, text)) => push_json_bytes(out, text.bytes()?)?,
        Some((4, flag)) => out.text(if flag.varint()? == 0 { "false" } else { "true" }),
        Some((5, fields)) => structure(fields.bytes()?, depth.checked_sub(1)?, out)?,
        Some((6, values)) => list(values.bytes()?, depth.checked_sub(1)?, out)?,
        Some(_) => return None,
    }
    Some(())
}
