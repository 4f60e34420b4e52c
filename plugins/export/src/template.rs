//! Text made from an event: a template with `{{type}}`, `{{/pointer}}` and the like in it.

use trommel_plugin::json::{self, push_escaped, push_string};
use trommel_plugin::pointer::Pointer;
use trommel_plugin::{Event, Fields};

use crate::time::rfc3339;

/// How values are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The template is JSON. Between quotes a value is escaped; elsewhere it stands as a JSON
    /// value, null if missing.
    Json,
    /// Any text: values stand as people write them, nothing if missing.
    Plain,
    /// As plain, and what means something to Slack (`&`, `<`, `>`) is escaped.
    Slack,
}

/// A template, read once for many events.
#[derive(Debug, Clone)]
pub struct Template {
    mode: Mode,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    /// What is put in, and whether that is between quotes.
    Value(Slot, bool),
}

#[derive(Debug, Clone)]
enum Slot {
    Type,
    Id,
    Source,
    Subject,
    Time,
    Data,
    Event,
    Pointer(Pointer),
}

/// A value to put in.
enum Value<'a> {
    Missing,
    Text(&'a str),
    Json(&'a str),
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str, mode: Mode) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut quoted = false;
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or("the template has {{ without }}")?;
            quoted = ends_quoted(before, quoted);
            parts.push(Part::Text(before.to_string()));
            parts.push(Part::Value(Slot::parse(name.trim())?, quoted));
            rest = after;
        }
        parts.push(Part::Text(rest.to_string()));
        let template = Self { mode, parts };
        if mode == Mode::Json {
            let empty = template.write(|_| Value::Missing);
            serde_json::from_str::<serde::de::IgnoredAny>(&empty).map_err(|error| {
                format!(
                    "the template does not become JSON ({error}); for other text set json = false"
                )
            })?;
        }
        Ok(template)
    }

    /// The columns it needs.
    pub fn fields(&self) -> Fields {
        let sources = self.parts.iter().filter_map(|part| match part {
            Part::Value(source, _) => Some(source.fields()),
            Part::Text(_) => None,
        });
        sources.fold(Fields::empty(), |all, fields| all | fields)
    }

    /// Whether it is the same for every event.
    pub fn is_fixed(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Value(..)))
    }

    /// The text for an event.
    pub fn render(&self, event: &Event<'_>) -> String {
        let time = event.time().map(rfc3339).unwrap_or_default();
        self.write(|source| source.value(event, &time))
    }

    fn write<'a>(&self, value: impl Fn(&Slot) -> Value<'a>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(source, quoted) => match (self.mode, quoted) {
                    (Mode::Json, false) => value(source).push_value(&mut out),
                    (Mode::Json, true) => value(source).push_between_quotes(&mut out),
                    (Mode::Plain, _) => value(source).push_plain(&mut out),
                    (Mode::Slack, _) => {
                        let mut plain = String::new();
                        value(source).push_plain(&mut plain);
                        out.push_str(
                            &plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
                        );
                    }
                },
            }
        }
        out
    }
}

impl Slot {
    fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "type" => Self::Type,
            "id" => Self::Id,
            "source" => Self::Source,
            "subject" => Self::Subject,
            "time" => Self::Time,
            "data" => Self::Data,
            "event" => Self::Event,
            pointer if pointer.starts_with('/') => Self::Pointer(Pointer::parse(pointer)?),
            _ => {
                let known =
                    "type, id, source, subject, time, data, event and pointers such as /site/name";
                return Err(format!("the template has {{{{{name}}}}}; known are {known}"));
            }
        })
    }

    fn fields(&self) -> Fields {
        match self {
            Self::Type => Fields::empty(),
            Self::Id => Fields::IDS,
            Self::Source => Fields::SOURCES,
            Self::Subject => Fields::SUBJECTS,
            Self::Time => Fields::TIMES,
            Self::Data | Self::Pointer(_) => Fields::DATA,
            Self::Event => Fields::WHOLE,
        }
    }

    fn value<'a>(&self, event: &Event<'a>, time: &'a str) -> Value<'a> {
        let text = |text: &'a str| if text.is_empty() { Value::Missing } else { Value::Text(text) };
        let json = |text: &'a str| if text.is_empty() { Value::Missing } else { Value::Json(text) };
        match self {
            Self::Type => text(event.ty()),
            Self::Id => text(event.id()),
            Self::Source => text(event.source()),
            Self::Subject => text(event.subject().unwrap_or("")),
            Self::Time => text(time),
            Self::Data => json(event.data()),
            Self::Event => json(event.whole()),
            Self::Pointer(pointer) => json(pointer.find(event.data()).unwrap_or("")),
        }
    }
}

impl Value<'_> {
    fn push_value(&self, out: &mut String) {
        match self {
            Self::Missing => out.push_str("null"),
            Self::Text(text) => push_string(out, text),
            Self::Json(json) => out.push_str(json),
        }
    }

    fn push_between_quotes(&self, out: &mut String) {
        match self {
            Self::Missing => {}
            Self::Text(text) => push_escaped(out, text),
            // A JSON string is escaped already.
            Self::Json(json) => {
                match json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) {
                    Some(escaped) => out.push_str(escaped),
                    None => push_escaped(out, json),
                }
            }
        }
    }

    fn push_plain(&self, out: &mut String) {
        match self {
            Self::Missing => {}
            Self::Text(text) => out.push_str(text),
            Self::Json(json) => out.push_str(&json::string(json).unwrap_or((*json).into())),
        }
    }
}

/// Whether a JSON text ends inside a string, if it began inside one or not.
fn ends_quoted(text: &str, mut quoted: bool) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => drop(bytes.next()),
            _ => {}
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use trommel_plugin::testing::{batch, event};

    fn render(template: &str, mode: Mode) -> String {
        let event = event("a.b").id("1").source("s\"x").time(1_500_000).whole("{\"w\":1}");
        let batch = batch([event.data(r#"{"s":"é\n<\"q\">","n":1.50,"o":{"k":"v"}}"#)]);
        Template::parse(template, mode).unwrap().render(&batch.event(0))
    }

    #[test]
    fn json_between_quotes_is_escaped_and_elsewhere_a_value() {
        let template = r#"{"a\"":"{{type}} {{/s}} {{/o}} {{/none}}","n":{{/n}},"s":{{/s}}}"#;
        let want = r#"{"a\"":"a.b é\n<\"q\"> {\"k\":\"v\"} ","n":1.50,"s":"é\n<\"q\">"}"#;
        assert_eq!(render(template, Mode::Json), want);
        assert_eq!(
            render("[{{ event }},{{source}},{{subject}},{{/o}},{{time}}]", Mode::Json),
            r#"[{"w":1},"s\"x",null,{"k":"v"},"1970-01-01T00:00:01.500000Z"]"#
        );
    }

    #[test]
    fn plain_text_is_as_people_write_it() {
        assert_eq!(
            render("{{/s}}|{{/n}}|{{/none}}|{{source}}", Mode::Plain),
            "é\n<\"q\">|1.50||s\"x"
        );
        assert_eq!(render("<{{/s}}> & {{id}}", Mode::Slack), "<é\n&lt;\"q\"&gt;> & 1");
    }

    #[test]
    fn asks_for_the_columns_it_needs() {
        let fields = |template| Template::parse(template, Mode::Plain).unwrap().fields();
        assert_eq!(fields("{{type}}"), Fields::empty());
        assert_eq!(fields("{{/a}}{{id}}{{source}}"), Fields::DATA | Fields::IDS | Fields::SOURCES);
        assert_eq!(
            fields("{{event}}{{time}}{{subject}}"),
            Fields::WHOLE | Fields::TIMES | Fields::SUBJECTS
        );
    }

    #[test]
    fn says_what_is_wrong() {
        let complaint = |template, mode| Template::parse(template, mode).unwrap_err();
        assert_eq!(complaint("{{", Mode::Plain), "the template has {{ without }}");
        assert!(
            complaint("{{typ}}", Mode::Plain)
                .starts_with("the template has {{typ}}; known are type,")
        );
        assert!(
            complaint("{\"a\":{{type}}", Mode::Json)
                .starts_with("the template does not become JSON (")
        );
        assert!(complaint("hello {{type}}", Mode::Json).contains("set json = false"));
    }
}
