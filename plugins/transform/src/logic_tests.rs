//! Tests of the changes, each from a configuration to a new payload.

use serde_json::json;

use super::*;

fn changes(config: serde_json::Value) -> Changes {
    Changes::new(serde_json::from_str(&config.to_string()).unwrap()).unwrap()
}

/// The payload afterwards; the same text means that nothing changed.
fn changed(config: serde_json::Value, data: &str) -> String {
    let changed = changes(config).change(data).unwrap();
    assert_ne!(changed.as_deref(), Some(data), "what has not changed must not be sent back");
    changed.unwrap_or_else(|| data.to_string())
}

#[test]
fn without_configuration_nothing_changes_and_nothing_is_wanted() {
    let changes = changes(json!({}));
    assert!(changes.wants().fields.is_empty());
    assert_eq!(changes.change("{\"a\":1}"), Ok(None));
}

#[test]
fn removes_members_and_elements() {
    let config = || json!({"remove": ["/a", "/b/0", "/c/d"]});
    assert_eq!(
        changed(config(), r#"{"a":1,"b":[1,2],"c":{"d":1,"e":2}}"#),
        r#"{"b":[2],"c":{"e":2}}"#
    );
    assert_eq!(changed(config(), r#"{ "x" : 1, "b":[], "c":5 }"#), r#"{ "x" : 1, "b":[], "c":5 }"#);
    assert_eq!(changed(json!({"remove": [""]}), "[1]"), "");
}

#[test]
fn what_is_not_touched_stays_as_it_was() {
    let rest =
        r#""n":[1.0,-0.0,1e5,12345678901234567890123,0.1000],"s":"\u00e9\/","o":{ "z":1, "y":2 }"#;
    let data = format!("{{\"a\":0,{rest}}}");
    assert_eq!(changed(json!({"remove": ["/a"]}), &data), format!("{{{rest}}}"));
}

#[test]
fn sets_values_and_makes_what_is_missing() {
    assert_eq!(
        changed(json!({"set": {"/a/b": 1.0, "/n": null}}), "{}"),
        r#"{"a":{"b":1.0},"n":null}"#
    );
    assert_eq!(changed(json!({"set": {"/a/b": [1]}}), r#"{"a":null}"#), r#"{"a":{"b":[1]}}"#);
    assert_eq!(
        changed(json!({"set": {"/l/-": 3, "/l/0": 0}}), r#"{"l":[1,2]}"#),
        r#"{"l":[0,2,3]}"#
    );
    assert_eq!(changed(json!({"set": {"/a": 1}}), r#"{"a":1}"#), r#"{"a":1}"#);
    assert_eq!(changed(json!({"set": {"/q\"": "é"}}), "{}"), r#"{"q\"":"é"}"#);
    assert_eq!(changed(json!({"set": {"": {"b": 1}, "/a": 2}}), "[]"), r#"{"b":1,"a":2}"#);
}

#[test]
fn a_value_in_the_way_is_a_fault() {
    let fault = |config, data| changes(config).change(data).unwrap_err();
    let want = "\"/a/b/c\" cannot be set: the value at \"/a/b\" can hold no such member";
    assert_eq!(fault(json!({"set": {"/a/b/c": 1}}), r#"{"a":{"b":"x"}}"#), want);
    let want = "\"/l/5\" cannot be set: the value at \"/l\" can hold no such member";
    assert_eq!(fault(json!({"set": {"/l/5": 1}}), r#"{"l":[]}"#), want);
    let want = "\"/a\" cannot be set: the value at \"\" can hold no such member";
    assert_eq!(fault(json!({"set": {"/a": 1}}), "7"), want);
}

#[test]
fn renames_across_the_document() {
    assert_eq!(
        changed(json!({"rename": {"/a": "/x/y"}}), r#"{"a":{"b":1},"c":2}"#),
        r#"{"c":2,"x":{"y":{"b":1}}}"#
    );
    assert_eq!(changed(json!({"rename": {"/a": "/a/b"}}), r#"{"a":1}"#), r#"{"a":{"b":1}}"#);
    assert_eq!(changed(json!({"rename": {"/a": "/c"}}), r#"{"a":1,"c":2}"#), r#"{"c":1}"#);
    assert_eq!(changed(json!({"rename": {"/x": "/y"}}), r#"{"a":1}"#), r#"{"a":1}"#);
    assert_eq!(changed(json!({"rename": {"": "/payload"}}), "[1]"), r#"{"payload":[1]}"#);
    // In the order of the pointers: the second finds what the first has put there.
    assert_eq!(changed(json!({"rename": {"/a": "/b", "/b": "/c"}}), r#"{"a":1}"#), r#"{"c":1}"#);
}

#[test]
fn redacts_what_is_there() {
    let config = || json!({"redact": ["/user/name", "/mac", "/none"]});
    let data = r#"{"user":{"name":"Ann","age":3},"mac":[1,2]}"#;
    assert_eq!(changed(config(), data), r#"{"user":{"name":"***","age":3},"mac":"***"}"#);
    assert_eq!(changed(config(), r#"{"mac":"***"}"#), r#"{"mac":"***"}"#);
}

#[test]
fn keeps_only_what_is_named() {
    let config = || json!({"keep_only": ["/a/b", "/l/1", "/c"]});
    let data = r#"{"x":1,"l":[1,2,3],"a":{"b":{"k":1},"d":2},"c":{"e":[ ]}}"#;
    assert_eq!(changed(config(), data), r#"{"l":[2],"a":{"b":{"k":1}},"c":{"e":[ ]}}"#);
    assert_eq!(changed(config(), r#"{"a":{"d":1},"l":5}"#), "{}");
    assert_eq!(changed(config(), r#"{"c":1}"#), r#"{"c":1}"#);
    assert_eq!(changed(config(), "\"secret\""), "null");
    assert_eq!(changed(config(), "[1]"), "[]");
    assert_eq!(changed(json!({"keep_only": [""]}), "[1]"), "[1]");
}

#[test]
fn the_order_is_keep_remove_rename_set_redact() {
    let config = json!({
        "keep_only": ["/a", "/b"], "remove": ["/b"], "rename": {"/a": "/c"}, "set": {"/d": 1},
        "redact": ["/c", "/d"],
    });
    assert_eq!(changed(config, r#"{"a":1,"b":2,"x":3}"#), r#"{"c":"***","d":"***"}"#);
}

#[test]
fn a_name_that_occurs_twice_hides_nothing() {
    let twice = r#"{"a":{"secret":1},"b":0,"\u0061":{"open":2}}"#;
    assert_eq!(changed(json!({"redact": ["/a/secret"]}), twice), r#"{"b":0,"\u0061":{"open":2}}"#);
    assert_eq!(changed(json!({"remove": ["/a"]}), twice), r#"{"b":0}"#);
    assert_eq!(changed(json!({"keep_only": ["/a/open"]}), twice), r#"{"\u0061":{"open":2}}"#);
}

#[test]
fn an_event_without_payload_is_left_alone() {
    assert_eq!(changes(json!({"set": {"/a": 1}})).change(""), Ok(None));
}

#[test]
fn text_that_is_not_json_is_never_opened() {
    for data in ["{\"a\":1", "{\"a\" 1}", "{\"b\":{\"c\":1,}}", "[1"] {
        for config in [
            json!({"keep_only": ["/b/x"]}),
            json!({"rename": {"/b/x": "/y"}}),
            json!({"set": {"/b/x/y": 1}}),
        ] {
            let result = changes(config).change(data);
            assert!(result.is_err() || !data.starts_with('{'), "{data} {result:?}");
        }
    }
}

#[test]
fn both_ways_come_to_the_same() {
    let texts = [
        r#"{"a":1,"b":{"c":[1,{"d":2}],"e":null},"f":"***"}"#,
        r#"{"f":{},"b":{"e":{"x":1}},"a":[[1],[2,3]]}"#,
        r#"{"b":{"c":7}}"#,
        r#"{"\u0061":1,"b":{"c":[{"d":{"d":1}}]},"q\"":0}"#,
        r#"{"a":1,"a":2,"b":{"c":1,"c":[1,2]}}"#,
        r#"{}"#,
        r#"[{"a":1},{"b":2}]"#,
        r#""text""#,
    ];
    let pointers =
        ["/a", "/b/c", "/b/c/0", "/b/c/1/d", "/b/e", "/f", "/0", "/1/b", "/q\"", "/n", ""];
    let mut spliced = 0;
    for data in texts {
        for one in pointers {
            for two in pointers {
                for config in [
                    json!({"remove": [one, two]}),
                    json!({"set": {one: 5, two: {"s": "t"}}}),
                    json!({"redact": [one, two]}),
                    json!({"remove": [one], "set": {two: 1}, "redact": [one]}),
                ] {
                    let changes = changes(config);
                    if let Some(new) = changes.splice(data) {
                        let same = |new: Option<String>| new.filter(|new| new != data);
                        let rebuilt = changes.rebuild(data).unwrap();
                        assert_eq!(same(new), same(rebuilt), "{changes:?} {data}");
                        spliced += 1;
                    }
                }
            }
        }
    }
    assert!(spliced > 1_000, "{spliced}");
}

#[test]
fn says_where_a_pointer_is_wrong() {
    let complaint = |config: serde_json::Value| {
        Changes::new(serde_json::from_str(&config.to_string()).unwrap()).unwrap_err()
    };
    assert_eq!(
        complaint(json!({"remove": ["a"]})),
        "remove: \"a\" is not a JSON pointer: it must begin with /"
    );
    assert_eq!(
        complaint(json!({"rename": {"/a": "b"}})),
        "rename: \"b\" is not a JSON pointer: it must begin with /"
    );
}

#[test]
fn only_some_types_are_wanted_if_they_are_named() {
    let wants = changes(json!({"types": ["ap.*"], "remove": ["/a"]})).wants();
    assert_eq!((wants.types, wants.fields), (vec!["ap.*".to_string()], Fields::DATA));
}
