//! `trommel decode`: frames in, lines out, the same JSON as Python's protobuf makes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::{TROMMEL, python};

fn decode(args: &[&str], input: &[u8]) -> (Option<i32>, Vec<serde_json::Value>) {
    let mut child = Command::new(TROMMEL)
        .arg("decode")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Written beside reading, or both sides would wait for each other.
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    (output.status.code(), lines)
}

fn framed(frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend((frame.len() as u32).to_be_bytes());
        bytes.extend(*frame);
    }
    bytes
}

/// An envelope with id, source and type, and text as its data.
const TEXT_EVENT: &[u8] = b"\x0a\x011\x12\x02/s\x1a\x031.0\x22\x01t\x3a\x07{\"a\":1}";

#[test]
fn one_frame_is_one_line() {
    let (code, lines) = decode(&["--stream", "ap-events", "-"], TEXT_EVENT);
    assert_eq!(code, Some(0));
    assert_eq!(
        lines,
        [serde_json::json!({
            "specversion": "1.0", "id": "1", "source": "/s", "type": "t",
            "datacontenttype": "application/json", "stream": "ap-events", "data": {"a": 1},
        })]
    );
}

#[test]
fn an_error_stands_in_the_place_of_its_frame() {
    let input = framed(&[TEXT_EVENT, b"garbage", b"", TEXT_EVENT]);
    let (code, lines) = decode(&["--framed"], &input);
    assert_eq!(code, Some(1));
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[0]["id"], &lines[3]["id"]), (&"1".into(), &"1".into()));
    assert!(lines[1]["error"].as_str().unwrap().contains("not a CloudEvents envelope"));
    assert!(lines[2]["error"].as_str().unwrap().contains("no id"));
    let (code, lines) = decode(&["--framed"], &input[..input.len() - 1]);
    assert_eq!((code, lines.len()), (Some(1), 4));
    assert!(lines[3]["error"].as_str().unwrap().contains("ends after"), "{}", lines[3]);
}

#[test]
fn every_message_reads_as_in_python() {
    let dir = TempDir::new().unwrap();
    let (frames, expected) = (dir.path().join("frames"), dir.path().join("expected.jsonl"));
    let mut generate = python::script("vendor", "json_cases.py");
    generate.arg(crate::support::repository().join("proto")).arg(&frames).arg(&expected);
    python::run(&mut generate);
    let (code, lines) = decode(&["--framed"], &std::fs::read(&frames).unwrap());
    let expected = crate::support::json_lines(&expected);
    assert_eq!(lines.len(), expected.len());
    assert!(expected.len() > 300, "only {} cases", expected.len());
    for (line, case) in lines.iter().zip(&expected) {
        assert_eq!(line["data"], case["data"], "{} {}", case["message"], case["case"]);
    }
    assert_eq!(code, Some(0));
}
