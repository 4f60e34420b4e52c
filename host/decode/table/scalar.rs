//! Values of the scalar types as JSON text. `None` where the bytes are not what the schema says, or not
//! in a form that is settled here. Key function: [`push_scalar`].

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::super::wire::Value;
use super::Scalar;
use crate::text::{Append as _, push_i64, push_json_bytes, push_u64};

/// The wire type of a value when it is packed; `None` for those that cannot be.
pub(super) fn packed_wire_type(scalar: Scalar) -> Option<u64> {
    match scalar {
        Scalar::String | Scalar::Bytes => None,
        Scalar::Fixed64 | Scalar::Sfixed64 | Scalar::Double => Some(1),
        Scalar::Fixed32 | Scalar::Sfixed32 | Scalar::Float => Some(5),
        _ => Some(0),
    }
}

/// Whether a value is its type's default. -0 is as good as 0, as the protobuf libraries have it.
#[inline]
pub(super) fn is_default(scalar: Scalar, value: Value<'_>) -> bool {
    match (scalar, value) {
        (Scalar::String | Scalar::Bytes, Value::Bytes(bytes)) => bytes.is_empty(),
        (Scalar::Int32 | Scalar::Uint32 | Scalar::Sint32, Value::Varint(value)) => {
            value as u32 == 0
        }
        (Scalar::Bool | Scalar::Int64 | Scalar::Uint64 | Scalar::Sint64, Value::Varint(value)) => {
            value == 0
        }
        (Scalar::Double, Value::Fixed64(value)) => f64::from_bits(value) == 0.0,
        (Scalar::Float, Value::Fixed32(value)) => f32::from_bits(value) == 0.0,
        (Scalar::Fixed64 | Scalar::Sfixed64, Value::Fixed64(value)) => value == 0,
        (Scalar::Fixed32 | Scalar::Sfixed32, Value::Fixed32(value)) => value == 0,
        // Not of this type, and so for the slow way to say what is wrong.
        _ => false,
    }
}

/// Appends a value as JSON.
#[inline]
pub(super) fn push_scalar(out: &mut Vec<u8>, scalar: Scalar, value: Value<'_>) -> Option<()> {
    match (scalar, value) {
        (Scalar::String, Value::Bytes(bytes)) => {
            push_json_bytes(out, bytes)?;
        }
        (Scalar::Bool, Value::Varint(value)) => {
            out.text(if value == 0 { "false" } else { "true" });
        }
        (Scalar::Int32, Value::Varint(value)) => push_i64(out, i64::from(value as i32)),
        (Scalar::Uint32, Value::Varint(value)) => push_u64(out, u64::from(value as u32)),
        (Scalar::Sint32, Value::Varint(value)) => push_i64(out, i64::from(zigzag32(value))),
        (Scalar::Int64, Value::Varint(value)) => quoted(out, |out| push_i64(out, value as i64)),
        (Scalar::Uint64, Value::Varint(value)) => quoted(out, |out| push_u64(out, value)),
        (Scalar::Sint64, Value::Varint(value)) => quoted(out, |out| push_i64(out, zigzag64(value))),
        (Scalar::Double, Value::Fixed64(value)) => push_f64(out, f64::from_bits(value)),
        (Scalar::Float, Value::Fixed32(value)) => push_f32(out, f32::from_bits(value)),
        (Scalar::Fixed32, Value::Fixed32(value)) => {
            push_u64(out, u64::from(value));
        }
        (Scalar::Sfixed32, Value::Fixed32(value)) => {
            push_i64(out, i64::from(value as i32));
        }
        (Scalar::Fixed64, Value::Fixed64(value)) => {
            quoted(out, |out| push_u64(out, value));
        }
        (Scalar::Sfixed64, Value::Fixed64(value)) => {
            quoted(out, |out| push_i64(out, value as i64));
        }
        (Scalar::Bytes, Value::Bytes(bytes)) => {
            let start = out.len() + 1;
            out.push(b'"');
            out.resize(start + bytes.len().div_ceil(3) * 4, 0);
            BASE64_STANDARD.encode_slice(bytes, &mut out[start..]).ok()?;
            out.push(b'"');
        }
        _ => return None,
    }
    Some(())
}

/// Appends the key of a map, always text; `None` stands for the default.
pub(super) fn push_key(out: &mut Vec<u8>, scalar: Scalar, value: Option<Value<'_>>) -> Option<()> {
    match value {
        None => push_default_key(out, scalar),
        Some(value) => match scalar {
            Scalar::Bool
            | Scalar::Int32
            | Scalar::Uint32
            | Scalar::Sint32
            | Scalar::Fixed32
            | Scalar::Sfixed32 => {
                out.push(b'"');
                push_scalar(out, scalar, value)?;
                out.push(b'"');
            }
            // 64-bit numbers are text already.
            _ => push_scalar(out, scalar, value)?,
        },
    }
    Some(())
}

fn push_default_key(out: &mut Vec<u8>, scalar: Scalar) {
    out.text(match scalar {
        Scalar::String => "\"\"",
        Scalar::Bool => "\"false\"",
        _ => "\"0\"",
    });
}

/// Appends what stands for a value that is not on the wire.
pub(super) fn push_default(out: &mut Vec<u8>, scalar: Scalar) {
    out.text(match scalar {
        Scalar::Bool => "false",
        Scalar::String | Scalar::Bytes => "\"\"",
        Scalar::Float | Scalar::Double => "0.0",
        Scalar::Int64 | Scalar::Uint64 | Scalar::Sint64 | Scalar::Fixed64 | Scalar::Sfixed64 => {
            "\"0\""
        }
        _ => "0",
    });
}

/// Appends a double: the shortest text that reads as the same, or its name as text.
pub(super) fn push_f64(out: &mut Vec<u8>, value: f64) {
    match not_finite(value) {
        Some(name) => out.text(name),
        // Writing to memory cannot fail.
        None => drop(serde_json::to_writer(out, &value)),
    }
}

/// Appends a float as Python's protobuf writes it: never fewer than six digits, which tells only
/// where floats have less precision than that.
pub(super) fn push_f32(out: &mut Vec<u8>, value: f32) {
    match not_finite(f64::from(value)) {
        Some(name) => out.text(name),
        None if value.is_subnormal() => push_f64(out, six_digits(value)),
        // Writing to memory cannot fail.
        None => drop(serde_json::to_writer(out, &value)),
    }
}

/// A float to six digits.
pub(in super::super) fn six_digits(value: f32) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value.into())
}

fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        f64::INFINITY => Some("\"Infinity\""),
        f64::NEG_INFINITY => Some("\"-Infinity\""),
        value if value.is_nan() => Some("\"NaN\""),
        _ => None,
    }
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn zigzag32(value: u64) -> i32 {
    let value = value as u32;
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

fn zigzag64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
