#!/usr/bin/env python3
"""Makes frames of every payload message, and what Python's protobuf says is in them.

    json_cases.py PROTO_DIR FRAMES EXPECTED

FRAMES gets the envelopes, each after its length as 4 bytes, big-endian; EXPECTED a line each:
{"message", "case", "data"}, where data is MessageToDict(preserving_proto_field_name=True) of the
same bytes, parsed anew. Cases per message: nothing set; all set, with ordinary values; all set to
their smallest and largest values, zeros and negative zeros; enum numbers nobody has heard of; texts
of all kinds. The schemas come from PROTO_DIR by way of protoc, not from the program under test.
"""

import json
import math
import struct
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.json_format import MessageToDict
from grpc_tools import protoc

TEXTS = [
    "plain",
    "",
    'quotes " and \\ and / and \b\f\n\r\t',
    "\x00\x01\x1f\x7f",
    "ü ñ 中文 \u2028\u2029\ufeff\u0085",
    "👩‍🚀 🛰️ \U0010ffff",
]
INT32 = [0, 1, -1, 2**31 - 1, -(2**31)]
INT64 = [0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)]
UINT32 = [0, 1, 2**32 - 1]
UINT64 = [0, 1, 2**53 + 1, 2**64 - 1]
DOUBLES = [0.0, -0.0, 1.0, -1.5, 0.1, 1e300, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan]
FLOATS = [0.0, -0.0, 1.0, -1.5, 0.1, 16777217.0, 3.4028234663852886e38, 1e-45, math.inf, -math.inf, math.nan]
# Struct cannot say infinity in JSON.
FINITE = [value for value in DOUBLES if math.isfinite(value)]

VALUES = {
    Field.TYPE_INT32: INT32, Field.TYPE_SINT32: INT32, Field.TYPE_SFIXED32: INT32,
    Field.TYPE_INT64: INT64, Field.TYPE_SINT64: INT64, Field.TYPE_SFIXED64: INT64,
    Field.TYPE_UINT32: UINT32, Field.TYPE_FIXED32: UINT32,
    Field.TYPE_UINT64: UINT64, Field.TYPE_FIXED64: UINT64,
    Field.TYPE_DOUBLE: DOUBLES, Field.TYPE_FLOAT: FLOATS,
    Field.TYPE_BOOL: [False, True], Field.TYPE_STRING: TEXTS,
    Field.TYPE_BYTES: [b"", b"\x00\xff", b"text"],
}
ROUNDS = max(len(values) for values in VALUES.values())


def load(proto_dir):
    """A pool with all of the schemas."""
    files = sorted(str(path.relative_to(proto_dir)) for path in Path(proto_dir).rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as out:
        target = Path(out) / "set"
        status = protoc.main(
            ["protoc", f"-I{proto_dir}", f"-I{well_known}", "--include_imports",
             f"--descriptor_set_out={target}", *files]
        )
        if status:
            sys.exit(f"protoc: {status}")
        found = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in found.file:
        pool.Add(file)
    messages = []
    for file in found.file:
        if not file.name.startswith("google/") and file.package != "cloudevents.v1":
            messages += [f"{file.package}.{name}" for name in names_of(file.message_type)]
    return pool, messages


def names_of(messages, prefix=""):
    for message in messages:
        if not message.options.map_entry:
            yield prefix + message.name
            yield from names_of(message.nested_type, f"{prefix}{message.name}.")


def enum_value(field, round_number):
    values = [value.number for value in field.enum_type.values]
    # Beyond the known ones: numbers nobody has heard of.
    choices = [*values, 4711, -5, 2**31 - 1]
    return choices[round_number % len(choices)]


def fill(message, round_number, depth=0):
    """Sets every field, a oneof's last one last; which value depends on the round."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        seconds = [0, 1764000000, -62135596800, 253402300799, -1][round_number % 5]
        message.seconds = seconds
        message.nanos = [0, 500000000, 120000, 999999999, 1][round_number % 5]
        return
    if name == "google.protobuf.Struct":
        message.update({
            "number": FINITE[round_number % len(FINITE)],
            "text": TEXTS[round_number % len(TEXTS)],
            TEXTS[round_number % len(TEXTS)]: None,
            "list": [True, None, {"deep": [1.0, "x"]}, []],
            "empty": {},
        })
        return
    for field in message.DESCRIPTOR.fields:
        set_field(message, field, round_number, depth)


def set_field(message, field, round_number, depth):
    is_map = field.message_type and field.message_type.GetOptions().map_entry
    if is_map:
        getattr(message, field.name)["key " + TEXTS[round_number % len(TEXTS)]] = "value"
        getattr(message, field.name)[""] = TEXTS[round_number % len(TEXTS)]
    elif field.type == Field.TYPE_MESSAGE:
        if depth > 4:
            return
        if field.is_repeated:
            for extra in range(2):
                fill(getattr(message, field.name).add(), round_number + extra, depth + 1)
        else:
            inner = getattr(message, field.name)
            inner.SetInParent()
            fill(inner, round_number, depth + 1)
    else:
        values = (
            [enum_value(field, round_number)]
            if field.type == Field.TYPE_ENUM
            else [VALUES[field.type][round_number % len(VALUES[field.type])]]
        )
        if field.is_repeated:
            more = VALUES.get(field.type, values)
            getattr(message, field.name).extend([*values, *more[:3]])
        else:
            setattr(message, field.name, values[0])


def cases(new):
    yield "nothing set", new()
    for round_number in range(ROUNDS):
        message = new()
        fill(message, round_number)
        yield f"all set, {round_number}", message
    # Each case of a oneof alone: `fill` leaves only the last one.
    for oneof in new().DESCRIPTOR.oneofs:
        if len(oneof.fields) > 1:
            for field in oneof.fields:
                for round_number in (1, 2):
                    message = new()
                    set_field(message, field, round_number, 0)
                    yield f"{field.name}, {round_number}", message
                if field.type == Field.TYPE_MESSAGE:
                    message = new()
                    getattr(message, field.name).SetInParent()
                    yield f"{field.name}, empty", message
    for number in range(60):
        message = new()
        if any(field.type == Field.TYPE_ENUM for field in message.DESCRIPTOR.fields):
            for field in message.DESCRIPTOR.fields:
                if field.type == Field.TYPE_ENUM:
                    set_field(message, field, number, 0)
            yield f"enums, {number}", message


def main():
    pool, messages = load(sys.argv[1])
    envelope = message_factory.GetMessageClass(pool.FindMessageTypeByName("cloudevents.v1.CloudEvent"))
    count = 0
    with open(sys.argv[2], "wb") as frames, open(sys.argv[3], "w", encoding="utf-8") as expected:
        for name in messages:
            new = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
            for case, message in cases(new):
                payload = message.SerializeToString()
                event = envelope(id=str(count), source="/test", type="test", specversion="1.0")
                event.proto_data.type_url = f"type.googleapis.com/{name}"
                event.proto_data.value = payload
                frame = event.SerializeToString()
                frames.write(struct.pack(">I", len(frame)) + frame)
                data = MessageToDict(new.FromString(payload), preserving_proto_field_name=True)
                json.dump({"message": name, "case": case, "data": data}, expected)
                expected.write("\n")
                count += 1
    print(f"{count} cases of {len(messages)} messages")


if __name__ == "__main__":
    main()
