//! Holds the scanner equal to serde_json: whatever a pointer finds in JSON text is what it finds in
//! the value of that text, and other text does no harm.
#![allow(clippy::unwrap_used, reason = "a test may")]

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use trommel_plugin::pointer::{Pointer, Pointers};

/// Names as they are written in JSON and what they mean. Few, so that they occur twice and pointers
/// hit; of all kinds, so that places of quotes and backslashes vary.
const NAMES: [(&str, &str); 16] = [
    ("a", "a"),
    ("\\u0061", "a"),
    ("b", "b"),
    ("", ""),
    ("0", "0"),
    ("1", "1"),
    ("x/y", "x/y"),
    ("x\\/y", "x/y"),
    ("m~n", "m~n"),
    ("\\\"", "\""),
    ("\\\\", "\\"),
    ("a\\\"", "a\""),
    ("é😀", "é😀"),
    ("\\u00e9\\ud83d\\ude00", "é😀"),
    ("a name of thirty characters: {}", "a name of thirty characters: {}"),
    (
        "one that is longer than a block of sixty-four bytes, so that no mask holds it whole",
        "one that is longer than a block of sixty-four bytes, so that no mask holds it whole",
    ),
];

fn space() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\t \n"), 1 => Just("                 ")]
        .prop_map(str::to_owned)
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..NAMES.len()).prop_map(|at| NAMES[at].0.to_owned()),
        2 => "[a-z ,:{}\\[\\]/é😀]{0,90}",
        1 => vec(prop_oneof![Just("\\\\"), Just("\\\""), Just("\\n"), Just("\\u0022"), Just("a")], 0..70)
            .prop_map(|parts| parts.concat()),
    ]
    .prop_map(|inside| format!("\"{inside}\""))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,17})",
        "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,4}([eE][+-]?[0-9]{1,2})?"
    ]
}

/// JSON text, duplicates and white space and all.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        number(),
        string()
    ];
    let value = leaf.prop_recursive(5, 60, 7, |inner| {
        let entry =
            (space(), inner.clone(), space()).prop_map(|(a, value, b)| a + &value + &b).boxed();
        let member = (space(), 0..NAMES.len(), space(), entry.clone())
            .prop_map(|(a, name, b, value)| format!("{a}\"{}\"{b}:{value}", NAMES[name].0));
        prop_oneof![
            1 => vec(entry, 0..5).prop_map(|all| format!("[{}]", all.join(","))),
            3 => vec(member, 0..7).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    });
    (space(), value, space()).prop_map(|(a, value, b)| a + &value + &b)
}

fn pointer() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        6 => (0..NAMES.len()).prop_map(|at| NAMES[at].1.to_owned()),
        1 => Just("2".to_owned()),
        1 => Just("01".to_owned()),
        1 => Just("-".to_owned()),
    ];
    vec(token, 0..4).prop_map(|tokens| {
        let escaped = |token: String| token.replace('~', "~0").replace('/', "~1");
        tokens.into_iter().map(|token| format!("/{}", escaped(token))).collect()
    })
}

fn value(found: Option<&str>) -> Option<Value> {
    found.map(|text| serde_json::from_str(text).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn finds_what_serde_json_finds(text in json(), pointers in vec(pointer(), 1..12)) {
        let whole: Value = serde_json::from_str(&text).unwrap();
        let read: Vec<Pointer> = pointers.iter().map(|text| Pointer::parse(text).unwrap()).collect();
        let many = Pointers::new(&read).values(&text);
        for (number, pointer) in read.iter().enumerate() {
            let found = pointer.find(&text);
            prop_assert_eq!(value(found), whole.pointer(&pointers[number]).cloned(), "{}", pointer);
            prop_assert_eq!(many.get(number), found, "{} with others", pointer);
            if let Ok(place) = pointer.place(&text) {
                prop_assert_eq!(place.map(|place| &text[place.value]), found, "{}", pointer);
            }
        }
    }

    #[test]
    fn a_place_is_that_of_the_member(text in json(), pointer in pointer()) {
        let read = Pointer::parse(&pointer).unwrap();
        if let Ok(Some(place)) = read.place(&text) {
            prop_assert!(place.start <= place.value.start);
            let member = &text[place.start..place.value.end];
            let is_alone = serde_json::from_str::<Value>(member).is_ok();
            let in_object = serde_json::from_str::<Value>(&format!("{{{member}}}")).is_ok();
            prop_assert!(is_alone != in_object, "{}", member);
        }
    }

    #[test]
    fn mangled_text_does_no_harm(
        text in json(),
        pointers in vec(pointer(), 1..12),
        cuts in vec((any::<prop::sample::Index>(), prop::sample::select(vec!["", "\"", "\\", "{", "}", "]", ",", ":", "é", "\n"])), 1..4),
    ) {
        let mut characters: Vec<String> = text.chars().map(String::from).collect();
        for (at, with) in cuts {
            let at = at.index(characters.len());
            characters[at] = with.to_owned();
        }
        let text = characters.concat();
        let read: Vec<Pointer> = pointers.iter().map(|text| Pointer::parse(text).unwrap()).collect();
        let many = Pointers::new(&read).values(&text);
        for (number, pointer) in read.iter().enumerate() {
            let _ = (pointer.find(&text), many.get(number), pointer.place(&text));
        }
    }

    #[test]
    fn any_text_does_no_harm(text in ".{0,200}", pointer in pointer()) {
        let _ = Pointer::parse(&pointer).unwrap().find(&text);
        let _ = Pointer::parse(&pointer).unwrap().find(&format!("{{{text}"));
    }
}
