//! The line for a phone's screen, made from a template.

use trommel_plugin::json;
use trommel_plugin::pointer::Pointer;

/// A template: text with `{count}`, `{group}`, `{rule}`, `{window}` and `{/pointer}` in it; `{{`
/// and `}}` stand for single braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Word(Word),
    Value(Pointer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Count,
    Group,
    Rule,
    Window,
}

/// What the words stand for.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// How many matches.
    pub count: usize,
    /// The group's values.
    pub group: &'a str,
    /// The rule's name.
    pub rule: &'a str,
    /// The window, as `60s`.
    pub window: &'a str,
}

impl Summary {
    /// Reads a template.
    pub fn parse(template: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            parts.push(Part::Text(rest[..at].to_string()));
            let brace = &rest[at..];
            if brace.starts_with("{{") || brace.starts_with("}}") {
                parts.push(Part::Text(brace[..1].to_string()));
                rest = &brace[2..];
                continue;
            }
            let inside = brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let (name, after) = inside
                .ok_or("a brace in the summary has no partner (write {{ or }} for a plain one)")?;
            parts.push(placeholder(name)?);
            rest = after;
        }
        parts.push(Part::Text(rest.to_string()));
        Ok(Self(parts))
    }

    /// Whether it needs the payload.
    pub fn needs_data(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Value(_)))
    }

    /// The line, on one line whatever the values hold.
    pub fn write(&self, words: Words<'_>, data: &str) -> String {
        let mut line = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Word(Word::Count) => line.push_str(&words.count.to_string()),
                Part::Word(Word::Group) => line.push_str(words.group),
                Part::Word(Word::Rule) => line.push_str(words.rule),
                Part::Word(Word::Window) => line.push_str(words.window),
                Part::Value(pointer) => line.push_str(&text_at(pointer, data)),
            }
        }
        line.replace(['\n', '\r'], " ")
    }
}

/// A value as people write it: strings without quotes, other values as JSON, nothing if it is
/// missing.
pub fn text_at(pointer: &Pointer, data: &str) -> String {
    let found = pointer.find(data).unwrap_or("");
    json::string(found).map_or_else(|| found.to_string(), Into::into)
}

fn placeholder(name: &str) -> Result<Part, String> {
    let word = match name {
        "count" => Word::Count,
        "group" => Word::Group,
        "rule" => Word::Rule,
        "window" => Word::Window,
        pointer if pointer.starts_with('/') => return Pointer::parse(pointer).map(Part::Value),
        _ => {
            let known = "{count}, {group}, {rule}, {window} and pointers such as {/site/name}";
            return Err(format!("the summary has {{{name}}}; it knows {known}"));
        }
    };
    Ok(Part::Word(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words<'_> = Words { count: 3, group: "north", rule: "ap-down", window: "1m" };

    #[test]
    fn fills_in_words_and_values() {
        let summary =
            Summary::parse("{rule}: {count} at {group} in {window}, {/a/b} {/n} {/none}{{x}}")
                .unwrap();
        let line = summary.write(WORDS, r#"{"a":{"b":"é\n\"q\""},"n":[1]}"#);
        assert_eq!(line, "ap-down: 3 at north in 1m, é \"q\" [1] {x}");
        assert!(summary.needs_data() && !Summary::parse("{count}").unwrap().needs_data());
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(
            Summary::parse("{cuont}")
                .unwrap_err()
                .starts_with("the summary has {cuont}; it knows {count}")
        );
        for template in ["{", "a}", "{count", "{count}}"] {
            assert!(
                Summary::parse(template)
                    .unwrap_err()
                    .starts_with("a brace in the summary has no partner")
            );
        }
    }
}
