//! A rule: which events match, how they are grouped, how many make an alert, and what it says.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use trommel_plugin::alert::Severity;
use trommel_plugin::condition::{Condition, ConditionSpec, given};
use trommel_plugin::duration;
use trommel_plugin::pointer::Pointer;

use crate::summary::{Summary, text_at};
use crate::window::Threshold;

/// More would make each event's share of `state` too large.
const MAX_COUNT: usize = 1_000;
/// The host takes keys of a kilobyte and values of a megabyte in `state`. What would be longer than
/// these is cut and told apart by a hash.
const MAX_KEY: usize = 500;
const MAX_GROUP: usize = 200;
const MAX_VALUE: usize = 100;
const MAX_NAME: usize = 100;

/// The configuration as written. Rules are read one by one, so that an error can say which.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The rules.
    #[serde(default)]
    pub rules: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSpec {
    name: String,
    #[serde(rename = "type")]
    ty: Option<String>,
    pointer: Option<String>,
    #[serde(default, deserialize_with = "given")]
    equals: Option<Value>,
    #[serde(rename = "in")]
    within: Option<Vec<Value>>,
    exists: Option<bool>,
    #[serde(default)]
    group: Group,
    #[serde(default = "one")]
    count: usize,
    distinct: Option<Pointer>,
    #[serde(default = "a_minute", deserialize_with = "duration::read")]
    window: Duration,
    #[serde(default, deserialize_with = "duration::read")]
    clear_after: Duration,
    #[serde(default)]
    severity: SeveritySpec,
    summary: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Group {
    One(String),
    Many(Vec<String>),
}

impl Default for Group {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SeveritySpec {
    Info,
    #[default]
    Warning,
    Critical,
}

fn one() -> usize {
    1
}

fn a_minute() -> Duration {
    Duration::from_secs(60)
}

/// A rule, ready for use.
#[derive(Debug)]
pub struct Rule {
    /// Its name, the first part of each alert's key.
    pub name: String,
    /// Which events match.
    pub condition: Condition,
    /// How many of them make an alert.
    pub threshold: Threshold,
    /// How bad it is.
    pub severity: Severity,
    /// The line for people.
    pub summary: Summary,
    /// The window, for people.
    pub window: String,
    distinct: Option<Pointer>,
    group: Vec<Pointer>,
}

impl Rule {
    /// Reads the rule at a place in the list.
    pub fn read((place, spec): (usize, Value)) -> Result<Self, String> {
        let name = spec.get("name").and_then(Value::as_str).map(|name| format!(" \"{name}\""));
        let spec = serde_json::from_value::<RuleSpec>(spec).map_err(|error| error.to_string());
        let rule = spec.and_then(Self::new);
        rule.map_err(|error| format!("rule {}{}: {error}", place + 1, name.unwrap_or_default()))
    }

    fn new(spec: RuleSpec) -> Result<Self, String> {
        if spec.name.is_empty() || spec.name.contains('/') {
            return Err("the name must not be empty or hold a /".into());
        }
        if spec.name.len() > MAX_NAME {
            return Err(format!("the name is longer than {MAX_NAME} bytes"));
        }
        if !(1..=MAX_COUNT).contains(&spec.count) {
            return Err(format!("\"count\" must be from 1 to {MAX_COUNT}"));
        }
        if spec.window.is_zero() {
            return Err("\"window\" must be longer than nothing".into());
        }
        let group = match spec.group {
            Group::One(pointer) => vec![pointer],
            Group::Many(pointers) => pointers,
        };
        let group: Vec<_> =
            group.iter().map(|text| Pointer::parse(text)).collect::<Result<_, _>>()?;
        let fallback = if group.is_empty() { "" } else { " at {group}" };
        let fallback = format!("{{rule}}: {{count}}{fallback} within {{window}}");
        let (ty, pointer, equals) = (spec.ty, spec.pointer, spec.equals);
        Ok(Self {
            name: spec.name,
            condition: Condition::new(ConditionSpec {
                ty,
                pointer,
                equals,
                within: spec.within,
                exists: spec.exists,
            })?,
            threshold: Threshold {
                count: spec.count,
                window: spec.window.as_micros() as u64,
                clear_after: spec.clear_after.as_micros() as u64,
            },
            severity: match spec.severity {
                SeveritySpec::Info => Severity::Info,
                SeveritySpec::Warning => Severity::Warning,
                SeveritySpec::Critical => Severity::Critical,
            },
            summary: Summary::parse(spec.summary.as_deref().unwrap_or(&fallback))?,
            window: duration::format(spec.window),
            distinct: spec.distinct,
            group,
        })
    }

    /// Whether it needs the payload.
    pub fn needs_data(&self) -> bool {
        self.condition.needs_data()
            || self.distinct.is_some()
            || !self.group.is_empty()
            || self.summary.needs_data()
    }

    /// The values by which matches are grouped; empty where there is none.
    pub fn group(&self, data: &str) -> Vec<String> {
        self.group.iter().map(|pointer| short(text_at(pointer, data), MAX_GROUP)).collect()
    }

    /// The key of a group's alert. A `/` in a value is written `%2F`, so that keys of different
    /// groups differ.
    pub fn key(&self, group: &[String]) -> String {
        let mut key = self.name.clone();
        for value in group {
            key.push('/');
            key.push_str(&value.replace('%', "%25").replace('/', "%2F"));
        }
        short(key, MAX_KEY)
    }

    /// Names for the group's values: the pointer `/site/name` gives `site.name`.
    pub fn labels(&self) -> impl Iterator<Item = String> {
        self.group.iter().map(|pointer| pointer.tokens().join("."))
    }

    /// The value that must be distinct, if the rule counts values.
    pub fn value(&self, data: &str) -> Option<String> {
        self.distinct.as_ref().map(|pointer| short(text_at(pointer, data), MAX_VALUE))
    }

    /// Whether it counts distinct values.
    pub fn is_distinct(&self) -> bool {
        self.distinct.is_some()
    }
}

fn short(text: String, max: usize) -> String {
    if text.len() <= max {
        return text;
    }
    // FNV-1a: told apart for certain enough, and the same in every version of this plugin.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{}~{hash:016x}", &text[..text.floor_char_boundary(max)])
}
