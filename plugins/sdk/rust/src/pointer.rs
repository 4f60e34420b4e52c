//! JSON pointers (RFC 6901) into JSON text: `/site/name`, `/ports/0`; `~1` stands for `/` in a
//! name, `~0` for `~`, and the empty pointer for the whole. Where a name occurs twice the last one
//! counts, as for serde_json.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Deserializer, de};

use crate::json;
use crate::scan::{self, Found, Name};

/// Finds the value that a pointer points to, as it stands in the text. Only what lies around the
/// path is looked at: several times cheaper than making a value of the whole.
///
/// ```
/// use trommel_plugin::pointer;
/// let data = r#"{"site": {"name": "north", "aps": [1, 2.0]}}"#;
/// assert_eq!(pointer::find(data, "/site/name"), Some("\"north\""));
/// assert_eq!(pointer::find(data, "/site/aps/1"), Some("2.0"));
/// assert_eq!(pointer::find(data, "/site/id"), None);
/// ```
pub fn find<'a>(text: &'a str, pointer: &str) -> Option<&'a str> {
    Pointer::parse(pointer).ok()?.find(text)
}

/// Finds several values in one pass over the text, `None` where there is none.
///
/// ```
/// use trommel_plugin::pointer;
/// let data = r#"{"site": "north", "ap": {"name": "a1", "mac": null}}"#;
/// let found = pointer::find_many(data, &["/ap/name", "/site", "/ap/id"]);
/// assert_eq!(found, [Some("\"a1\""), Some("\"north\""), None]);
/// ```
pub fn find_many<'a>(text: &'a str, pointers: &[&str]) -> Vec<Option<&'a str>> {
    let parsed: Vec<_> = pointers.iter().map(|pointer| Pointer::parse(pointer).ok()).collect();
    let many = Pointers::new(parsed.iter().flatten());
    let mut values = vec![None; many.len()];
    many.find(text, &mut values);
    let mut values = values.into_iter();
    parsed.iter().map(|pointer| pointer.as_ref().and_then(|_| values.next().flatten())).collect()
}

/// A pointer, read once for many texts. Reads from configuration with serde.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    tokens: Vec<String>,
    /// The same, ready to be sought.
    names: Vec<Name>,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// If it is neither empty nor begins with `/`, or has a `~` that is not `~0` or `~1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return match text {
                "" => Ok(Self { tokens: Vec::new(), names: Vec::new() }),
                _ => Err(format!("\"{text}\" is not a JSON pointer: it must begin with /")),
            };
        };
        if path.replace("~0", "").replace("~1", "").contains('~') {
            return Err(format!("\"{text}\" is not a JSON pointer: ~ must be written ~0"));
        }
        let tokens = path.split('/').map(|token| token.replace("~1", "/").replace("~0", "~"));
        let tokens: Vec<String> = tokens.collect();
        Ok(Self { names: tokens.iter().map(|token| Name::new(token)).collect(), tokens })
    }

    /// The names on the path, escapes undone.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The value it points to in a text, if there is one.
    #[inline]
    pub fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        let bytes = text.as_bytes();
        let Some((last, above)) = self.names.split_last() else { return json::value(text) };
        let (mut start, mut end) = (scan::skip_space(bytes, 0), bytes.len());
        for name in above {
            start = child(bytes, start, end, name)?;
            end = json::skip_value(bytes, start)?;
        }
        let start = child(bytes, start, end, last)?;
        text.get(start..json::skip_value(bytes, start)?)
    }

    /// Where the value it points to stands in a text, if there is one.
    ///
    /// # Errors
    /// If a name on the way occurs more than once in its object: other values, which do not count,
    /// would hide behind a change.
    pub fn place(&self, text: &str) -> Result<Option<Place>, Repeated> {
        let bytes = text.as_bytes();
        let start = scan::skip_space(bytes, 0);
        let mut place = Place { start, value: start..bytes.len() };
        for name in &self.names {
            let Range { start, end } = place.value;
            let child = match bytes.get(start) {
                Some(b'{') => {
                    let found = scan::member(bytes, start, end, name);
                    if found.is_repeated() {
                        return Err(Repeated);
                    }
                    found.value().map(|value| (found.start(bytes), value))
                }
                Some(b'[') => element(bytes, start, name).map(|element| (element, element)),
                _ => None,
            };
            let end = child.and_then(|(_, value)| json::skip_value(bytes, value));
            let (Some((start, value)), Some(end)) = (child, end) else { return Ok(None) };
            place = Place { start, value: value..end };
        }
        if self.names.is_empty() {
            let Some(end) = json::skip_value(bytes, start) else { return Ok(None) };
            place.value.end = end;
        }
        Ok(Some(place))
    }

    /// Its last name, and the pointer to what holds that; `None` for the empty pointer.
    pub fn split_last(&self) -> Option<(Self, &str)> {
        let ((last, tokens), (_, names)) = (self.tokens.split_last()?, self.names.split_last()?);
        Some((Self { tokens: tokens.to_vec(), names: names.to_vec() }, last))
    }
}

/// Where a member or an element begins, of the value that begins at a place.
#[inline]
fn child(text: &[u8], start: usize, end: usize, name: &Name) -> Option<usize> {
    match text.get(start)? {
        b'{' => scan::member(text, start, end, name).value(),
        b'[' => element(text, start, name),
        _ => None,
    }
}

fn element(text: &[u8], start: usize, name: &Name) -> Option<usize> {
    let mut element = json::first_element(text, start)?;
    for _ in 0..index(name.text())? {
        element = json::next_element(text, element)?;
    }
    Some(element)
}

/// Where a value stands in a text, for those that change it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where its member begins, with the quote of the name; where it begins itself, if it is an
    /// element or the whole.
    pub start: usize,
    /// The value.
    pub value: Range<usize>,
}

/// A name occurs more than once in its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated;

/// Several values, found by [`Pointers::values`].
#[derive(Debug, Clone)]
pub struct Values<'a> {
    few: [Option<&'a str>; AT_ONCE],
    many: Vec<Option<&'a str>>,
}

impl<'a> Values<'a> {
    /// The value of a pointer by its number.
    pub fn get(&self, number: usize) -> Option<&'a str> {
        let values = if self.many.is_empty() { &self.few[..] } else { &self.many };
        values.get(number).copied().flatten()
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The place of an array's element: digits without leading zeros.
pub fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with('0');
    let digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    if plain && digits { token.parse().ok() } else { None }
}

/// Several pointers, for one pass over a text: cheaper than one after the other, the more of the
/// path they share. The same pointer may occur twice.
#[derive(Debug, Clone, Default)]
pub struct Pointers {
    count: usize,
    root: Step,
}

/// What is sought in one value.
#[derive(Debug, Clone, Default)]
struct Step {
    /// The numbers of the pointers that end here.
    here: Vec<usize>,
    /// What is sought below it.
    below: Vec<(Name, Step)>,
}

/// How many names are sought in an object at once.
const AT_ONCE: usize = 8;

impl Pointers {
    /// Takes pointers; the first one has the number 0.
    pub fn new<'p>(pointers: impl IntoIterator<Item = &'p Pointer>) -> Self {
        let mut all = Self::default();
        for pointer in pointers {
            let mut step = &mut all.root;
            for name in &pointer.names {
                let known = step.below.iter().position(|(known, _)| known == name);
                let place = known.unwrap_or(step.below.len());
                if known.is_none() {
                    step.below.push((name.clone(), Step::default()));
                }
                step = &mut step.below[place].1;
            }
            step.here.push(all.count);
            all.count += 1;
        }
        all
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Finds them all, without allocating if there are eight or less.
    pub fn values<'a>(&self, text: &'a str) -> Values<'a> {
        let mut values = Values { few: [None; AT_ONCE], many: Vec::new() };
        if self.count <= AT_ONCE {
            self.find(text, &mut values.few);
        } else {
            values.many.resize(self.count, None);
            self.find(text, &mut values.many);
        }
        values
    }

    /// Finds them all: `values` gets the value of each, in order. It must hold [`len`](Self::len)
    /// places; what is there before is gone.
    pub fn find<'a>(&self, text: &'a str, values: &mut [Option<&'a str>]) {
        values.fill(None);
        for number in &self.root.here {
            if let Some(place) = values.get_mut(*number) {
                *place = json::value(text);
            }
        }
        let start = scan::skip_space(text.as_bytes(), 0);
        self.root.find_below(text, start, text.len(), values);
    }
}

impl Step {
    /// Notes the value that begins at a place for those that end here, and looks into it for the
    /// others.
    fn take<'a>(&self, text: &'a str, start: usize, values: &mut [Option<&'a str>]) {
        let Some(end) = json::skip_value(text.as_bytes(), start) else { return };
        for number in &self.here {
            if let Some(place) = values.get_mut(*number) {
                *place = text.get(start..end);
            }
        }
        self.find_below(text, start, end, values);
    }

    fn find_below<'a>(
        &self,
        text: &'a str,
        start: usize,
        end: usize,
        values: &mut [Option<&'a str>],
    ) {
        match (&self.below[..], text.as_bytes().get(start)) {
            ([], _) => {}
            ([(name, step)], _) => {
                if let Some(at) = child(text.as_bytes(), start, end, name) {
                    step.take(text, at, values);
                }
            }
            (_, Some(b'{')) => self.find_members(text, start, end, values),
            (_, Some(b'[')) => self.find_elements(text, start, values),
            _ => {}
        }
    }

    fn find_members<'a>(
        &self,
        text: &'a str,
        start: usize,
        end: usize,
        values: &mut [Option<&'a str>],
    ) {
        for some in self.below.chunks(AT_ONCE) {
            let mut found = [Found::default(); AT_ONCE];
            let names = some.iter().map(|(name, _)| name);
            scan::members(text.as_bytes(), start, end, names, &mut found);
            for ((_, step), at) in some.iter().zip(found) {
                if let Some(at) = at.value() {
                    step.take(text, at, values);
                }
            }
        }
    }

    fn find_elements<'a>(&self, text: &'a str, start: usize, values: &mut [Option<&'a str>]) {
        let mut wanted: Vec<(usize, &Step)> = Vec::new();
        for (name, step) in &self.below {
            wanted.extend(index(name.text()).map(|place| (place, step)));
        }
        wanted.sort_by_key(|(place, _)| *place);
        let mut element = json::first_element(text.as_bytes(), start);
        let mut at = 0;
        for (place, step) in wanted {
            while at < place {
                element = element.and_then(|here| json::next_element(text.as_bytes(), here));
                at += 1;
                if element.is_none() {
                    return;
                }
            }
            if let Some(element) = element {
                step.take(text, element, values);
            }
        }
    }
}

#[cfg(test)]
#[path = "pointer_tests.rs"]
mod tests;
