//! Tests of the walk over JSON text.

use super::*;

fn object(text: &str) -> Vec<(String, String)> {
    let members = members(text).unwrap().map(Result::unwrap);
    members.map(|(key, value)| (key.raw().to_string(), value.to_string())).collect()
}

#[test]
fn members_and_elements_are_slices_of_the_text() {
    let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
    assert_eq!(object("{}"), []);
    assert_eq!(object(" { } "), []);
    let text = r#" {"a" : [1, {"b":"}"}] ,"c\"":"\\" , "":-1.50e+3}"#;
    let want = [pair("a", r#"[1, {"b":"}"}]"#), pair("c\\\"", r#""\\""#), pair("", "-1.50e+3")];
    assert_eq!(object(text), want);
    let list: Vec<_> =
        elements(r#"["]", [ ], null ,{"a":[]}]"#).unwrap().map(Result::unwrap).collect();
    assert_eq!(list, [r#""]""#, "[ ]", "null", r#"{"a":[]}"#]);
}

#[test]
fn other_values_have_neither() {
    for text in ["", " ", "null", "1", "\"{\"", "}"] {
        assert!(members(text).is_none() && elements(text).is_none(), "{text}");
    }
    assert!(members("[]").is_none() && elements("{}").is_none());
}

#[test]
fn text_that_is_not_json_ends_in_an_error() {
    for text in [
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1 2}",
        "{a:1}",
        "{1:2}",
        "{\"a\\",
        "{\"a\":\"\\",
    ] {
        let walk: Vec<_> = members(text).unwrap().take(9).collect();
        assert!(walk.last().unwrap().is_err(), "{text} {walk:?}");
        assert_eq!(walk.iter().filter(|entry| entry.is_err()).count(), 1, "{text} {walk:?}");
    }
    for text in ["[", "[1", "[1 2]", "[,]", "[[]", "[\"é"] {
        assert!(elements(text).unwrap().take(9).last().unwrap().is_err(), "{text}");
    }
}

#[test]
fn strings_of_every_length_end_at_their_quote() {
    for length in 0..40 {
        for special in ["", "\\\"", "\\\\", "é", "\u{1F600}"] {
            let text = format!("[\"{}{special}\",\"{special}\"]", "x".repeat(length));
            let count = elements(&text).unwrap().filter(Result::is_ok).count();
            assert_eq!(count, 2, "{text}");
        }
    }
}

#[test]
fn keys_are_compared_with_escapes_undone() {
    let key = |text| members(text).unwrap().next().unwrap().unwrap().0;
    assert!(key(r#"{"a\u0062\n":1}"#).is("ab\n"));
    assert!(key(r#"{"\ud83d\ude00":1}"#).is("\u{1F600}"));
    assert!(!key(r#"{"a\u0062":1}"#).is(r"a\u0062"));
    assert!(!key(r#"{"\ud83d":1}"#).is("\u{FFFD}"));
}

#[test]
fn quoting_is_undone_by_reading() {
    let texts = ["", "a", "\"\\\n\r\t\u{0}\u{1f}\u{7f}é\u{2028}", "\\u0041"];
    for text in texts {
        let mut quoted = String::new();
        push_string(&mut quoted, text);
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        assert_eq!(string(&quoted).unwrap(), text);
    }
    assert_eq!(string("1"), None);
    assert_eq!(string("\""), None);
}
