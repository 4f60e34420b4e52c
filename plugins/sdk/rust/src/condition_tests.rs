//! Tests of the condition that configurations share.

use serde_json::json;

use super::*;

fn condition(spec: Value) -> Condition {
    Condition::new(serde_json::from_value(spec).unwrap()).unwrap()
}

fn complaint(spec: Value) -> String {
    Condition::new(serde_json::from_value(spec).unwrap()).unwrap_err()
}

#[test]
fn all_parts_given_must_hold() {
    let condition = condition(json!({"type": "ap.*", "pointer": "/a", "equals": 1, "in": [1, 2]}));
    assert!(condition.matches("ap.down", r#"{"a":1}"#));
    assert!(!condition.matches("ap.down", r#"{"a":2}"#));
    assert!(!condition.matches("sw.down", r#"{"a":1}"#));
    assert!(condition.needs_data());
}

#[test]
fn a_pointer_alone_asks_for_existence() {
    let exists = condition(json!({"pointer": "/a/b"}));
    assert!(exists.data_matches(r#"{"a":{"b":null}}"#));
    assert!(!exists.data_matches(r#"{"a":{}}"#));
    assert!(!exists.data_matches(""));
    let missing = condition(json!({"pointer": "/a/b", "exists": false}));
    assert!(missing.data_matches(r#"{"a":{}}"#) && missing.data_matches(""));
    assert!(!missing.data_matches(r#"{"a":{"b":0}}"#));
}

#[test]
fn values_are_compared_as_json_means_them() {
    let equal = [
        (json!(1), "1.0"),
        (json!(1.0), "1"),
        (json!(0), "-0.0"),
        (json!(1e3), "1000"),
        (json!("é"), "\"\\u00e9\""),
        (json!(null), "null"),
        (json!({"a": 1, "b": [2]}), r#"{"b": [2.0], "a": 1}"#),
        (json!(18446744073709551615u64), "18446744073709551615"),
    ];
    for (wanted, found) in equal {
        let condition = condition(json!({"pointer": "", "equals": wanted.clone()}));
        assert!(condition.data_matches(found), "{wanted} {found}");
    }
    let different = [
        (json!(5), "\"5\""),
        (json!("5"), "5"),
        (json!(null), "0"),
        (json!(false), "null"),
        (json!({"a": 1}), r#"{"a":1,"b":2}"#),
        (json!(9007199254740993i64), "9007199254740992"),
        (json!([1]), "[1,1]"),
    ];
    for (wanted, found) in different {
        let condition = condition(json!({"pointer": "", "equals": wanted.clone()}));
        assert!(!condition.data_matches(found), "{wanted} {found}");
    }
}

#[test]
fn says_what_is_wrong() {
    assert_eq!(complaint(json!({})), "it has no condition: give a \"type\" or a \"pointer\"");
    assert_eq!(complaint(json!({"type": "a", "equals": null})), "\"equals\" needs a \"pointer\"");
    assert_eq!(complaint(json!({"exists": true})), "\"exists\" needs a \"pointer\"");
    let impossible = json!({"pointer": "/a", "exists": false, "in": [1]});
    assert_eq!(
        complaint(impossible),
        "a value that does not exist can have no \"equals\" or \"in\""
    );
    assert_eq!(
        complaint(json!({"pointer": "/a", "in": []})),
        "\"in\" is empty, so no event can match"
    );
    assert_eq!(
        complaint(json!({"pointer": "a"})),
        "\"a\" is not a JSON pointer: it must begin with /"
    );
}
