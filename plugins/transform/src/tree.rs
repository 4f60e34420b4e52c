//! A JSON document that is opened only where it is touched. Everything else stays the text it was,
//! so numbers, escapes and the order of members survive exactly.

use trommel_plugin::json::Malformed;

pub use crate::node::Node;

/// A document that can be changed; none at all is possible, too.
#[derive(Debug)]
pub struct Tree<'a> {
    root: Option<Node<'a>>,
    changed: bool,
}

/// Why a change could not be made.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The document is not JSON.
    Malformed(Malformed),
    /// On the path there is a value that can hold no other; the number says how many names of the
    /// path led to it.
    InTheWay(usize),
}

impl From<Malformed> for Refused {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl<'a> Tree<'a> {
    /// A document of one text.
    pub fn new(text: &'a str) -> Self {
        Self { root: Some(Node::Text(text)), changed: false }
    }

    /// The new text, empty if nothing is left; `None` if it is the same.
    pub fn finish(self) -> Option<String> {
        self.changed.then(|| {
            let mut out = String::new();
            if let Some(root) = &self.root {
                root.write(&mut out);
            }
            out
        })
    }

    /// Puts a text in the place of a value that is there.
    pub fn replace(&mut self, path: &[String], text: &'a str) -> Result<(), Malformed> {
        let Some((node, changed)) = self.find(path)? else { return Ok(()) };
        if !node.is(text) {
            *node = Node::Text(text);
            *changed = true;
        }
        Ok(())
    }

    /// Takes a value away, and gives it.
    pub fn remove(&mut self, path: &[String]) -> Result<Option<Node<'a>>, Malformed> {
        let removed = match path.split_last() {
            None => self.root.take(),
            Some((last, parents)) => match self.find(parents)? {
                None => None,
                Some((parent, changed)) => {
                    parent.open()?;
                    parent.settle(last, changed);
                    parent.place(last).map(|place| parent.take(place))
                }
            },
        };
        self.changed |= removed.is_some();
        Ok(removed)
    }

    /// Gives a value a place; objects that are missing on the way are made. In an array `-` is the
    /// place behind its end.
    pub fn set(&mut self, path: &[String], value: Node<'a>) -> Result<(), Refused> {
        let mut node = self.root.get_or_insert_with(Node::null);
        for (depth, token) in path.iter().enumerate() {
            if node.is("null") {
                *node = Node::Object(Vec::new());
            }
            node.open()?;
            node.settle(token, &mut self.changed);
            node = node.make(token).ok_or(Refused::InTheWay(depth))?;
        }
        if !node.same(&value) {
            *node = value;
            self.changed = true;
        }
        Ok(())
    }

    /// Drops whatever is not at one of these paths or on the way to one. Where none of them leads
    /// anywhere an empty object or array is left, or null.
    pub fn keep_only(&mut self, paths: &[&[String]]) -> Result<(), Malformed> {
        let Some(root) = &mut self.root else { return Ok(()) };
        if !root.keep_only(paths, &mut self.changed)? {
            *root = match root {
                Node::Object(_) => Node::Object(Vec::new()),
                Node::Array(_) => Node::Array(Vec::new()),
                Node::Text(_) => Node::null(),
            };
            self.changed = true;
        }
        Ok(())
    }

    /// The value at a path, and the mark that something changed.
    fn find(&mut self, path: &[String]) -> Result<Option<(&mut Node<'a>, &mut bool)>, Malformed> {
        let Some(mut node) = self.root.as_mut() else { return Ok(None) };
        for token in path {
            node.open()?;
            node.settle(token, &mut self.changed);
            let Some(place) = node.place(token) else { return Ok(None) };
            node = node.at(place);
        }
        Ok(Some((node, &mut self.changed)))
    }
}
