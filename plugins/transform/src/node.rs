//! One value of a document: text, until its members are asked for.

use std::borrow::Cow;

use trommel_plugin::json::{self, Malformed};
use trommel_plugin::pointer;

/// A value: as text, or opened one level.
#[derive(Debug, Clone)]
pub enum Node<'a> {
    /// As it stands.
    Text(&'a str),
    /// Members in their order; names are as written between their quotes.
    Object(Vec<(Cow<'a, str>, Self)>),
    /// Elements.
    Array(Vec<Self>),
}

impl<'a> Node<'a> {
    /// The value null.
    pub fn null() -> Self {
        Self::Text("null")
    }

    /// Whether it is this text.
    pub fn is(&self, text: &str) -> bool {
        matches!(self, Self::Text(own) if *own == text)
    }

    /// Whether it is known to be the same value.
    pub fn same(&self, other: &Self) -> bool {
        matches!(other, Self::Text(text) if self.is(text))
    }

    /// Opens an object or array by one level; what is neither stays text.
    pub fn open(&mut self) -> Result<(), Malformed> {
        let Self::Text(text) = *self else { return Ok(()) };
        if let Some(members) = json::members(text) {
            let member = |(key, value): (json::Key<'a>, _)| (key.raw().into(), Self::Text(value));
            *self = Self::Object(members.map(|entry| entry.map(member)).collect::<Result<_, _>>()?);
        } else if let Some(elements) = json::elements(text) {
            let element = |entry: Result<_, _>| entry.map(Self::Text);
            *self = Self::Array(elements.map(element).collect::<Result<_, _>>()?);
        }
        Ok(())
    }

    /// Where a name occurs twice the last one counts. Before it is touched the others go: they may
    /// hold what was to be taken away.
    pub fn settle(&mut self, token: &str, changed: &mut bool) {
        let Self::Object(members) = self else { return };
        let count = members.iter().filter(|(key, _)| named(key, token)).count();
        let mut before = count.saturating_sub(1);
        if before > 0 {
            *changed = true;
            members.retain(|(key, _)| {
                let goes = before > 0 && named(key, token);
                before -= usize::from(goes);
                !goes
            });
        }
    }

    /// Where a child is.
    pub fn place(&self, token: &str) -> Option<usize> {
        match self {
            Self::Text(_) => None,
            Self::Object(members) => members.iter().position(|(key, _)| named(key, token)),
            Self::Array(elements) => pointer::index(token).filter(|index| *index < elements.len()),
        }
    }

    /// The child at a place that [`place`](Self::place) gave.
    pub fn at(&mut self, place: usize) -> &mut Self {
        match self {
            Self::Text(_) => self,
            Self::Object(members) => &mut members[place].1,
            Self::Array(elements) => &mut elements[place],
        }
    }

    /// Takes away the child at such a place.
    pub fn take(&mut self, place: usize) -> Self {
        match self {
            Self::Text(_) => Self::null(),
            Self::Object(members) => members.remove(place).1,
            Self::Array(elements) => elements.remove(place),
        }
    }

    /// The child of a name, made if it is missing and can be.
    pub fn make(&mut self, token: &str) -> Option<&mut Self> {
        let place = self.place(token);
        match self {
            Self::Text(_) => None,
            Self::Object(members) => {
                let place = place.unwrap_or_else(|| {
                    members.push((quoted(token), Self::null()));
                    members.len() - 1
                });
                Some(&mut members[place].1)
            }
            Self::Array(elements) => {
                if token == "-" || pointer::index(token) == Some(elements.len()) {
                    elements.push(Self::null());
                    return elements.last_mut();
                }
                place.map(|place| &mut elements[place])
            }
        }
    }

    /// Drops whatever is not at one of these paths or on the way to one; says whether anything was
    /// kept.
    pub fn keep_only(
        &mut self,
        paths: &[&[String]],
        changed: &mut bool,
    ) -> Result<bool, Malformed> {
        if paths.iter().any(|path| path.is_empty()) {
            return Ok(true);
        }
        self.open()?;
        let mut failed = None;
        let mut keep = |matches: &dyn Fn(&str) -> bool, node: &mut Self| {
            let below = paths.iter().filter_map(|path| path.split_first());
            let below: Vec<&[String]> =
                below.filter(|(token, _)| matches(token)).map(|(_, rest)| rest).collect();
            let kept = !below.is_empty()
                && node.keep_only(&below, changed).unwrap_or_else(|error| {
                    failed = Some(error);
                    true
                });
            *changed |= !kept;
            kept
        };
        let kept = match self {
            Self::Text(_) => false,
            Self::Object(members) => {
                members.retain_mut(|(key, node)| keep(&|token| named(key, token), node));
                !members.is_empty()
            }
            Self::Array(elements) => {
                let mut index = 0..;
                elements.retain_mut(|node| {
                    let index = index.next();
                    keep(&|token| pointer::index(token) == index, node)
                });
                !elements.is_empty()
            }
        };
        failed.map_or(Ok(kept), Err)
    }

    /// Appends the text.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Object(members) => {
                out.push('{');
                for (place, (key, node)) in members.iter().enumerate() {
                    out.push_str(if place == 0 { "\"" } else { ",\"" });
                    out.push_str(key);
                    out.push_str("\":");
                    node.write(out);
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                for (place, node) in elements.iter().enumerate() {
                    out.push_str(if place == 0 { "" } else { "," });
                    node.write(out);
                }
                out.push(']');
            }
        }
    }
}

fn named(key: &str, token: &str) -> bool {
    json::Key::new(key).is(token)
}

fn quoted<'a>(token: &str) -> Cow<'a, str> {
    let mut key = String::new();
    json::push_escaped(&mut key, token);
    key.into()
}
