//! Changes made in the text itself, without opening the document: a value that is there is replaced or
//! cut out, and a member is added to an object that is there. Where that is not enough the document is
//! opened instead; see `tree`.

use trommel_plugin::json;
use trommel_plugin::pointer::{Place, Pointer, Repeated};

/// What came of a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Spliced {
    /// The text is the same.
    Same,
    /// It is another.
    New(String),
    /// The document must be opened for this.
    Beyond,
}

/// What is needed to set a value, read once for many texts.
#[derive(Debug)]
pub struct Target {
    at: Pointer,
    /// The object it is a member of, and its name as it is written, with the colon; not if it is the
    /// whole.
    holder: Option<(Pointer, String)>,
}

impl Target {
    pub fn new(at: Pointer) -> Self {
        let holder = at.split_last().map(|(holder, name)| {
            let mut key = String::new();
            json::push_string(&mut key, name);
            key.push(':');
            (holder, key)
        });
        Self { at, holder }
    }

    pub fn pointer(&self) -> &Pointer {
        &self.at
    }
}

/// Puts another value in the place of one that is there.
pub fn replace(text: &str, at: &Pointer, value: &str) -> Spliced {
    match at.place(text) {
        Ok(None) => Spliced::Same,
        Ok(Some(place)) => put(text, &place, value),
        Err(Repeated) => Spliced::Beyond,
    }
}

/// Cuts a value out.
pub fn remove(text: &str, at: &Pointer) -> Spliced {
    match at.place(text) {
        Ok(None) => Spliced::Same,
        Ok(Some(place)) if !at.tokens().is_empty() => cut(text, &place),
        _ => Spliced::Beyond,
    }
}

/// Gives a value a place.
pub fn set(text: &str, target: &Target, value: &str) -> Spliced {
    match target.at.place(text) {
        Ok(Some(place)) => return put(text, &place, value),
        Ok(None) => {}
        Err(Repeated) => return Spliced::Beyond,
    }
    let Some((holder, key)) = &target.holder else { return Spliced::Beyond };
    let Ok(Some(place)) = holder.place(text) else { return Spliced::Beyond };
    let (Some(before), Some(after)) =
        (text.get(..place.value.end - 1), text.get(place.value.end - 1..))
    else {
        return Spliced::Beyond;
    };
    if !text[place.value.clone()].starts_with('{') || !after.starts_with('}') {
        return Spliced::Beyond;
    }
    let before = before.trim_end();
    let comma = if before.ends_with('{') { "" } else { "," };
    Spliced::New([before, comma, key, value, after].concat())
}

fn put(text: &str, place: &Place, value: &str) -> Spliced {
    let (Some(before), Some(old), Some(after)) =
        (text.get(..place.value.start), text.get(place.value.clone()), text.get(place.value.end..))
    else {
        return Spliced::Beyond;
    };
    if old == value { Spliced::Same } else { Spliced::New([before, value, after].concat()) }
}

/// With its comma: the one behind it, or else the one before.
fn cut(text: &str, place: &Place) -> Spliced {
    let (Some(before), Some(after)) = (text.get(..place.start), text.get(place.value.end..)) else {
        return Spliced::Beyond;
    };
    let (before, after) = match after.trim_start().strip_prefix(',') {
        Some(next) => (before, next.trim_start()),
        None => {
            let before = before.trim_end();
            (before.strip_suffix(',').unwrap_or(before), after)
        }
    };
    Spliced::New([before, after].concat())
}
