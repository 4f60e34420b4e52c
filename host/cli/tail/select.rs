//! Which events are shown: by type and by values of the payload. Pure. Key types: [`Select`],
//! [`Where`].

use std::str::FromStr;

use serde_json::Value;

use crate::pattern::Pattern;

/// Which events are shown.
#[derive(Debug)]
pub(super) struct Select {
    types: Vec<Pattern>,
    conditions: Vec<Where>,
}

/// One condition on the payload: a JSON pointer, and what must stand there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Where {
    pointer: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Exists,
    Is(Wanted),
    IsNot(Wanted),
}

/// A value as JSON where it is JSON, and as it was typed: 64-bit integers are strings in events.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    json: Option<Value>,
    text: String,
}

impl Select {
    pub fn new(types: &[String], conditions: Vec<Where>) -> Self {
        let types = types.iter().map(Pattern::new).collect();
        Select { types, conditions }
    }

    /// Whether a type is wanted, in full or as it is shown.
    pub fn has_type(&self, ty: &str) -> bool {
        let short = short_type(ty);
        let fits = |pattern: &Pattern| pattern.matches(ty) || pattern.matches(short);
        self.types.is_empty() || self.types.iter().any(fits)
    }

    /// Whether payloads are looked at.
    pub fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Whether a payload is wanted.
    pub fn has_data(&self, data: &Value) -> bool {
        self.conditions.iter().all(|condition| condition.holds(data))
    }
}

/// A type without what all of Central's begin with: `aps.state.device`.
pub(super) fn short_type(ty: &str) -> &str {
    let Some(rest) = ty.strip_prefix("com.hpe.greenlake.") else { return ty };
    let is_version = |part: &str| {
        part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    match rest.splitn(3, '.').collect::<Vec<_>>()[..] {
        [_, version, name] if is_version(version) => name,
        _ => rest,
    }
}

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (pointer, test) = match text.split_once('=') {
            None => (text, Test::Exists),
            Some((before, value)) => match before.strip_suffix('!') {
                Some(pointer) => (pointer, Test::IsNot(Wanted::new(value))),
                None => (before, Test::Is(Wanted::new(value))),
            },
        };
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(format!("{pointer:?} is not a JSON pointer; for example /{pointer}"));
        }
        Ok(Where { pointer: pointer.to_owned(), test })
    }
}

impl Where {
    fn holds(&self, data: &Value) -> bool {
        let found = data.pointer(&self.pointer);
        match &self.test {
            Test::Exists => found.is_some(),
            Test::Is(wanted) => found.is_some_and(|value| wanted.fits(value)),
            Test::IsNot(wanted) => !found.is_some_and(|value| wanted.fits(value)),
        }
    }
}

impl Wanted {
    fn new(text: &str) -> Self {
        Wanted { json: serde_json::from_str(text).ok(), text: text.to_owned() }
    }

    fn fits(&self, value: &Value) -> bool {
        if value.as_str().is_some_and(|text| text == self.text) {
            return true;
        }
        match (&self.json, value) {
            (Some(Value::Number(wanted)), Value::Number(found)) => {
                wanted == found || wanted.as_f64() == found.as_f64()
            }
            (Some(wanted), found) => wanted == found,
            (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_as_people_read_them() {
        let data = json!({
            "status": false, "count": 3, "load": 1.0, "tx_bytes": "29419881798",
            "site": "graz", "nested": [{ "a/b": null }], "quoted": "\"x\"",
        });
        for (condition, holds) in [
            ("/status", true),
            ("/nothing", false),
            ("/status=false", true),
            ("/status=true", false),
            ("/status!=true", true),
            ("/nothing!=1", true),
            ("/nothing=1", false),
            ("/count=3", true),
            ("/count=3.0", true),
            ("/load=1", true),
            ("/tx_bytes=29419881798", true),
            ("/site=graz", true),
            ("/site=\"graz\"", true),
            ("/site!=graz", false),
            ("/site=gr", false),
            ("/nested/0/a~1b=null", true),
            ("/nested=[{\"a/b\":null}]", true),
            ("/quoted=\"x\"", true),
            ("", true),
        ] {
            let parsed: Where = condition.parse().unwrap();
            assert_eq!(parsed.holds(&data), holds, "{condition}");
        }
        assert_eq!(
            "status=1".parse::<Where>(),
            Err("\"status\" is not a JSON pointer; for example /status".to_owned())
        );
    }

    #[test]
    fn types_are_shown_and_wanted_without_their_common_prefix() {
        let long = "com.hpe.greenlake.network-monitoring.v1alpha1.aps.state.device";
        assert_eq!(short_type(long), "aps.state.device");
        assert_eq!(short_type("com.hpe.greenlake.thing"), "thing");
        assert_eq!(short_type("trommel.alert"), "trommel.alert");
        for (pattern, fits) in
            [("aps.state.*", true), ("*.aps.state.*", true), (long, true), ("aps.stats.*", false)]
        {
            assert_eq!(Select::new(&[pattern.to_owned()], vec![]).has_type(long), fits);
        }
        assert!(Select::new(&[], vec![]).has_type(long));
    }
}
