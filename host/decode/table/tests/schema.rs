//! A schema with everything that protobuf can say, for the tables to be tried on.

use prost_reflect::DescriptorPool;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FieldOptions, FileDescriptorProto, MessageOptions, OneofDescriptorProto,
};

const WELL_KNOWN: &[(&str, &str)] = &[
    ("timestamp", "Timestamp"),
    ("duration", "Duration"),
    ("structure", "Struct"),
    ("value", "Value"),
    ("list", "ListValue"),
    ("nothing", "Empty"),
    ("double_value", "DoubleValue"),
    ("float_value", "FloatValue"),
    ("int64_value", "Int64Value"),
    ("uint64_value", "UInt64Value"),
    ("int32_value", "Int32Value"),
    ("uint32_value", "UInt32Value"),
    ("bool_value", "BoolValue"),
    ("string_value", "StringValue"),
    ("bytes_value", "BytesValue"),
];

const SCALARS: &[Type] = &[
    Type::Double,
    Type::Float,
    Type::Int64,
    Type::Uint64,
    Type::Int32,
    Type::Uint32,
    Type::Fixed64,
    Type::Fixed32,
    Type::Sfixed64,
    Type::Sfixed32,
    Type::Sint64,
    Type::Sint32,
    Type::Bool,
    Type::String,
    Type::Bytes,
];

/// `test.Everything`, in which no message needs the slow way, and `test.Odd`, in which some do.
pub fn pool() -> DescriptorPool {
    let mut pool = DescriptorPool::global();
    pool.add_file_descriptor_proto(everything()).unwrap();
    pool.add_file_descriptor_proto(odd()).unwrap();
    pool
}

#[derive(Default)]
struct Message {
    proto: DescriptorProto,
    number: i32,
}

impl Message {
    fn add(&mut self, name: &str, kind: Type, type_name: &str) -> &mut FieldDescriptorProto {
        // Some of the numbers lie beyond those that are found by index.
        self.number += if self.number % 7 == 6 { 13 } else { 1 };
        self.proto.field.push(FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(self.number),
            label: Some(Label::Optional.into()),
            r#type: Some(kind.into()),
            type_name: Some(type_name.to_owned()).filter(|name| !name.is_empty()),
            ..FieldDescriptorProto::default()
        });
        self.proto.field.last_mut().unwrap()
    }

    fn oneof(&mut self, name: &str) -> i32 {
        self.proto.oneof_decl.push(OneofDescriptorProto {
            name: Some(name.to_owned()),
            ..OneofDescriptorProto::default()
        });
        self.proto.oneof_decl.len() as i32 - 1
    }

    fn map(&mut self, key: Type, value: Type, type_name: &str) {
        let camel = format!("M{}Entry", self.number);
        let name = format!("m{}", self.number);
        let mut entry = Message::default();
        entry.add("key", key, "");
        entry.add("value", value, type_name);
        entry.proto.name = Some(camel.clone());
        entry.proto.options =
            Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() });
        self.proto.nested_type.push(entry.proto);
        let type_name = format!(".test.Everything.{camel}");
        self.add(&name, Type::Message, &type_name).label = Some(Label::Repeated.into());
    }
}

fn kinds() -> Vec<(String, Type, String)> {
    let scalars =
        SCALARS.iter().map(|kind| (format!("{kind:?}").to_lowercase(), *kind, String::new()));
    let well_known = WELL_KNOWN
        .iter()
        .map(|(name, of)| ((*name).to_owned(), Type::Message, format!(".google.protobuf.{of}")));
    let others = [
        ("kind".to_owned(), Type::Enum, ".test.Kind".to_owned()),
        ("null".to_owned(), Type::Enum, ".google.protobuf.NullValue".to_owned()),
        ("inner".to_owned(), Type::Message, ".test.Everything".to_owned()),
    ];
    scalars.chain(well_known).chain(others).collect()
}

fn everything() -> FileDescriptorProto {
    let mut message = Message::default();
    for (name, kind, type_name) in kinds() {
        message.add(&name, kind, &type_name);
        let oneof = message.oneof(&format!("_optional_{name}"));
        let optional = message.add(&format!("optional_{name}"), kind, &type_name);
        (optional.proto3_optional, optional.oneof_index) = (Some(true), Some(oneof));
        for (prefix, packed) in [("list_", None), ("unpacked_", Some(false))] {
            let list = message.add(&format!("{prefix}{name}"), kind, &type_name);
            list.label = Some(Label::Repeated.into());
            if !matches!(kind, Type::Message | Type::String | Type::Bytes) {
                list.options = packed.map(|_| FieldOptions { packed, ..FieldOptions::default() });
            }
        }
        message.map(Type::String, kind, &type_name);
    }
    for key in SCALARS {
        if !matches!(key, Type::Double | Type::Float | Type::Bytes) {
            message.map(*key, Type::String, "");
        }
    }
    // Two of them, so that they do not get into each other's way.
    for number in 0..2 {
        let oneof = message.oneof(&format!("one{number}"));
        for (name, kind, type_name) in kinds() {
            message.add(&format!("choice{number}_{name}"), kind, &type_name).oneof_index =
                Some(oneof);
        }
    }
    message.number = 70_000;
    message.add("far", Type::String, "");
    // In descriptors, the oneofs of optional fields come last.
    sort_oneofs(&mut message.proto);
    message.proto.name = Some("Everything".to_owned());
    FileDescriptorProto {
        name: Some("everything.proto".to_owned()),
        package: Some("test".to_owned()),
        dependency: dependencies(),
        message_type: vec![message.proto],
        enum_type: vec![kind_enum()],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}

fn sort_oneofs(message: &mut DescriptorProto) {
    let mut order: Vec<usize> = (0..message.oneof_decl.len()).collect();
    order.sort_by_key(|at| message.oneof_decl[*at].name().starts_with('_'));
    for field in &mut message.field {
        let new = |old| order.iter().position(|at| *at == old as usize).unwrap() as i32;
        field.oneof_index = field.oneof_index.map(new);
    }
    message.oneof_decl = order.iter().map(|at| message.oneof_decl[*at].clone()).collect();
}

fn kind_enum() -> EnumDescriptorProto {
    let value = |(name, number): (&str, i32)| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    EnumDescriptorProto {
        name: Some("Kind".to_owned()),
        value: [("ZERO", 0), ("ONE", 1), ("FIVE", 5), ("BELOW", -1), ("FAR", 70_000)]
            .into_iter()
            .map(value)
            .collect(),
        ..EnumDescriptorProto::default()
    }
}

fn dependencies() -> Vec<String> {
    ["any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers"]
        .iter()
        .map(|name| format!("google/protobuf/{name}.proto"))
        .collect()
}

/// An older schema: fields that must be there, defaults, a group, an extension; and what is slow.
fn odd() -> FileDescriptorProto {
    let mut message = Message::default();
    message.add("needed", Type::Int32, "").label = Some(Label::Required.into());
    message.add("defaulted", Type::Int32, "").default_value = Some("7".to_owned());
    message.add("kind", Type::Enum, ".test.Kind");
    message.add("any", Type::Message, ".google.protobuf.Any");
    message.add("mask", Type::Message, ".google.protobuf.FieldMask");
    message.add("list", Type::Int32, "").label = Some(Label::Repeated.into());
    message.add("group", Type::Group, ".test.Odd.Group");
    let mut group = Message::default();
    group.add("text", Type::String, "");
    group.proto.name = Some("Group".to_owned());
    message.proto.nested_type.push(group.proto);
    message.proto.name = Some("Odd".to_owned());
    message.proto.extension_range.push(prost_types::descriptor_proto::ExtensionRange {
        start: Some(500),
        end: Some(600),
        options: None,
    });
    let mut extensions = Message { number: 500, ..Message::default() };
    extensions.add("more", Type::String, "").extendee = Some(".test.Odd".to_owned());
    FileDescriptorProto {
        name: Some("odd.proto".to_owned()),
        package: Some("test".to_owned()),
        dependency: dependencies().into_iter().chain(["everything.proto".to_owned()]).collect(),
        message_type: vec![message.proto],
        extension: extensions.proto.field,
        syntax: Some("proto2".to_owned()),
        ..FileDescriptorProto::default()
    }
}
