//! What a plugin remembers: keys and values of one (pipeline, plugin) pair, with an undo log, so
//! that a call that fails leaves no trace. Pure. Key type: [`State`].

use std::collections::BTreeMap;
use std::ops::Bound;

/// Longest key, in bytes.
pub const MAX_KEY: usize = 1 << 10;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;
/// Most bytes of all keys and values together.
pub const MAX_TOTAL: usize = 64 << 20;

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Over a limit.
    #[error("state: {what} of {size} bytes; {limit} is the most")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// `add` on a text, or beyond 64 bits.
    #[error("state: key {key:?} holds {found:?}, to which {delta} cannot be added")]
    NotANumber {
        /// The key.
        key: String,
        /// Its value, cut.
        found: String,
        /// What was to be added.
        delta: i64,
    },
}

/// Keys and values.
#[derive(Debug, Default)]
pub struct State {
    entries: BTreeMap<String, String>,
    bytes: usize,
    /// What each change of the current call replaced, oldest first.
    undo: Vec<(String, Option<String>)>,
}

impl State {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(String::as_str)
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// When key, value or the whole would be too large.
    pub fn set(&mut self, key: &str, value: String) -> Result<(), StateError> {
        within("a key", key.len(), MAX_KEY)?;
        within("a value", value.len(), MAX_VALUE)?;
        let before = self.entries.get(key).map_or(0, |old| key.len() + old.len());
        let after = self.bytes - before + key.len() + value.len();
        within("a whole", after, MAX_TOTAL)?;
        self.bytes = after;
        let old = self.entries.insert(key.to_owned(), value);
        self.undo.push((key.to_owned(), old));
        Ok(())
    }

    /// Takes a key away, if it is there.
    pub fn remove(&mut self, key: &str) {
        if let Some(old) = self.entries.remove(key) {
            self.bytes -= key.len() + old.len();
            self.undo.push((key.to_owned(), Some(old)));
        }
    }

    /// Adds to a number; a key that is not there counts as 0.
    ///
    /// # Errors
    /// When the value is no number, the sum does not fit, or the state is full.
    pub fn add(&mut self, key: &str, delta: i64) -> Result<i64, StateError> {
        let found = self.get(key).unwrap_or("0");
        let sum = found.parse::<i64>().ok().and_then(|n| n.checked_add(delta));
        let Some(sum) = sum else {
            let found = found.chars().take(40).collect();
            return Err(StateError::NotANumber { key: key.to_owned(), found, delta });
        };
        self.set(key, sum.to_string())?;
        Ok(sum)
    }

    /// The entries whose keys begin with `prefix` and come after the key `after`, in byte order, at
    /// most `limit`.
    pub fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        self.entries
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Keeps what changed since the last `keep` or `undo`.
    pub fn keep(&mut self) {
        self.undo.clear();
    }

    /// Takes back what changed since the last `keep` or `undo`.
    pub fn undo(&mut self) {
        while let Some((key, old)) = self.undo.pop() {
            if let Some(new) = self.entries.remove(&key) {
                self.bytes -= key.len() + new.len();
            }
            if let Some(old) = old {
                self.bytes += key.len() + old.len();
                self.entries.insert(key, old);
            }
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), StateError> {
    if size > limit { Err(StateError::TooLarge { what, size, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_leaves_no_trace() {
        let mut state = State::default();
        state.set("a", "1".into()).unwrap();
        state.keep();
        state.add("a", 4).unwrap();
        state.set("b", "x".into()).unwrap();
        state.remove("a");
        state.set("b", "y".into()).unwrap();
        state.undo();
        assert_eq!((state.get("a"), state.get("b"), state.len()), (Some("1"), None, 1));
        assert_eq!(state.bytes(), 2);
    }

    #[test]
    fn numbers_are_added_and_texts_are_not() {
        let mut state = State::default();
        assert_eq!(state.add("n", -3), Ok(-3));
        assert_eq!(state.add("n", 5), Ok(2));
        state.set("t", "many".into()).unwrap();
        assert!(state.add("t", 1).is_err());
        state.set("n", i64::MAX.to_string()).unwrap();
        assert!(state.add("n", 1).is_err());
    }

    #[test]
    fn scans_go_on_after_a_key() {
        let mut state = State::default();
        for key in ["a", "b/1", "b/2", "b/3", "c"] {
            state.set(key, String::new()).unwrap();
        }
        let keys = |after, limit| state.scan("b/", after, limit).map(|e| e.0).collect::<Vec<_>>();
        assert_eq!(keys("", 2), ["b/1", "b/2"]);
        assert_eq!(keys("b/2", 9), ["b/3"]);
        assert_eq!(keys("b/3", 9), Vec::<&str>::new());
    }

    #[test]
    fn limits_hold() {
        let mut state = State::default();
        assert!(state.set(&"k".repeat(MAX_KEY + 1), String::new()).is_err());
        assert!(state.set("k", "v".repeat(MAX_VALUE + 1)).is_err());
        let big = "v".repeat(MAX_VALUE);
        let fits = (0..100).take_while(|n| state.set(&n.to_string(), big.clone()).is_ok()).count();
        assert_eq!(fits, MAX_TOTAL / MAX_VALUE - 1, "keys count too");
    }
}
