//! An event as one line of the CloudEvents 1.0 JSON format, and the names and values its extension
//! attributes may have. Pure. Key functions: [`open`], [`read()`].

mod read;

use serde_json::Value;

pub use read::{LineData, ReadLine, read};

use crate::copy::push_plain;
use crate::text::{Append, push_json_string};
use crate::timestamp::{LastSecond, Timestamp};

/// The parts of one event before its payload, ready to be written.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// CloudEvents `id`.
    pub id: &'a str,
    /// CloudEvents `source` and `type`, from [`head`].
    pub head: &'a str,
    /// CloudEvents `subject`; empty for none.
    pub subject: &'a str,
    /// CloudEvents `time`.
    pub time: Option<Timestamp>,
    /// What all events of a kind have besides, from [`tail`].
    pub tail: &'a str,
    /// All other extension attributes as members of a JSON object, without braces; may be empty.
    pub extensions: &'a str,
}

/// The members `source` and `type`, each after a comma.
pub fn head(source: &str, ty: &str) -> String {
    let mut out = String::new();
    push_member(&mut out, "source", source);
    push_member(&mut out, "type", ty);
    out
}

/// The members `datacontenttype`, `dataschema` unless it is empty, and `stream`, with commas between.
pub fn tail(content_type: &str, schema: &str, stream: &str) -> String {
    let mut out = "\"datacontenttype\":".to_owned();
    push_json_string(&mut out, content_type);
    if !schema.is_empty() {
        push_member(&mut out, "dataschema", schema);
    }
    push_member(&mut out, "stream", stream);
    out
}

/// Appends the beginning of an event's line, all but its payload.
pub fn open(out: &mut Vec<u8>, event: &Event<'_>, last: &mut LastSecond) {
    out.text("{\"specversion\":\"1.0\",\"id\":");
    if !push_plain(out, event.id.as_bytes()) {
        push_json_string(out, event.id);
    }
    out.text(event.head);
    if !event.subject.is_empty() {
        push_member(out, "subject", event.subject);
    }
    if let Some(time) = event.time {
        out.text(",\"time\":\"");
        last.push_time(out, time);
        out.text("\",");
    } else {
        out.text(",");
    }
    push_attributes(out, event);
}

const DATA: &str = ",\"data\":";
const DATA_BASE64: &str = ",\"data_base64\":";

/// Appends the name of the payload, which is to follow as JSON: a text of base64, or anything.
pub fn open_data(out: &mut impl Append, is_base64: bool) {
    out.text(if is_base64 { DATA_BASE64 } else { DATA });
}

/// Appends the end of a line. Where there turned out to be no payload, its name is taken back.
pub fn close(out: &mut Vec<u8>, is_without_data: bool) {
    if is_without_data {
        out.truncate(out.len() - DATA.len());
    }
    out.push(b'}');
}

/// Appends what is neither payload nor has a column of its own, as members of a JSON object.
pub fn push_attributes(out: &mut impl Append, event: &Event<'_>) {
    out.text(event.tail);
    if !event.extensions.is_empty() {
        out.text(",");
        out.text(event.extensions);
    }
}

fn push_member(out: &mut impl Append, name: &str, value: &str) {
    out.text(",\"");
    out.text(name);
    out.text("\":");
    push_json_string(out, value);
}

/// Names that an extension attribute cannot have: those of CloudEvents itself and our own.
const TAKEN: &[&str] = &[
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "stream",
];

/// Longest name that CloudEvents advises and its Python SDK accepts.
const MAX_NAME: usize = 20;

/// Writes extension attributes one by one, under names that CloudEvents allows.
#[derive(Debug, Default)]
pub struct Extensions {
    names: Vec<String>,
}

impl Extensions {
    /// Appends `"name":`, after a comma if it is not the first. The name is lowered to `[a-z0-9]`
    /// and cut; one that is taken gets an `x` before or a number behind it, so nothing is lost.
    pub fn push_name(&mut self, out: &mut String, name: &str) {
        let mut lowered: String = name
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            .take(MAX_NAME)
            .collect();
        if lowered.is_empty() || TAKEN.contains(&&*lowered) {
            lowered.insert(0, 'x');
        }
        let mut unique = lowered.clone();
        let mut number = 2;
        while self.names.contains(&unique) {
            let suffix = number.to_string();
            unique = lowered.chars().take(MAX_NAME - suffix.len()).collect();
            unique.push_str(&suffix);
            number += 1;
        }
        if !self.names.is_empty() {
            out.push(',');
        }
        out.push('"');
        out.push_str(&unique);
        out.push_str("\":");
        self.names.push(unique);
    }
}

/// The attributes that a transform gives a new event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewAttributes {
    /// `dataschema`, empty for none.
    pub schema: String,
    /// Extension attributes as members of a JSON object.
    pub extensions: String,
}

/// Reads the attributes of a new event, a JSON object. `datacontenttype` is passed over, for the
/// data of a new event is JSON, and so is `stream`, which stays that of the event replaced.
///
/// # Errors
/// What is wrong with them.
pub fn read_attributes(text: &str) -> Result<NewAttributes, String> {
    let Ok(Value::Object(members)) = serde_json::from_str(text) else {
        return Err("is not a JSON object".to_owned());
    };
    let mut new = NewAttributes::default();
    for (name, value) in &members {
        match (name.as_str(), value) {
            ("datacontenttype" | "stream", _) => {}
            ("dataschema", Value::String(schema)) => new.schema.clone_from(schema),
            (name, value) => {
                check_extension(name, value)?;
                if !new.extensions.is_empty() {
                    new.extensions.push(',');
                }
                new.extensions.push_str(&format!("\"{name}\":{value}"));
            }
        }
    }
    Ok(new)
}

fn check_extension(name: &str, value: &Value) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
        return Err(format!("has the attribute {name:?}; names are 1 to {MAX_NAME} of a-z0-9"));
    }
    if TAKEN.contains(&name) {
        return Err(format!("has {name:?}, which is not an extension attribute"));
    }
    match value {
        Value::String(_) | Value::Bool(_) => Ok(()),
        Value::Number(number) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
            Ok(())
        }
        _ => Err(format!("has {name:?} that is no text, boolean or 32-bit integer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(given: &[&str]) -> String {
        let mut extensions = Extensions::default();
        let mut out = String::new();
        for name in given {
            extensions.push_name(&mut out, name);
            out.push('1');
        }
        out
    }

    #[test]
    fn names_are_lowered_and_kept_apart() {
        assert_eq!(names(&["Tenant-Id", "tenantid"]), r#""tenantid":1,"tenantid2":1"#);
        assert_eq!(names(&["Stream", "data", "--"]), r#""xstream":1,"xdata":1,"x":1"#);
        let long = "averyveryverylongattributename";
        assert_eq!(names(&[long, long]), r#""averyveryverylongatt":1,"averyveryverylongat2":1"#);
    }

    #[test]
    fn a_line_has_what_there_is() {
        let event = Event {
            id: "i\n1",
            head: &head("/s", "t"),
            subject: "",
            time: Timestamp::new(0, 5_000_000),
            tail: &tail("application/json", "", "ap-events"),
            extensions: "\"n\":1",
        };
        let line = |data: &str| {
            let mut out = Vec::new();
            open(&mut out, &event, &mut LastSecond::default());
            open_data(&mut out, false);
            out.extend_from_slice(data.as_bytes());
            close(&mut out, data.is_empty());
            String::from_utf8(out).unwrap()
        };
        assert!(line("").ends_with(r#","n":1}"#));
        assert_eq!(
            line("{\"a\":1}"),
            r#"{"specversion":"1.0","id":"i\n1","source":"/s","type":"t","time":"1970-01-01T00:00:00.005Z","datacontenttype":"application/json","stream":"ap-events","n":1,"data":{"a":1}}"#
        );
    }

    #[test]
    fn attributes_of_new_events_are_checked() {
        let new = read_attributes(r#"{"datacontenttype":"x","dataschema":"s","a":1,"b":"c"}"#);
        let extensions = r#""a":1,"b":"c""#.to_owned();
        assert_eq!(new, Ok(NewAttributes { schema: "s".into(), extensions }));
        for bad in ["[]", "{", r#"{"A":1}"#, r#"{"id":"1"}"#, r#"{"a":[]}"#, r#"{"a":1.5}"#] {
            assert!(read_attributes(bad).is_err(), "{bad}");
        }
    }
}
