//! Tests of pointers, among them a random one against serde_json.

use serde_json::Value;

use super::*;

#[test]
fn follows_the_examples_of_the_rfc() {
    let text = concat!(
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"#,
        r#""g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#
    );
    let cases = [
        ("", text),
        ("/foo", r#"["bar","baz"]"#),
        ("/foo/0", "\"bar\""),
        ("/", "0"),
        ("/a~1b", "1"),
        ("/c%d", "2"),
        ("/e^f", "3"),
        ("/g|h", "4"),
        ("/i\\j", "5"),
        ("/k\"l", "6"),
        ("/ ", "7"),
        ("/m~0n", "8"),
    ];
    for (pointer, want) in cases {
        assert_eq!(find(text, pointer), Some(want), "{pointer}");
    }
}

#[test]
fn points_at_nothing() {
    let text = r#"{"a":[1,2],"b":"x","c":{"d":null}}"#;
    for pointer in ["/x", "/a/2", "/a/-", "/a/01", "/a/+1", "/a/", "/b/0", "/c/d/e", "a", "/a~2"] {
        assert_eq!(find(text, pointer), None, "{pointer}");
    }
    assert_eq!(find("", ""), None);
    assert_eq!(find("", "/a"), None);
    assert_eq!(find(" 5 ", ""), Some("5"));
}

#[test]
fn the_last_of_two_names_counts() {
    let text = r#"{"a":{"b":1},"\u0061":{"c":2}}"#;
    assert_eq!((find(text, "/a/b"), find(text, "/a/c")), (None, Some("2")));
}

#[test]
fn a_name_is_one_wherever_it_stands() {
    let pointer = Pointer::parse("/ip_address").unwrap();
    for (before, after) in (0..200).flat_map(|before| [0, 30, 90, 200].map(|after| (before, after)))
    {
        let (before, after) = ("x".repeat(before), "y".repeat(after));
        let head = format!("{{\"p\":\"{before}\",");
        let text = format!("{head}\"ip_address\":\"10\",\"q\":\"{after}\"}}");
        let value = head.len() + "\"ip_address\":".len();
        let place = Place { start: head.len(), value: value..value + "\"10\"".len() };
        assert_eq!(pointer.place(&text), Ok(Some(place)), "{text}");
        let twice = format!("{head}\"ip_address\":1,\"q\":\"{after}\",\"ip_address\":2}}");
        assert_eq!(pointer.place(&twice), Err(Repeated), "{twice}");
    }
}

#[test]
fn says_what_is_wrong() {
    assert_eq!(
        Pointer::parse("a").unwrap_err(),
        "\"a\" is not a JSON pointer: it must begin with /"
    );
    assert_eq!(
        Pointer::parse("/a~").unwrap_err(),
        "\"/a~\" is not a JSON pointer: ~ must be written ~0"
    );
    assert_eq!(Pointer::parse("/a~01/b~1").unwrap().to_string(), "/a~01/b~1");
}

#[test]
fn finds_what_serde_json_finds() {
    let seed =
        std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |now| now.as_nanos() as u64) | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    for _ in 0..20_000 {
        let mut text = String::new();
        random.value(&mut text, 4);
        let value: Value = serde_json::from_str(&text).unwrap();
        for _ in 0..6 {
            let pointer = random.pointer();
            let found =
                find(&text, &pointer).map(|text| serde_json::from_str::<Value>(text).unwrap());
            assert_eq!(found.as_ref(), value.pointer(&pointer), "seed {seed}: {pointer} in {text}");
        }
    }
}

#[test]
fn never_panics_on_mangled_text() {
    let seed =
        std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |now| now.as_nanos() as u64) | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    for _ in 0..20_000 {
        let mut text = String::new();
        random.value(&mut text, 3);
        let mut characters: Vec<char> = text.chars().collect();
        for _ in 0..=random.below(3) {
            let at = random.below(characters.len() + 1);
            match random.below(3) {
                0 => characters.truncate(at),
                1 => characters.insert(at, random.one_of(&['"', '\\', '{', ']', ',', 'é', ' '])),
                _ if at < characters.len() => drop(characters.remove(at)),
                _ => {}
            }
        }
        let text: String = characters.into_iter().collect();
        find(&text, &random.pointer());
    }
}

/// A small generator (xorshift), so that a failure can be had again from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn value(&mut self, out: &mut String, depth: usize) {
        self.space(out);
        match self.below(if depth == 0 { 3 } else { 6 }) {
            0 => out.push_str(self.one_of(&["0", "-1.5e3", "12345678901234567890", "1E-2"])),
            1 => out.push_str(self.one_of(&["null", "true", "false"])),
            2 => self.string(out),
            3 => self.list(out, '[', ']', |random, out| random.value(out, depth - 1)),
            _ => self.list(out, '{', '}', |random, out| {
                random.string(out);
                random.space(out);
                out.push(':');
                random.value(out, depth - 1);
            }),
        }
        self.space(out);
    }

    fn list(
        &mut self,
        out: &mut String,
        open: char,
        close: char,
        entry: impl Fn(&mut Self, &mut String),
    ) {
        out.push(open);
        for place in 0..self.below(5) {
            out.push_str(if place == 0 { "" } else { "," });
            self.space(out);
            entry(self, out);
            self.space(out);
        }
        out.push(close);
    }

    /// Few names, so that they occur twice and pointers hit; some written with escapes.
    fn string(&mut self, out: &mut String) {
        let texts = [
            r#""a""#,
            r#""b""#,
            r#""\u0061""#,
            r#""""#,
            r#""0""#,
            r#""1""#,
            r#""~""#,
            r#""x\/y""#,
            r#""x/y""#,
            r#""\"\\\n""#,
            r#""\ud83d\ude00""#,
            "\"\u{1F600}\"",
            r#""{[,:]}\\""#,
            r#""a long one, of more than eight""#,
        ];
        out.push_str(self.one_of(&texts));
    }

    fn space(&mut self, out: &mut String) {
        out.push_str(self.one_of(&["", "", "", " ", "\t", "\r\n"]));
    }

    fn pointer(&mut self) -> String {
        let tokens =
            ["a", "b", "", "0", "1", "2", "~0", "x~1y", "\"\\\n", "\u{1F600}", "{[,:]}\\", "-"];
        (0..self.below(4)).map(|_| format!("/{}", self.one_of(&tokens))).collect()
    }
}
