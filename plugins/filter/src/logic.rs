//! The rules and what they mean for one event. Knows nothing of batches or of the host.

use serde::Deserialize;
use serde_json::Value;
use trommel_plugin::condition::{Condition, ConditionSpec};
use trommel_plugin::pointer::{Pointers, Values};
use trommel_plugin::{Fields, Wants};

/// The configuration as written. Rules are read one by one, so that an error can say which.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Events that match one of these are dropped.
    #[serde(default)]
    drop: Vec<Value>,
    /// If there are any, events that match none of these are dropped.
    #[serde(default)]
    keep: Vec<Value>,
}

/// The rules, ready for use.
#[derive(Debug)]
pub struct Rules {
    drop: Vec<Condition>,
    keep: Vec<Condition>,
    /// Those of `drop`, then those of `keep`: a payload is read once for all of them.
    pointers: Pointers,
}

impl Rules {
    /// Reads the rules.
    pub fn new(config: Config) -> Result<Self, String> {
        let (drop, keep) = (read("drop", config.drop)?, read("keep", config.keep)?);
        let pointers = Pointers::new(drop.iter().chain(&keep).filter_map(Condition::pointer));
        Ok(Self { drop, keep, pointers })
    }

    /// What must be seen to decide. Types are named if all others are kept anyway, so that they
    /// pass by at no cost.
    pub fn wants(&self) -> Wants {
        let mut rules = self.drop.iter().chain(&self.keep);
        let fields = if rules.any(Condition::needs_data) { Fields::DATA } else { Fields::empty() };
        let types: Option<Vec<&str>> = self.drop.iter().map(Condition::ty).collect();
        match types {
            Some(types) if self.keep.is_empty() => Wants::of_types(types, fields),
            _ => Wants::all(fields),
        }
    }

    /// The decision for all events of a type, if their payloads do not matter.
    pub fn by_type(&self, ty: &str) -> Option<bool> {
        let dropped = by_type(&self.drop, ty);
        let kept = if self.keep.is_empty() { Some(true) } else { by_type(&self.keep, ty) };
        match (dropped, kept) {
            (Some(true), _) | (_, Some(false)) => Some(false),
            (Some(false), Some(true)) => Some(true),
            _ => None,
        }
    }

    /// The decision for one event.
    pub fn by_event(&self, ty: &str, data: &str) -> bool {
        let values = self.pointers.values(data);
        let mut number = 0;
        let is_dropped = any(&self.drop, ty, &values, &mut number);
        !is_dropped && (self.keep.is_empty() || any(&self.keep, ty, &values, &mut number))
    }
}

/// Whether one of the rules matches all events of a type (true) or none of them (false).
fn by_type(rules: &[Condition], ty: &str) -> Option<bool> {
    let mut about = rules.iter().filter(|rule| rule.type_matches(ty)).peekable();
    if about.peek().is_none() {
        return Some(false);
    }
    about.any(|rule| !rule.needs_data()).then_some(true)
}

/// Whether one of the rules matches. `number` is that of the first one's pointer, and afterwards of
/// the first one behind them, if none matches.
fn any(rules: &[Condition], ty: &str, values: &Values<'_>, number: &mut usize) -> bool {
    rules.iter().any(|rule| {
        let value = rule.pointer().and_then(|_| {
            *number += 1;
            values.get(*number - 1)
        });
        rule.type_matches(ty) && rule.value_matches(value)
    })
}

fn read(list: &str, rules: Vec<Value>) -> Result<Vec<Condition>, String> {
    let read_one = |(place, rule): (usize, Value)| {
        let spec = serde_json::from_value::<ConditionSpec>(rule).map_err(|error| error.to_string());
        let rule = spec.and_then(Condition::new);
        rule.map_err(|error| format!("{list} rule {}: {error}", place + 1))
    };
    rules.into_iter().enumerate().map(read_one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(config: Value) -> Rules {
        Rules::new(serde_json::from_value(config).unwrap()).unwrap()
    }

    fn complaint(config: Value) -> String {
        Rules::new(serde_json::from_value(config).unwrap()).unwrap_err()
    }

    #[test]
    fn without_rules_everything_is_kept_unseen() {
        let rules = rules(json!({}));
        assert_eq!(rules.by_type("a"), Some(true));
        assert!(rules.wants().types.is_empty() && rules.wants().fields.is_empty());
    }

    #[test]
    fn drop_rules_by_type_ask_for_these_types_only() {
        let rules = rules(json!({"drop": [{"type": "ap.*"}, {"type": "x"}]}));
        assert_eq!(rules.wants().types, ["ap.*", "x"]);
        assert!(rules.wants().fields.is_empty());
        assert_eq!((rules.by_type("ap.up"), rules.by_type("y")), (Some(false), Some(true)));
    }

    #[test]
    fn keep_rules_ask_for_all_types() {
        let rules = rules(json!({"drop": [{"type": "a"}], "keep": [{"type": "*b"}]}));
        assert!(rules.wants().types.is_empty());
        assert_eq!(
            (rules.by_type("a"), rules.by_type("ab"), rules.by_type("c")),
            (Some(false), Some(true), Some(false))
        );
    }

    #[test]
    fn drop_wins_over_keep() {
        let rules =
            rules(json!({"drop": [{"pointer": "/p", "equals": 1}], "keep": [{"type": "a"}]}));
        assert_eq!((rules.by_type("a"), rules.by_type("b")), (None, Some(false)));
        assert!(!rules.by_event("a", r#"{"p":1}"#) && rules.by_event("a", r#"{"p":2}"#));
        assert_eq!(rules.wants().fields, Fields::DATA);
    }

    #[test]
    fn the_payload_decides_only_where_the_type_leaves_it_open() {
        let rules = rules(json!({"keep": [{"type": "a"}, {"type": "*", "pointer": "/p"}]}));
        assert_eq!((rules.by_type("a"), rules.by_type("b")), (Some(true), None));
        assert!(rules.by_event("b", r#"{"p":null}"#) && !rules.by_event("b", "{}"));
    }

    #[test]
    fn by_type_and_by_event_never_disagree() {
        let parts = [
            json!({"type": "a"}),
            json!({"type": "b*"}),
            json!({"pointer": "/p"}),
            json!({"type": "b", "pointer": "/p", "equals": 1}),
        ];
        let some = |bits: usize| -> Vec<&Value> {
            (0..4).filter(|bit| bits >> bit & 1 == 1).map(|bit| &parts[bit]).collect()
        };
        for bits in 0..256 {
            let rules = rules(json!({"drop": some(bits & 15), "keep": some(bits >> 4)}));
            for (ty, data) in ["a", "b", "bb", "c"]
                .iter()
                .flat_map(|ty| ["", "{}", r#"{"p":1}"#, r#"{"p":2}"#].map(|data| (ty, data)))
            {
                if let Some(decided) = rules.by_type(ty) {
                    assert_eq!(decided, rules.by_event(ty, data), "{bits} {ty} {data}");
                }
            }
        }
    }

    #[test]
    fn says_which_rule_and_what_is_wrong() {
        let bad = json!({"drop": [{"type": "a"}, {"equals": 1}]});
        assert_eq!(complaint(bad), "drop rule 2: \"equals\" needs a \"pointer\"");
        let unknown = complaint(json!({"keep": [{"typ": "a"}]}));
        assert!(unknown.starts_with("keep rule 1: unknown field `typ`"), "{unknown}");
        assert!(serde_json::from_value::<Config>(json!({"drp": []})).is_err());
    }
}
