//! From descriptors to tables. What a table cannot say exactly is marked to be settled the slow way.
//! Key function: [`Tables::compile`].

use std::collections::HashMap;

use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, Kind as Described, MessageDescriptor, Value,
};

use super::{DENSE, EnumNames, Field, Form, Kind, Scalar, Shape, Table, Tables};
use crate::copy::Piece;
use crate::text::push_json_string;

/// Numbers up to which the names of an enum are found by index.
const DENSE_ENUM: i32 = 1_024;
/// A message of more oneofs than bits is left to the slow way.
const MAX_ONEOFS: usize = 64;

impl Tables {
    /// Compiles these messages, in this order, and all that lie within them.
    pub fn compile(messages: &[MessageDescriptor]) -> Self {
        let mut compiler = Compiler::default();
        for message in messages {
            compiler.place_of(message);
        }
        // The list grows while it is worked off.
        let mut next = 0;
        while let Some(message) = compiler.todo.get(next).cloned() {
            let table = compiler.table(&message);
            compiler.tables.messages.push(table);
            next += 1;
        }
        compiler.tables
    }
}

#[derive(Default)]
struct Compiler {
    tables: Tables,
    todo: Vec<MessageDescriptor>,
    places: HashMap<String, u32>,
    enum_places: HashMap<String, u32>,
}

impl Compiler {
    fn place_of(&mut self, message: &MessageDescriptor) -> u32 {
        let next = self.todo.len() as u32;
        let place = *self.places.entry(message.full_name().to_owned()).or_insert(next);
        if place == next {
            self.todo.push(message.clone());
        }
        place
    }

    fn table(&mut self, message: &MessageDescriptor) -> Table {
        // Of two or more fields; an `optional` field is in a oneof of its own.
        let oneofs: Vec<_> = message.oneofs().filter(|oneof| oneof.fields().len() > 1).collect();
        let bit = |field: &FieldDescriptor| {
            let oneof = field.containing_oneof()?;
            oneofs.iter().position(|other| *other == oneof).map(|place| 1 << (place % MAX_ONEOFS))
        };
        let mut fields: Vec<_> = message
            .fields()
            .map(|field| Field { oneof: bit(&field).unwrap_or(0), ..self.field(&field) })
            .collect();
        fields.extend(message.extensions().map(|extension| Field {
            number: extension.number(),
            key: Piece::new(","),
            kind: Kind::Slow,
            shape: Shape::Explicit,
            oneof: 0,
        }));
        fields.sort_by_key(|field| field.number);
        let dense = fields.iter().take_while(|field| field.number < DENSE);
        let mut places = Vec::new();
        for (field, place) in dense.zip(1..) {
            places.resize(field.number as usize + 1, 0);
            places[field.number as usize] = place;
        }
        let form = if oneofs.len() > MAX_ONEOFS { Form::Slow } else { form(message) };
        Table { form, fields, places }
    }

    fn field(&mut self, field: &FieldDescriptor) -> Field {
        let mut key = ",".to_owned();
        push_json_string(&mut key, field.name());
        key.push(':');
        let shape = match field.cardinality() {
            _ if field.is_map() => Shape::Map,
            Cardinality::Repeated => Shape::List,
            _ if field.supports_presence() => Shape::Explicit,
            _ => Shape::Implicit,
        };
        let kind = if field.is_group() || (shape == Shape::Implicit && !is_zero(field)) {
            Kind::Slow
        } else {
            self.kind(&field.kind())
        };
        Field { number: field.number(), key: Piece::new(&key), kind, shape, oneof: 0 }
    }

    fn kind(&mut self, kind: &Described) -> Kind {
        match kind {
            Described::Message(message) => Kind::Message(self.place_of(message)),
            Described::Enum(names) => Kind::Enum(self.enum_place_of(names)),
            other => scalar(other).map_or(Kind::Slow, Kind::Scalar),
        }
    }

    fn enum_place_of(&mut self, names: &EnumDescriptor) -> u32 {
        if let Some(place) = self.enum_places.get(names.full_name()) {
            return *place;
        }
        let place = self.tables.enums.len() as u32;
        self.enum_places.insert(names.full_name().to_owned(), place);
        self.tables.enums.push(enum_names(names));
        place
    }
}

fn enum_names(names: &EnumDescriptor) -> EnumNames {
    let mut numbers: Vec<_> = names.values().map(|value| value.number()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut table = EnumNames {
        is_null: names.full_name() == "google.protobuf.NullValue",
        ..EnumNames::default()
    };
    for number in numbers {
        // Asked for by number: of two names of one number the library has its own choice.
        let mut text = String::new();
        push_json_string(&mut text, names.get_value(number).as_ref().map_or("", |v| v.name()));
        if (0..DENSE_ENUM).contains(&number) {
            table.dense.resize(number as usize, Box::default());
            table.dense.push(text.into());
        } else {
            table.others.push((number, text.into()));
        }
    }
    table
}

fn is_zero(field: &FieldDescriptor) -> bool {
    match field.default_value() {
        Value::Bool(value) => !value,
        Value::I32(value) | Value::EnumNumber(value) => value == 0,
        Value::I64(value) => value == 0,
        Value::U32(value) => value == 0,
        Value::U64(value) => value == 0,
        Value::F32(value) => value == 0.0,
        Value::F64(value) => value == 0.0,
        Value::String(value) => value.is_empty(),
        Value::Bytes(value) => value.is_empty(),
        Value::Message(_) | Value::List(_) | Value::Map(_) => true,
    }
}

fn scalar(kind: &Described) -> Option<Scalar> {
    Some(match kind {
        Described::Double => Scalar::Double,
        Described::Float => Scalar::Float,
        Described::Int32 => Scalar::Int32,
        Described::Int64 => Scalar::Int64,
        Described::Uint32 => Scalar::Uint32,
        Described::Uint64 => Scalar::Uint64,
        Described::Sint32 => Scalar::Sint32,
        Described::Sint64 => Scalar::Sint64,
        Described::Fixed32 => Scalar::Fixed32,
        Described::Fixed64 => Scalar::Fixed64,
        Described::Sfixed32 => Scalar::Sfixed32,
        Described::Sfixed64 => Scalar::Sfixed64,
        Described::Bool => Scalar::Bool,
        Described::String => Scalar::String,
        Described::Bytes => Scalar::Bytes,
        Described::Message(_) | Described::Enum(_) => return None,
    })
}

/// How a message is written, by its name and, since a schema may come from anywhere, by its fields.
fn form(message: &MessageDescriptor) -> Form {
    let Some(name) = message.full_name().strip_prefix("google.protobuf.") else {
        return Form::Plain;
    };
    let of = |fields: &[(u32, &str)], form| if has(message, fields) { form } else { Form::Slow };
    let wrapper = |kind, scalar| of(&[(1, kind)], Form::Wrapper(scalar));
    match name {
        "Any" | "FieldMask" => Form::Slow,
        "Timestamp" => of(&[(1, "int64"), (2, "int32")], Form::Timestamp),
        "Duration" => of(&[(1, "int64"), (2, "int32")], Form::Duration),
        "Struct" => of(&[(1, "map google.protobuf.Value")], Form::Struct),
        "ListValue" => of(&[(1, "list google.protobuf.Value")], Form::List),
        "Value" => of(
            &[
                (1, "oneof google.protobuf.NullValue"),
                (2, "oneof double"),
                (3, "oneof string"),
                (4, "oneof bool"),
                (5, "oneof google.protobuf.Struct"),
                (6, "oneof google.protobuf.ListValue"),
            ],
            Form::Value,
        ),
        "DoubleValue" => wrapper("double", Scalar::Double),
        "FloatValue" => wrapper("float", Scalar::Float),
        "Int64Value" => wrapper("int64", Scalar::Int64),
        "UInt64Value" => wrapper("uint64", Scalar::Uint64),
        "Int32Value" => wrapper("int32", Scalar::Int32),
        "UInt32Value" => wrapper("uint32", Scalar::Uint32),
        "BoolValue" => wrapper("bool", Scalar::Bool),
        "StringValue" => wrapper("string", Scalar::String),
        "BytesValue" => wrapper("bytes", Scalar::Bytes),
        // `Empty`, and messages such as those that describe schemas.
        _ => Form::Plain,
    }
}

/// Whether a message has just these fields.
fn has(message: &MessageDescriptor, fields: &[(u32, &str)]) -> bool {
    message.fields().len() == fields.len()
        && message.extensions().len() == 0
        && fields.iter().all(|(number, is)| {
            message.get_field(*number).is_some_and(|field| described(&field) == *is)
        })
}

fn described(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Described::Message(entry) if field.is_map() => {
            let of_text = matches!(entry.map_entry_key_field().kind(), Described::String);
            return match entry.map_entry_value_field().kind() {
                Described::Message(value) if of_text => format!("map {}", value.full_name()),
                _ => "map".to_owned(),
            };
        }
        Described::Message(message) => message.full_name().to_owned(),
        Described::Enum(names) => names.full_name().to_owned(),
        other => scalar(&other).map_or_else(String::new, |is| format!("{is:?}").to_lowercase()),
    };
    if field.is_list() {
        return format!("list {kind}");
    }
    if field.containing_oneof().is_some() { format!("oneof {kind}") } else { kind }
}
