//! Random messages of any descriptor, and ways to mangle their bytes.

use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};

/// A message that the tables can settle, but for an `Any` and the like.
pub fn message(rng: &mut StdRng, of: &MessageDescriptor, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    match of.full_name() {
        "google.protobuf.Timestamp" => {
            set(&mut message, 1, Value::I64(rng.random_range(-62_135_596_800..=253_402_300_799)));
            set(&mut message, 2, Value::I32(nanos(rng)));
            return message;
        }
        "google.protobuf.Duration" => {
            let sign = if rng.random() { 1 } else { -1 };
            let seconds = rng.random_range(0..=315_576_000_000_i64) >> rng.random_range(0..40);
            set(&mut message, 1, Value::I64(sign * seconds));
            set(&mut message, 2, Value::I32(sign as i32 * nanos(rng)));
            return message;
        }
        "google.protobuf.Any" => {
            let pool = of.parent_pool();
            let names = ["google.protobuf.Duration", "google.protobuf.ListValue", "test.Odd"];
            let name = names[rng.random_range(0..3)];
            if let Some(inner) = pool.get_message_by_name(name) {
                let value = self::message(rng, &inner, depth + 1).encode_to_vec();
                set(&mut message, 1, Value::String(format!("x/{name}")));
                set(&mut message, 2, Value::Bytes(value.into()));
            }
            return message;
        }
        _ => {}
    }
    let count = of.fields().len().max(1);
    // Some of very many fields, most of a few.
    let share = (12.0 / count as f64).min(0.7) / f64::from(depth + 1);
    let is_finite = of.full_name().starts_with("google.protobuf.");
    for field in of.fields() {
        if !rng.random_bool(share) || (is_message(&field) && depth > 6) {
            continue;
        }
        message.set_field(&field, value(rng, &field, depth, is_finite));
    }
    message
}

fn set(message: &mut DynamicMessage, number: u32, value: Value) {
    message.set_field_by_number(number, value);
}

fn is_message(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(_))
}

fn nanos(rng: &mut StdRng) -> i32 {
    match rng.random_range(0..4) {
        0 => 0,
        1 => rng.random_range(0..1_000) * 1_000_000,
        2 => rng.random_range(0..1_000_000) * 1_000,
        _ => rng.random_range(0..1_000_000_000),
    }
}

fn value(rng: &mut StdRng, field: &FieldDescriptor, depth: u32, is_finite: bool) -> Value {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let (key, of) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let count = rng.random_range(0..4);
        let entries = (0..count)
            .map(|_| (map_key(rng, &key.kind()), single(rng, &of.kind(), depth, is_finite)));
        return Value::Map(entries.collect());
    }
    if field.is_list() {
        let count = rng.random_range(0..4);
        let values = (0..count).map(|_| single(rng, &field.kind(), depth, is_finite));
        return Value::List(values.collect());
    }
    single(rng, &field.kind(), depth, is_finite)
}

fn map_key(rng: &mut StdRng, kind: &Kind) -> MapKey {
    match single(rng, kind, 0, true) {
        Value::Bool(value) => MapKey::Bool(value),
        Value::I32(value) => MapKey::I32(value),
        Value::I64(value) => MapKey::I64(value),
        Value::U32(value) => MapKey::U32(value),
        Value::U64(value) => MapKey::U64(value),
        Value::String(value) => MapKey::String(value),
        other => panic!("{other:?} as a key"),
    }
}

fn single(rng: &mut StdRng, kind: &Kind, depth: u32, is_finite: bool) -> Value {
    match kind {
        Kind::Double => Value::F64(double(rng, is_finite)),
        Kind::Float => Value::F32(float(rng, is_finite)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(bits(rng) as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(bits(rng) as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(bits(rng) as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(bits(rng)),
        Kind::Bool => Value::Bool(rng.random()),
        Kind::String => Value::String(text(rng)),
        Kind::Bytes => {
            let count = rng.random_range(0..20);
            Value::Bytes((0..count).map(|_| rng.random()).collect::<Vec<u8>>().into())
        }
        Kind::Enum(_) => Value::EnumNumber(match rng.random_range(0..4) {
            0 => bits(rng) as i32,
            _ => rng.random_range(-1..8),
        }),
        Kind::Message(of) => Value::Message(message(rng, of, depth + 1)),
    }
}

/// Numbers of every length, of either sign, and now and then one at an end.
fn bits(rng: &mut StdRng) -> u64 {
    match rng.random_range(0..10) {
        0 => 0,
        1 => u64::MAX,
        2 => i64::MIN as u64,
        3 => i32::MIN as u64,
        4 => i32::MAX as u64,
        5 => (rng.next_u64() >> rng.random_range(0..64)).wrapping_neg(),
        _ => rng.next_u64() >> rng.random_range(0..64),
    }
}

fn double(rng: &mut StdRng, is_finite: bool) -> f64 {
    let value = match rng.random_range(0..8) {
        0 => f64::from(rng.random_range(-1_000..1_000)),
        1 => f64::from(rng.random_range(-1_000..1_000)) / 100.0,
        2 => [0.0, -0.0, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1e21, 1e-7][rng.random_range(0..7)],
        3 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][rng.random_range(0..3)],
        _ => f64::from_bits(rng.random()),
    };
    if is_finite && !value.is_finite() { 0.5 } else { value }
}

fn float(rng: &mut StdRng, is_finite: bool) -> f32 {
    let value = match rng.random_range(0..6) {
        0 => rng.random_range(-1_000..1_000) as f32 / 100.0,
        1 => [0.0, -0.0, f32::MAX, f32::MIN_POSITIVE, 1e-45, 1e16][rng.random_range(0..6)],
        2 => f32::from_bits(rng.random_range(0..0x80_0000)),
        3 => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][rng.random_range(0..3)],
        _ => f32::from_bits(rng.random()),
    };
    if is_finite && !value.is_finite() { 0.5 } else { value }
}

fn text(rng: &mut StdRng) -> String {
    const PARTS: &[&str] = &[
        "a",
        "Z9 -",
        "\"",
        "\\",
        "/",
        "\n",
        "\u{1}",
        "\u{7f}",
        "ü",
        "漢",
        "🛰️",
        "\u{2028}",
        "plain text",
    ];
    let count = rng.random_range(0..8);
    (0..count).map(|_| PARTS[rng.random_range(0..PARTS.len())]).collect()
}

/// Mangles bytes in one of many ways, most of which leave them readable.
pub fn mangle(rng: &mut StdRng, bytes: &[u8]) -> Vec<u8> {
    let mut fields = fields(bytes);
    let mut mangled = bytes.to_vec();
    let any = |rng: &mut StdRng, count: usize| rng.random_range(0..count.max(1));
    match rng.random_range(0..10) {
        0 if !mangled.is_empty() => {
            let at = any(rng, mangled.len());
            mangled[at] ^= 1 << rng.random_range(0..8);
        }
        1 => mangled.truncate(any(rng, bytes.len())),
        2 if !fields.is_empty() => {
            // A field twice, there or elsewhere.
            let field = fields[any(rng, fields.len())].clone();
            fields.insert(any(rng, fields.len() + 1), field);
            mangled = fields.concat();
        }
        3 if fields.len() > 1 => {
            let (one, other) = (any(rng, fields.len()), any(rng, fields.len()));
            fields.swap(one, other);
            mangled = fields.concat();
        }
        4 => {
            fields.insert(any(rng, fields.len() + 1), unknown(rng));
            mangled = fields.concat();
        }
        5 if !fields.is_empty() => {
            // One more level down, so that what is inside is mangled too.
            let at = any(rng, fields.len());
            if let Some((head, inner)) = inner(&fields[at]) {
                let inner = mangle(rng, inner);
                fields[at] = [head, varint(inner.len() as u64), inner].concat();
                mangled = fields.concat();
            }
        }
        6 if !fields.is_empty() => {
            // Packed numbers one by one.
            let at = any(rng, fields.len());
            fields[at] = unpack(&fields[at]);
            mangled = fields.concat();
        }
        7 if !fields.is_empty() => {
            // A number packed by itself.
            let at = any(rng, fields.len());
            fields[at] = pack(&fields[at]);
            mangled = fields.concat();
        }
        8 if !fields.is_empty() => {
            // The same field with other bytes.
            let at = any(rng, fields.len());
            let mut field = fields[at].clone();
            let end = field.len() - 1;
            field[end] = rng.random();
            fields.insert(at + 1, field);
            mangled = fields.concat();
        }
        _ if !fields.is_empty() => {
            fields.remove(any(rng, fields.len()));
            mangled = fields.concat();
        }
        _ => {}
    }
    mangled
}

fn unknown(rng: &mut StdRng) -> Vec<u8> {
    let number = [19, 255, 256, 60_000, 0x1fff_ffff][rng.random_range(0..5)] as u64;
    match rng.random_range(0..5) {
        0 => [varint(number << 3), varint(rng.random())].concat(),
        1 => [varint(number << 3 | 1), vec![7; 8]].concat(),
        2 => [varint(number << 3 | 2), vec![2, 0xff, 0xfe]].concat(),
        // A group, with a field in it.
        3 => [varint(number << 3 | 3), vec![8, 1], varint(number << 3 | 4)].concat(),
        _ => [varint(number << 3 | 5), vec![7; 4]].concat(),
    }
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The fields of a message, each with its tag; what cannot be read is left out.
fn fields(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = super::Reader::new(bytes);
    let mut fields = Vec::new();
    while let Some((number, value)) = reader.field() {
        let number = u64::from(number);
        fields.push(match value {
            super::Wire::Varint(value) => [varint(number << 3), varint(value)].concat(),
            super::Wire::Fixed64(value) => {
                [varint(number << 3 | 1), value.to_le_bytes().to_vec()].concat()
            }
            super::Wire::Fixed32(value) => {
                [varint(number << 3 | 5), value.to_le_bytes().to_vec()].concat()
            }
            super::Wire::Bytes(value) => {
                [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
            }
        });
    }
    fields
}

fn inner(field: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match super::Reader::new(field).field()? {
        (number, super::Wire::Bytes(inner)) => {
            Some((varint(u64::from(number) << 3 | 2), &field[field.len() - inner.len()..]))
        }
        _ => None,
    }
}

fn unpack(field: &[u8]) -> Vec<u8> {
    let Some((number, super::Wire::Bytes(packed))) = super::Reader::new(field).field() else {
        return field.to_vec();
    };
    let mut reader = super::Reader::new(packed);
    let mut unpacked = Vec::new();
    while !reader.is_done() {
        let Some(super::Wire::Varint(value)) = reader.value(0) else { return field.to_vec() };
        unpacked.extend(varint(u64::from(number) << 3));
        unpacked.extend(varint(value));
    }
    unpacked
}

fn pack(field: &[u8]) -> Vec<u8> {
    match super::Reader::new(field).field() {
        Some((number, super::Wire::Varint(value))) => {
            let value = varint(value);
            [varint(u64::from(number) << 3 | 2), varint(value.len() as u64), value].concat()
        }
        _ => field.to_vec(),
    }
}
