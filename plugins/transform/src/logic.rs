//! The changes and their order, for one payload. Knows nothing of batches or of the host.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use trommel_plugin::pointer::Pointer;
use trommel_plugin::{Fields, Wants};

use crate::splice::{self, Spliced, Target};
use crate::tree::{Node, Refused, Tree};

/// What stands in the place of a redacted value.
const REDACTED: &str = "\"***\"";

/// The configuration as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Only events of these types; all if there are none.
    types: Vec<String>,
    /// What is not here or on the way here is dropped.
    keep_only: Vec<String>,
    /// Values to take away.
    remove: Vec<String>,
    /// Values that get another place.
    rename: BTreeMap<String, String>,
    /// Values to give a place.
    set: BTreeMap<String, Box<RawValue>>,
    /// Values to make unreadable.
    redact: Vec<String>,
}

/// The changes, ready for use.
#[derive(Debug)]
pub struct Changes {
    types: Vec<String>,
    keep_only: Vec<Pointer>,
    remove: Vec<Pointer>,
    rename: Vec<(Pointer, Pointer)>,
    set: Vec<(Target, String)>,
    redact: Vec<Pointer>,
}

impl Changes {
    /// Reads the changes.
    pub fn new(config: Config) -> Result<Self, String> {
        let rename =
            config.rename.iter().map(|(from, to)| Ok((read("rename", from)?, read("rename", to)?)));
        let set = config.set.iter();
        let set =
            set.map(|(at, value)| Ok((Target::new(read("set", at)?), value.get().to_string())));
        Ok(Self {
            types: config.types,
            keep_only: read_all("keep_only", &config.keep_only)?,
            remove: read_all("remove", &config.remove)?,
            rename: rename.collect::<Result<_, String>>()?,
            set: set.collect::<Result<_, String>>()?,
            redact: read_all("redact", &config.redact)?,
        })
    }

    /// The payload, if there is something to change in it.
    pub fn wants(&self) -> Wants {
        let fields = if self.is_empty() { Fields::empty() } else { Fields::DATA };
        Wants::of_types(self.types.iter().cloned(), fields)
    }

    fn is_empty(&self) -> bool {
        let lists = [&self.keep_only, &self.remove, &self.redact];
        lists.iter().all(|list| list.is_empty()) && self.rename.is_empty() && self.set.is_empty()
    }

    /// The payload with all changes made, or `None` if it is the same. An event without a payload
    /// is left alone.
    pub fn change<'a>(&'a self, data: &'a str) -> Result<Option<String>, String> {
        if data.is_empty() || self.is_empty() {
            return Ok(None);
        }
        if let Some(spliced) = self.splice(data) {
            return Ok(spliced);
        }
        self.rebuild(data)
    }

    /// All changes in the text itself: `None` if the document must be opened for one of them.
    fn splice(&self, data: &str) -> Option<Option<String>> {
        if !self.keep_only.is_empty() || !self.rename.is_empty() {
            return None;
        }
        let mut new: Option<String> = None;
        let mut step = |change: &dyn Fn(&str) -> Spliced| {
            match change(new.as_deref().unwrap_or(data)) {
                Spliced::Same => {}
                Spliced::New(text) => new = Some(text),
                Spliced::Beyond => return None,
            }
            Some(())
        };
        self.remove.iter().try_for_each(|at| step(&|text| splice::remove(text, at)))?;
        self.set.iter().try_for_each(|(at, value)| step(&|text| splice::set(text, at, value)))?;
        self.redact.iter().try_for_each(|at| step(&|text| splice::replace(text, at, REDACTED)))?;
        Some(new)
    }

    /// All changes, in the document opened where they are.
    fn rebuild<'a>(&'a self, data: &'a str) -> Result<Option<String>, String> {
        let mut tree = Tree::new(data);
        if !self.keep_only.is_empty() {
            let paths: Vec<&[String]> = self.keep_only.iter().map(Pointer::tokens).collect();
            tree.keep_only(&paths).map_err(|error| error.to_string())?;
        }
        for at in &self.remove {
            tree.remove(at.tokens()).map_err(|error| error.to_string())?;
        }
        for (from, to) in &self.rename {
            let value = tree.remove(from.tokens()).map_err(|error| error.to_string())?;
            if let Some(value) = value {
                put(&mut tree, to, value)?;
            }
        }
        for (at, value) in &self.set {
            put(&mut tree, at.pointer(), Node::Text(value))?;
        }
        for at in &self.redact {
            tree.replace(at.tokens(), REDACTED).map_err(|error| error.to_string())?;
        }
        Ok(tree.finish())
    }
}

fn put<'a>(tree: &mut Tree<'a>, at: &Pointer, value: Node<'a>) -> Result<(), String> {
    tree.set(at.tokens(), value).map_err(|refused| match refused {
        Refused::Malformed(error) => error.to_string(),
        Refused::InTheWay(depth) => {
            let path: String = at.to_string().split_inclusive('/').take(depth + 1).collect();
            let path = path.strip_suffix('/').unwrap_or(&path);
            format!("\"{at}\" cannot be set: the value at \"{path}\" can hold no such member")
        }
    })
}

fn read(part: &str, text: &str) -> Result<Pointer, String> {
    Pointer::parse(text).map_err(|error| format!("{part}: {error}"))
}

fn read_all(part: &str, texts: &[String]) -> Result<Vec<Pointer>, String> {
    texts.iter().map(|text| read(part, text)).collect()
}

#[cfg(test)]
#[path = "logic_tests.rs"]
mod tests;
