//! The configuration, read and checked: where events go, how they are shaped, how many share a
//! request.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use trommel_plugin::{Event, Fields, Wants, duration, json};

use crate::template::{Mode, Template};

/// The configuration as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    types: Vec<String>,
    url: Option<String>,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    template: Option<String>,
    json: Option<bool>,
    batch: Option<Shape>,
    preset: Option<Preset>,
    text: Option<String>,
    #[serde(default, deserialize_with = "duration::read_option")]
    timeout: Option<Duration>,
}

/// How many events share a request, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One request per event.
    Each,
    /// All of a batch, one line each.
    Lines,
    /// All of a batch, as a JSON array.
    Array,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    Slack,
}

/// The configuration, ready for use.
#[derive(Debug)]
pub struct Settings {
    /// Where to.
    pub url: String,
    /// How.
    pub method: String,
    /// How long a request may take; `None` leaves it to the host.
    pub timeout: Option<Duration>,
    /// How many events share a request.
    pub shape: Shape,
    types: Vec<String>,
    headers: Vec<(String, Template)>,
    body: Template,
    slack: bool,
}

impl Settings {
    /// Checks a configuration.
    pub fn new(config: Config) -> Result<Self, String> {
        let url = config.url.filter(|url| !url.is_empty());
        let url = url.ok_or("\"url\" is missing: where events are to be sent")?;
        let slack = config.preset == Some(Preset::Slack);
        let shape = config.batch.unwrap_or(if slack { Shape::Each } else { Shape::Lines });
        let as_json = config.json.unwrap_or(true);
        if slack && (config.template.is_some() || config.json.is_some() || shape != Shape::Each) {
            let instead = "give \"text\", not \"template\", \"json\" or \"batch\"";
            return Err(format!("preset \"slack\" makes the body itself: {instead}"));
        }
        if !slack && config.text.is_some() {
            return Err(
                "\"text\" belongs to preset \"slack\"; without one give \"template\"".into()
            );
        }
        if shape == Shape::Array && !as_json {
            return Err(
                "batch \"array\" makes JSON, so the template must: json = false cannot be".into()
            );
        }
        let body = match (slack, as_json) {
            (true, _) => Template::parse(
                config.text.as_deref().unwrap_or("{{type}} {{subject}}"),
                Mode::Slack,
            ),
            (false, true) => {
                Template::parse(config.template.as_deref().unwrap_or("{{event}}"), Mode::Json)
            }
            (false, false) => {
                Template::parse(config.template.as_deref().unwrap_or("{{event}}"), Mode::Plain)
            }
        }?;
        let headers = read_headers(config.headers, shape, as_json)?;
        let method = config.method.unwrap_or_else(|| "POST".into());
        Ok(Self {
            url,
            method,
            timeout: config.timeout,
            shape,
            types: config.types,
            headers,
            body,
            slack,
        })
    }

    /// The columns the templates need. With one request per event also what tells events apart, for
    /// the memory of those that are done.
    pub fn wants(&self) -> Wants {
        let headers = self.headers.iter().map(|(_, template)| template.fields());
        let mut fields = headers.fold(self.body.fields(), |all, fields| all | fields);
        if self.shape == Shape::Each {
            fields |= Fields::IDS | Fields::SOURCES;
        }
        Wants::of_types(self.types.iter().cloned(), fields)
    }

    /// What is sent for one event.
    pub fn body(&self, event: &Event<'_>) -> String {
        let text = self.body.render(event);
        if !self.slack {
            return text;
        }
        let mut body = String::from("{\"text\":");
        json::push_string(&mut body, &text);
        body.push('}');
        body
    }

    /// The header fields of a request that begins with this event.
    pub fn headers(&self, event: &Event<'_>) -> Vec<(String, String)> {
        let value = |template: &Template| template.render(event).replace(char::is_control, " ");
        self.headers.iter().map(|(name, template)| (name.clone(), value(template))).collect()
    }

    /// The body of a request with these events in it.
    pub fn join(&self, bodies: &[&str]) -> String {
        match self.shape {
            Shape::Each => bodies.concat(),
            Shape::Lines => {
                bodies.iter().map(|body| format!("{}\n", body.replace('\n', " "))).collect()
            }
            Shape::Array => format!("[{}]", bodies.join(",")),
        }
    }
}

fn read_headers(
    headers: BTreeMap<String, String>,
    shape: Shape,
    as_json: bool,
) -> Result<Vec<(String, Template)>, String> {
    let mut fields = Vec::new();
    for (name, value) in headers {
        let value = Template::parse(&value, Mode::Plain)
            .map_err(|error| format!("header \"{name}\": {error}"))?;
        if shape != Shape::Each && !value.is_fixed() {
            return Err(format!(
                "header \"{name}\" differs from event to event: that needs batch = \"each\""
            ));
        }
        fields.push((name, value));
    }
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        let kind = match (as_json, shape) {
            (true, Shape::Lines) => "application/x-ndjson",
            (true, _) => "application/json",
            (false, _) => "text/plain; charset=utf-8",
        };
        fields.push(("content-type".into(), Template::parse(kind, Mode::Plain)?));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use trommel_plugin::testing::{batch, event};

    fn settings(config: serde_json::Value) -> Result<Settings, String> {
        Settings::new(serde_json::from_value(config).map_err(|error| error.to_string())?)
    }

    #[test]
    fn by_default_whole_events_as_lines() {
        let settings = settings(json!({"url": "u"})).unwrap();
        assert_eq!((settings.method.as_str(), settings.shape), ("POST", Shape::Lines));
        assert_eq!(settings.wants().fields, Fields::WHOLE);
        assert_eq!(settings.join(&["{\"a\":\n1}", "2"]), "{\"a\": 1}\n2\n");
        let batch = batch([event("t").whole("{}")]);
        let headers = settings.headers(&batch.event(0));
        assert_eq!(headers, [("content-type".to_string(), "application/x-ndjson".to_string())]);
    }

    #[test]
    fn headers_may_come_from_the_event() {
        let headers = json!({"Content-Type": "x", "Key": "{{source}}/{{id}}"});
        let config = json!({"url": "u", "batch": "each", "headers": headers});
        let batch = batch([event("t").id("1").source("s\r\nx")]);
        let headers = settings(config).unwrap().headers(&batch.event(0));
        assert_eq!(headers, [("Content-Type".into(), "x".into()), ("Key".into(), "s  x/1".into())]);
    }

    #[test]
    fn slack_gets_a_text() {
        let config = json!({"url": "u", "preset": "slack", "text": "*{{/site}}* & {{type}}"});
        let settings = settings(config).unwrap();
        let batch = batch([event("t").data(r#"{"site":"<a>\n"}"#)]);
        assert_eq!(settings.body(&batch.event(0)), r#"{"text":"*&lt;a&gt;\n* & t"}"#);
        assert_eq!(settings.wants().fields, Fields::DATA | Fields::IDS | Fields::SOURCES);
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            (json!({}), "\"url\" is missing"),
            (json!({"url": "u", "text": "x"}), "\"text\" belongs to preset"),
            (
                json!({"url": "u", "preset": "slack", "batch": "lines"}),
                "preset \"slack\" makes the body itself",
            ),
            (json!({"url": "u", "batch": "array", "json": false}), "batch \"array\" makes JSON"),
            (
                json!({"url": "u", "headers": {"k": "{{id}}"}}),
                "header \"k\" differs from event to event",
            ),
            (
                json!({"url": "u", "headers": {"k": "{{x}}"}}),
                "header \"k\": the template has {{x}}",
            ),
            (json!({"url": "u", "batch": "all"}), "unknown variant `all`"),
            (json!({"url": "u", "timeout": 5}), "invalid type"),
            (json!({"url": "u", "urls": []}), "unknown field `urls`"),
        ];
        for (config, want) in cases {
            let complaint = settings(config).unwrap_err();
            assert!(complaint.starts_with(want), "{complaint}");
        }
    }
}
