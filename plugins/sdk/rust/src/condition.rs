//! The test on one event that configurations of plugins share: its type, and a value in its
//! payload.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use crate::pointer::Pointer;
use crate::{glob, json};

/// A condition as it is written. All parts given must hold, and at least one must be given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionSpec {
    /// The event's type: exact, or with `*` for any run of characters.
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// Where in the payload to look. Alone it means `exists = true`.
    pub pointer: Option<String>,
    /// The value found must be this one.
    #[serde(default, deserialize_with = "given")]
    pub equals: Option<Value>,
    /// The value found must be one of these.
    #[serde(rename = "in")]
    pub within: Option<Vec<Value>>,
    /// Whether there must be a value at all; null is one.
    pub exists: Option<bool>,
}

/// Tells `equals = null` from no `equals`. For use in `deserialize_with`.
///
/// # Errors
/// If it is no value.
pub fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A condition, read once for many events.
///
/// Values are compared as JSON means them: `1` equals `1.0`, the order of members does not matter,
/// and `"5"` is not `5`. (Protobuf's 64-bit integers come as strings.)
#[derive(Debug, Clone)]
pub struct Condition {
    ty: Option<String>,
    value: Option<(Pointer, Test)>,
}

#[derive(Debug, Clone)]
struct Test {
    exists: bool,
    equals: Option<Wanted>,
    within: Option<Vec<Wanted>>,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// If no part is given, a part lacks the pointer it is about, or parts contradict each other.
    pub fn new(spec: ConditionSpec) -> Result<Self, String> {
        let about_value = [
            (spec.equals.is_some(), "equals"),
            (spec.within.is_some(), "in"),
            (spec.exists.is_some(), "exists"),
        ];
        let about_value = about_value.into_iter().find(|(given, _)| *given).map(|(_, part)| part);
        match (&spec.ty, &spec.pointer, about_value) {
            (None, None, None) => {
                return Err("it has no condition: give a \"type\" or a \"pointer\"".into());
            }
            (_, None, Some(part)) => return Err(format!("\"{part}\" needs a \"pointer\"")),
            _ => {}
        }
        let test = Test {
            exists: spec.exists.unwrap_or(true),
            equals: spec.equals.map(Wanted::new),
            within: spec.within.map(|values| values.into_iter().map(Wanted::new).collect()),
        };
        if !test.exists && (test.equals.is_some() || test.within.is_some()) {
            return Err("a value that does not exist can have no \"equals\" or \"in\"".into());
        }
        if test.within.as_ref().is_some_and(Vec::is_empty) {
            return Err("\"in\" is empty, so no event can match".into());
        }
        let pointer = spec.pointer.as_deref().map(Pointer::parse).transpose()?;
        Ok(Self { ty: spec.ty, value: pointer.map(|pointer| (pointer, test)) })
    }

    /// The pattern for the type, if the condition has one.
    pub fn ty(&self) -> Option<&str> {
        self.ty.as_deref()
    }

    /// Whether it looks at the payload, which the plugin must then want.
    pub fn needs_data(&self) -> bool {
        self.value.is_some()
    }

    /// Whether the part about the type holds.
    pub fn type_matches(&self, ty: &str) -> bool {
        self.ty.as_ref().is_none_or(|pattern| glob::matches(pattern, ty))
    }

    /// Where it looks in the payload, if it does.
    pub fn pointer(&self) -> Option<&Pointer> {
        self.value.as_ref().map(|(pointer, _)| pointer)
    }

    /// Whether the part about the payload holds. An event without payload has no value anywhere.
    pub fn data_matches(&self, data: &str) -> bool {
        self.pointer().is_none_or(|pointer| self.value_matches(pointer.find(data)))
    }

    /// The same, for the value that was found where [`pointer`](Self::pointer) points to: whoever
    /// has several conditions finds all values in one pass.
    pub fn value_matches(&self, found: Option<&str>) -> bool {
        let Some((_, test)) = &self.value else { return true };
        match found {
            None => !test.exists,
            Some(found) => {
                test.exists
                    && test.equals.as_ref().is_none_or(|wanted| wanted.is(found))
                    && test
                        .within
                        .as_ref()
                        .is_none_or(|wanted| wanted.iter().any(|one| one.is(found)))
            }
        }
    }

    /// Whether all parts hold.
    pub fn matches(&self, ty: &str, data: &str) -> bool {
        self.type_matches(ty) && self.data_matches(data)
    }
}

/// A value to compare with text, mostly without making a value of the text.
#[derive(Debug, Clone)]
struct Wanted {
    value: Value,
    text: String,
}

impl Wanted {
    fn new(value: Value) -> Self {
        Self { text: value.to_string(), value }
    }

    fn is(&self, found: &str) -> bool {
        if found == self.text {
            return true;
        }
        match &self.value {
            Value::Null | Value::Bool(_) => false,
            Value::String(text) => json::string(found).is_some_and(|found| found == *text),
            wanted => {
                // Another kind of value is told by its first byte.
                let kind =
                    |text: &str| text.bytes().next().filter(|byte| b"\"{[ntf".contains(byte));
                kind(found) == kind(&self.text)
                    && serde_json::from_str(found).is_ok_and(|found| same(wanted, &found))
            }
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64().partial_cmp(&b.as_f64()) == Some(Ordering::Equal),
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
