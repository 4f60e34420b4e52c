//! An event as one line of the CloudEvents 1.0 JSON format, and the names and values its extension
//! attributes may have. Pure. Key function: [`push_event`].

use serde_json::Value;

use crate::text::{Timestamp, push_json_string, push_time};

/// The parts of one event, ready to be written.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// CloudEvents `id`.
    pub id: &'a str,
    /// CloudEvents `source`.
    pub source: &'a str,
    /// CloudEvents `type`.
    pub ty: &'a str,
    /// CloudEvents `subject`; empty for none.
    pub subject: &'a str,
    /// CloudEvents `time`.
    pub time: Option<Timestamp>,
    /// CloudEvents `datacontenttype` of `data` as it is written here.
    pub content_type: &'a str,
    /// CloudEvents `dataschema`; empty for none.
    pub schema: &'a str,
    /// The extension attribute `stream`.
    pub stream: &'a str,
    /// All other extension attributes as members of a JSON object, without braces; may be empty.
    pub extensions: &'a str,
    /// The payload as JSON; empty for none.
    pub data: &'a str,
    /// Whether `data` is a JSON string of base64.
    pub is_base64: bool,
}

/// Appends an event as one line, without its newline.
pub fn push_event(out: &mut String, event: &Event<'_>) {
    out.push_str("{\"specversion\":\"1.0\",\"id\":");
    push_json_string(out, event.id);
    push_member(out, "source", event.source);
    push_member(out, "type", event.ty);
    if !event.subject.is_empty() {
        push_member(out, "subject", event.subject);
    }
    if let Some(time) = event.time {
        out.push_str(",\"time\":\"");
        push_time(out, time);
        out.push('"');
    }
    out.push(',');
    push_attributes(out, event);
    if !event.data.is_empty() {
        out.push_str(if event.is_base64 { ",\"data_base64\":" } else { ",\"data\":" });
        out.push_str(event.data);
    }
    out.push('}');
}

/// Appends what is neither payload nor has a column of its own, as members of a JSON object.
pub fn push_attributes(out: &mut String, event: &Event<'_>) {
    out.push_str("\"datacontenttype\":");
    push_json_string(out, event.content_type);
    if !event.schema.is_empty() {
        push_member(out, "dataschema", event.schema);
    }
    push_member(out, "stream", event.stream);
    if !event.extensions.is_empty() {
        out.push(',');
        out.push_str(event.extensions);
    }
}

fn push_member(out: &mut String, name: &str, value: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
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
            source: "/s",
            ty: "t",
            subject: "",
            time: Timestamp::new(0, 5_000_000),
            content_type: "application/json",
            schema: "",
            stream: "ap-events",
            extensions: "\"n\":1",
            data: "{\"a\":1}",
            is_base64: false,
        };
        let mut out = String::new();
        push_event(&mut out, &event);
        assert_eq!(
            out,
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
