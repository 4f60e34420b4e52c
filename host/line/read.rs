//! The line of an event, taken apart again. Pure. Key function: [`read`].

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::push_json_string;
use crate::timestamp::Timestamp;

/// An event, as its line has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadLine {
    /// CloudEvents `id`.
    pub id: String,
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents `type`.
    pub ty: String,
    /// CloudEvents `subject`, empty for none.
    pub subject: String,
    /// CloudEvents `time`.
    pub time: Option<Timestamp>,
    /// CloudEvents `datacontenttype`.
    pub content_type: String,
    /// CloudEvents `dataschema`, empty for none.
    pub schema: String,
    /// Name of the stream.
    pub stream: String,
    /// All other attributes, as members of a JSON object.
    pub extensions: String,
    /// The payload.
    pub data: LineData,
}

/// The payload of an event, as its line has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LineData {
    /// There is none.
    #[default]
    None,
    /// JSON.
    Json(String),
    /// Bytes, in base64.
    Base64(String),
}

/// Takes a line apart. What is written of it again is the same line.
///
/// # Errors
/// Why it is none.
pub fn read(line: &str) -> Result<ReadLine, String> {
    let mut reader = serde_json::Deserializer::from_str(line);
    let read = reader.deserialize_map(Lines).and_then(|read| reader.end().map(|()| read));
    let read = read.map_err(|error| error.to_string())?;
    for (value, name) in [(&read.id, "id"), (&read.source, "source"), (&read.ty, "type")] {
        if value.is_empty() {
            return Err(format!("it has no {name}"));
        }
    }
    Ok(read)
}

struct Lines;

impl<'de> Visitor<'de> for Lines {
    type Value = ReadLine;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the line of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<ReadLine, A::Error> {
        let mut read = ReadLine::default();
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "specversion" => drop(members.next_value::<String>()?),
                "id" => read.id = members.next_value()?,
                "source" => read.source = members.next_value()?,
                "type" => read.ty = members.next_value()?,
                "subject" => read.subject = members.next_value()?,
                "time" => {
                    let text: String = members.next_value()?;
                    let time = Timestamp::parse(&text);
                    let no_time = || serde::de::Error::custom(format!("{text:?} is no time"));
                    read.time = Some(time.ok_or_else(no_time)?);
                }
                "datacontenttype" => read.content_type = members.next_value()?,
                "dataschema" => read.schema = members.next_value()?,
                "stream" => read.stream = members.next_value()?,
                "data" => {
                    let data: Box<RawValue> = members.next_value()?;
                    read.data = LineData::Json(data.get().to_owned());
                }
                "data_base64" => read.data = LineData::Base64(members.next_value()?),
                _ => {
                    let value: Box<RawValue> = members.next_value()?;
                    read.push_extension(&name, value.get());
                }
            }
        }
        Ok(read)
    }
}

impl ReadLine {
    fn push_extension(&mut self, name: &str, value: &str) {
        if !self.extensions.is_empty() {
            self.extensions.push(',');
        }
        push_json_string(&mut self.extensions, name);
        self.extensions.push(':');
        self.extensions.push_str(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Transcode};
    use crate::frame::Frame;

    /// There is nothing to be transcoded in what was a line.
    struct Nothing;

    impl Transcode for Nothing {
        fn json(&self, _: u16, _: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
            Err("a message".to_owned())
        }
    }

    #[test]
    fn what_is_written_of_a_line_is_the_same_line() {
        let head = r#"{"specversion":"1.0","id":"i\n1","source":"/s","type":"t""#;
        let tails = [
            r#","time":"1970-01-01T00:00:00.005Z","datacontenttype":"application/json","stream":"ap-events","data":{"a":[1,"é\n"]}}"#,
            r#","subject":"a \"b\"","datacontenttype":"application/octet-stream","dataschema":"x","stream":"s","n":-1,"b":true,"data_base64":"AAEC/w=="}"#,
            r#","datacontenttype":"text/plain","stream":"","data":"text"}"#,
            r#","time":"2026-11-21T09:30:00Z","datacontenttype":"application/json","stream":"s","z":"1","a":2}"#,
        ];
        let mut batch = Batch::default();
        for tail in tails {
            let line = format!("{head}{tail}");
            let frame = Frame::binary(b"as received".to_vec());
            batch.push_line(frame, &read(&line).unwrap()).unwrap();
            let row = batch.live().last().copied().unwrap();
            assert_eq!(batch.line_of(row, &Nothing), Some(line));
            assert_eq!(&batch.frame(batch.frame_of(row)).bytes[..], b"as received");
        }
    }

    #[test]
    fn what_is_no_line_says_why() {
        for (line, says) in [
            ("", "EOF"),
            ("[]", "invalid type"),
            ("{}", "it has no id"),
            (r#"{"id":"1","source":"s","type":"t","time":"noon"}"#, "\"noon\" is no time"),
            (r#"{"id":"1","source":"s","type":"t"} x"#, "trailing"),
        ] {
            let said = read(line).unwrap_err();
            assert!(said.contains(says), "{line}: {said}");
        }
    }
}
