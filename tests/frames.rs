//! Frames that are not as they should be, through a real host: what becomes of each, and that those
//! before and after it arrive. The list with its words is docs/bad-input.md.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost::Message as _;
use serde_json::{Value, json};
use trommel::decode::catalog::Stream;
use trommel::decode::proto::cloudevents::v1::{CloudEvent, cloud_event::Data};

use crate::support::{Host, HostDir};

/// It has payloads of several kinds, so that none is taken for granted.
const STREAM: &str = "ap-events";
/// A type URL whose message is known on every stream.
const KNOWN: &str = "type.googleapis.com/audittrail.AuditTrail";

/// What becomes of a frame.
enum Becomes {
    /// An event with these values, by JSON pointer; null for what must not be there.
    Event(Vec<(&'static str, Value)>),
    /// A dead letter (reason `decode`) with these words.
    Letter(&'static str),
}

fn event(values: &[(&'static str, Value)]) -> Becomes {
    Becomes::Event(values.to_vec())
}

fn envelope(id: &str, data: Option<Data>) -> Vec<u8> {
    let event = CloudEvent {
        id: id.to_owned(),
        source: "/test".to_owned(),
        specversion: "1.0".to_owned(),
        r#type: "com.example.odd".to_owned(),
        data,
        ..CloudEvent::default()
    };
    event.encode_to_vec()
}

fn text(id: &str, text: impl Into<String>) -> Vec<u8> {
    envelope(id, Some(Data::TextData(text.into())))
}

fn any(id: &str, type_url: &str, value: impl Into<Vec<u8>>) -> Vec<u8> {
    let (type_url, value) = (type_url.to_owned(), value.into());
    envelope(id, Some(Data::ProtoData(prost_types::Any { type_url, value })))
}

/// A field with a length, by hand: also what no library would write.
fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(number << 3 | 2, &mut out);
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend(bytes);
    out
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// An audit entry whose `before_transaction` is a `Struct` in a `Struct`, so many times.
fn nested(levels: usize) -> Vec<u8> {
    // The number 1, as a `Value`.
    let mut value = vec![0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
    let mut structure = Vec::new();
    for _ in 0..levels {
        structure = field(1, &joined(&[&field(1, b"a"), &field(2, &value)]));
        value = field(5, &structure);
    }
    PLACE_OF_STRUCT.iter().rev().fold(structure, |inner, number| field(*number, &inner))
}

/// The fields that lead to a `Struct`: `log_details`, `changed_json`, `before_transaction`.
const PLACE_OF_STRUCT: &[u64] = &[13, 3, 1];

/// Frames, what they are, and what becomes of them.
fn cases() -> Vec<(&'static str, Vec<u8>, Becomes)> {
    use Becomes::Letter;
    let whole = any("whole", KNOWN, field(10, b"changed"));
    let odd_id = "a\nb\r\u{0}\u{1b}[31m\u{2028}\"\\";
    let deep_text = "[".repeat(100_000) + &"]".repeat(100_000);
    let many = (0..10_000).fold(text("many", "1"), |mut bytes, n| {
        let value = field(3, b"x");
        bytes
            .extend(field(5, &joined(&[&field(1, format!("n{n}").as_bytes()), &field(2, &value)])));
        bytes
    });
    let hostile_names = ["id", "data", "specversion", "a\"b\n", ""].iter().fold(
        text("names", "1"),
        |mut bytes, name| {
            let value = field(3, b"forged");
            bytes.extend(field(5, &joined(&[&field(1, name.as_bytes()), &field(2, &value)])));
            bytes
        },
    );
    let late = CloudEvent {
        time: Some(prost_types::Timestamp { seconds: 253_402_300_800, nanos: 0 }),
        ..CloudEvent::decode(&*text("late", "1")).unwrap()
    };
    let nan = field(
        1,
        &joined(&[&field(1, b"a"), &field(2, &joined(&[&[0x11], &f64::NAN.to_le_bytes()]))]),
    );
    let nan = PLACE_OF_STRUCT.iter().rev().fold(nan, |inner, number| field(*number, &inner));
    vec![
        ("garbage", b"\xff\xff\xff garbage".to_vec(), Letter("not a CloudEvents envelope")),
        ("empty", Vec::new(), Letter("the envelope has no id")),
        ("truncated", whole[..whole.len() - 5].to_vec(), Letter("not a CloudEvents envelope")),
        (
            "a length that leads beyond the end",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7fid".to_vec(),
            Letter("not a CloudEvents envelope"),
        ),
        ("no id", joined(&[&field(2, b"/s"), &field(4, b"t")]), Letter("the envelope has no id")),
        (
            "no source",
            joined(&[&field(1, b"x"), &field(4, b"t")]),
            Letter("the envelope has no source"),
        ),
        (
            "no type",
            joined(&[&field(1, b"x"), &field(2, b"/s")]),
            Letter("the envelope has no type"),
        ),
        (
            "an id that is not UTF-8",
            joined(&[&field(1, b"\xc3\x28"), &field(2, b"/s"), &field(4, b"t")]),
            Letter("not a CloudEvents envelope"),
        ),
        (
            "text_data that is not UTF-8",
            joined(&[&envelope("x", None), &field(7, b"\xed\xa0\x80")]),
            Letter("not a CloudEvents envelope"),
        ),
        (
            "a payload string that is not UTF-8",
            any("x", KNOWN, field(10, b"\xff\xfe")),
            Letter("the payload is not a audittrail.AuditTrail"),
        ),
        (
            "a payload that is garbage",
            any("x", KNOWN, &b"\x0a\xffgarbage"[..]),
            Letter("the payload is not a audittrail.AuditTrail"),
        ),
        (
            "an id with newline and control characters",
            text(odd_id, "1"),
            event(&[("/id", json!(odd_id)), ("/data", json!(1))]),
        ),
        ("a Struct of 40 levels", any("x", KNOWN, nested(40)), Letter("recursion limit reached")),
        (
            "an unknown type_url",
            any("url", "type.example/acme.Unknown", &b"\x01\x02"[..]),
            event(&[
                ("/id", json!("url")),
                ("/data", Value::Null),
                ("/data_base64", json!("AQI=")),
                ("/dataschema", json!("type.example/acme.Unknown")),
                ("/datacontenttype", json!("application/protobuf")),
            ]),
        ),
        (
            "text_data that is JSON",
            text("json", "{\"a\": [1]}"),
            event(&[("/id", json!("json")), ("/data/a/0", json!(1))]),
        ),
        (
            "text_data that is text",
            text("text", "{\"a\":\n"),
            event(&[("/data", json!("{\"a\":\n")), ("/datacontenttype", json!("text/plain"))]),
        ),
        (
            "text_data of 100,000 brackets",
            text("deep", deep_text.clone()),
            event(&[("/data", json!(deep_text)), ("/datacontenttype", json!("text/plain"))]),
        ),
        (
            "binary_data",
            envelope("binary", Some(Data::BinaryData(vec![0, 255]))),
            event(&[
                ("/data_base64", json!("AP8=")),
                ("/data", Value::Null),
                ("/datacontenttype", json!("application/octet-stream")),
            ]),
        ),
        (
            "no data",
            envelope("none", None),
            event(&[("/id", json!("none")), ("/data", Value::Null), ("/data_base64", Value::Null)]),
        ),
        (
            "unknown fields after all others",
            joined(&[&text("unknown", "1"), &field(99, b"new"), &field(1_000, &[0; 40])]),
            event(&[("/id", json!("unknown")), ("/data", json!(1))]),
        ),
        (
            "trailing bytes that are no field",
            joined(&[&text("trailing", "1"), b"\x00\x00"]),
            Letter("not a CloudEvents envelope"),
        ),
        (
            "two payloads, of which protobuf takes the last",
            joined(&[&text("two", "1"), &field(6, b"\x07")]),
            event(&[("/id", json!("two")), ("/data_base64", json!("Bw=="))]),
        ),
        (
            "a time beyond the year 9999",
            late.encode_to_vec(),
            Letter("a time beyond the years 1 to 9999"),
        ),
        (
            "a Struct of 20 levels",
            any("levels", KNOWN, nested(20)),
            event(&[
                (
                    "/data/log_details/changed_json/before_transaction/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a",
                    json!(1.0),
                ),
                ("/id", json!("levels")),
            ]),
        ),
        (
            "a Struct of 10,000 levels",
            any("x", KNOWN, nested(10_000)),
            Letter("recursion limit reached"),
        ),
        ("a number that JSON does not know", any("x", KNOWN, nan), Letter("the payload is not a")),
        (
            "10,000 attributes",
            many,
            event(&[("/id", json!("many")), ("/n0", json!("x")), ("/n9999", json!("x"))]),
        ),
        (
            "attributes called as what is there already",
            hostile_names,
            event(&[("/id", json!("names")), ("/data", json!(1)), ("/specversion", json!("1.0"))]),
        ),
    ]
}

/// A host that replays these frames into a file, and through a plugin into another.
fn replaying(frames: &[Vec<u8>]) -> HostDir {
    replaying_as(STREAM, frames)
}

/// The same as frames of a stream.
fn replaying_as(stream: &str, frames: &[Vec<u8>]) -> HostDir {
    let mut dir = HostDir::empty();
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend((frame.len() as u32).to_be_bytes());
        bytes.extend(frame);
    }
    std::fs::write(dir.path("hq.frames"), bytes).unwrap();
    dir.add(&format!(
        "[source.hq]\nkind = \"replay\"\npath = \"hq.frames\"\nstream = \"{stream}\"\n\
         [pipeline.main]\nfrom = [\"hq\"]\nthrough = []\nto = [\"archive\"]\n\
         [pipeline.seen]\nfrom = [\"hq\"]\nthrough = [\"10-filter\"]\nto = [\"seen\"]\n\
         [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n\
         [sink.seen]\nkind = \"file\"\npath = \"seen.jsonl\"\n"
    ));
    dir.plugin("10-filter", "filter", "");
    dir
}

fn letters(host: &Host, pipeline: &str) -> Vec<Value> {
    let mut letters = host.lines("data/dead-letters.jsonl");
    letters.retain(|letter| letter["pipeline"] == pipeline);
    letters
}

#[test]
fn each_becomes_an_event_or_a_dead_letter_and_the_others_arrive() {
    hold(STREAM, &cases());
}

/// A stream with one payload, which unknown ones are taken for where they can be.
#[test]
fn an_unknown_type_that_is_not_the_streams_one_payload_is_kept() {
    const URL: &str = "type.googleapis.com/network_monitoring.switch.v1.StreamSwitchMessage";
    let frames = trommel::sim::central::frames(Stream::named("switch-events").unwrap(), 1, 1);
    let payload = frames.map(|frame| CloudEvent::decode(&*frame).unwrap().data).next().unwrap();
    let Some(Data::ProtoData(whole)) = payload else { panic!("{payload:?}") };
    let garbage = &b"\xff\xff"[..];
    let letter = Becomes::Letter("the payload is not a network_monitoring.switch");
    let kept = event(&[
        ("/data", Value::Null),
        ("/data_base64", json!("//8=")),
        ("/dataschema", json!("type.example/acme.Unknown")),
        ("/datacontenttype", json!("application/protobuf")),
    ]);
    let fits =
        event(&[("/data_base64", Value::Null), ("/datacontenttype", json!("application/json"))]);
    hold(
        "switch-events",
        &[
            ("one that can be read", any("1", "type.example/acme.Unknown", whole.value), fits),
            ("one that cannot", any("2", "type.example/acme.Unknown", garbage), kept),
            ("garbage under a known type", any("3", URL, garbage), letter),
            (
                "garbage under a known type in another package",
                any("4", "x/other.StreamSwitchMessage", garbage),
                Becomes::Letter("the payload is not a network_monitoring.switch"),
            ),
            (
                "garbage without a type",
                any("5", "", garbage),
                Becomes::Letter("the payload is not a network_monitoring.switch"),
            ),
        ],
    );
}

fn hold(stream: &str, cases: &[(&'static str, Vec<u8>, Becomes)]) {
    let mut frames = vec![text("before-0", "0")];
    for (number, (_, frame, _)) in cases.iter().enumerate() {
        frames.push(frame.clone());
        frames.push(text(&format!("before-{}", number + 1), "0"));
    }
    let mut host = replaying_as(stream, &frames).run();
    let tally = host.end();
    let lost = cases.iter().filter(|(.., becomes)| matches!(becomes, Becomes::Letter(_))).count();
    let all = 2 * frames.len() as u64;
    assert_eq!((tally.received, tally.dead_lettered), (all, 2 * lost as u64));
    assert_eq!((tally.delivered, tally.in_flight), (all - 2 * lost as u64, 0));
    // Two ways to the same: without plugins, and through one that looks at every event.
    for (pipeline, file) in [("main", "events.jsonl"), ("seen", "seen.jsonl")] {
        let (mut lines, letters) = (host.lines(file).into_iter(), letters(&host, pipeline));
        assert_eq!(letters.len(), lost);
        let steady = |number: usize, lines: &mut std::vec::IntoIter<Value>| {
            let line = lines.next().unwrap();
            assert_eq!(line["id"], format!("before-{number}"), "{pipeline}");
        };
        steady(0, &mut lines);
        for (number, (name, frame, becomes)) in cases.iter().enumerate() {
            match becomes {
                Becomes::Event(values) => {
                    let line = lines.next().unwrap();
                    for (pointer, expected) in values {
                        let found = line.pointer(pointer).cloned().unwrap_or_default();
                        assert_eq!(&found, expected, "{name}: {pointer} of {line}");
                    }
                }
                Becomes::Letter(says) => {
                    let raw = BASE64_STANDARD.encode(frame);
                    let letter = letters.iter().find(|letter| letter["raw"] == raw);
                    let letter =
                        letter.unwrap_or_else(|| panic!("no letter with the bytes of {name}"));
                    assert_eq!(letter["reason"], "decode", "{name}");
                    let detail = letter["detail"].as_str().unwrap();
                    assert!(detail.contains(says), "{name}: {detail}");
                    assert!(detail.len() < 4_000, "{name}: {detail}");
                }
            }
            steady(number + 1, &mut lines);
        }
        assert_eq!(lines.next(), None, "{pipeline}");
    }
}

#[test]
fn a_file_that_ends_within_a_frame_is_named_and_what_came_before_is_handed_on() {
    let dir = replaying(&[text("1", "1"), text("2", "2")]);
    let file = dir.path("hq.frames");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    let mut host = dir.run();
    assert_eq!(host.running.wait().code(), Some(1), "{}", host.running.log());
    assert!(host.running.log().contains("the file ends within a frame"), "{}", host.running.log());
    assert_eq!(host.ids("events.jsonl", STREAM), ["1"]);
}
