//! What a plugin remembers: keys and values of one (pipeline, plugin) pair, with an undo log, so
//! that a call that fails leaves no trace, and a list of what changed, so that it can be stored with
//! the pipeline's cursor. Pure. Key type: [`State`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    entries: BTreeMap<String, Value>,
    bytes: usize,
    /// The most that `bytes` may be.
    most: Option<usize>,
    /// The time of the current call, in microseconds since 1970.
    now: u64,
    /// What each change of the current call replaced, oldest first.
    undo: Vec<(String, Option<Value>)>,
    /// The keys that changed since they were last asked for; `None` where nobody asks.
    changed: Option<BTreeSet<String>>,
    /// Nothing was set before this.
    oldest: u64,
    /// When it was last looked at all of them for what was.
    looked: u64,
}

#[derive(Debug, Clone)]
struct Value {
    text: String,
    /// When it was set.
    set: u64,
}

/// A key that changed, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its value; `None` when it was taken away.
    pub value: Option<String>,
    /// When it was set, in microseconds since 1970.
    pub set: u64,
}

impl State {
    /// A state that notes what changes.
    pub fn stored() -> State {
        State { changed: Some(BTreeSet::new()), ..State::default() }
    }

    /// Begins a call: the time of all that changes in it.
    pub fn begin(&mut self, now: u64) {
        self.now = now;
    }

    /// Sets the most bytes of all keys and values together; what is there already stays.
    pub fn limit(&mut self, most: usize) {
        self.most = Some(most.min(MAX_TOTAL));
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(|value| value.text.as_str())
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// When key, value or the whole would be too large.
    pub fn set(&mut self, key: &str, value: String) -> Result<(), StateError> {
        within("a key", key.len(), MAX_KEY)?;
        within("a value", value.len(), MAX_VALUE)?;
        let before = self.entries.get(key).map_or(0, |old| key.len() + old.text.len());
        let after = self.bytes - before + key.len() + value.len();
        if after > self.bytes {
            within("a whole", after, self.most.unwrap_or(MAX_TOTAL))?;
        }
        self.bytes = after;
        let value = Value { text: value, set: self.now };
        self.oldest = self.oldest.min(self.now);
        let old = self.entries.insert(key.to_owned(), value);
        self.undo.push((key.to_owned(), old));
        Ok(())
    }

    /// Takes a key away, if it is there.
    pub fn remove(&mut self, key: &str) {
        if let Some(old) = self.entries.remove(key) {
            self.bytes -= key.len() + old.text.len();
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
            .map(|(key, value)| (key.as_str(), value.text.as_str()))
    }

    /// Keeps what changed since the last `keep` or `undo`.
    pub fn keep(&mut self) {
        match &mut self.changed {
            Some(changed) => changed.extend(self.undo.drain(..).map(|(key, _)| key)),
            None => self.undo.clear(),
        }
    }

    /// Takes back what changed since the last `keep` or `undo`.
    pub fn undo(&mut self) {
        while let Some((key, old)) = self.undo.pop() {
            if let Some(new) = self.entries.remove(&key) {
                self.bytes -= key.len() + new.text.len();
            }
            if let Some(old) = old {
                self.bytes += key.len() + old.text.len();
                self.oldest = self.oldest.min(old.set);
                self.entries.insert(key, old);
            }
        }
    }

    /// Takes away what was set longer ago than `life`, or at the latest a tenth of it more, seen from `now`
    /// in microseconds since 1970. Says how many keys. May be called often: it looks at all of them that
    /// seldom, for there may be millions.
    pub fn expire(&mut self, now: u64, life: Duration) -> usize {
        let life = u64::try_from(life.as_micros()).unwrap_or(u64::MAX);
        let limit = now.saturating_sub(life);
        let is_too_soon = now >= self.looked && now - self.looked < life / 10;
        if self.oldest >= limit || is_too_soon {
            return 0;
        }
        self.looked = now;
        let (mut old, mut oldest) = (Vec::new(), u64::MAX);
        for (key, value) in &self.entries {
            if value.set < limit {
                old.push(key.clone());
            } else {
                oldest = oldest.min(value.set);
            }
        }
        self.oldest = oldest;
        for key in &old {
            self.remove(key);
        }
        self.keep();
        old.len()
    }

    /// Takes all away. Says how many keys there were.
    pub fn clear(&mut self) -> usize {
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        keys.iter().for_each(|key| self.remove(key));
        self.keep();
        keys.len()
    }

    /// What changed since this was last asked, by key, as it is now.
    pub fn changes(&mut self) -> Vec<Change> {
        let Some(changed) = &mut self.changed else { return Vec::new() };
        let changed = std::mem::take(changed);
        let entries = &self.entries;
        let change = |key: String| {
            let value = entries.get(&key);
            let set = value.map_or(0, |value| value.set);
            Change { value: value.map(|value| value.text.clone()), set, key }
        };
        changed.into_iter().map(change).collect()
    }

    /// All of it, by key.
    pub fn whole(&self) -> Vec<Change> {
        let entry = |(key, value): (&String, &Value)| Change {
            key: key.clone(),
            value: Some(value.text.clone()),
            set: value.set,
        };
        self.entries.iter().map(entry).collect()
    }

    /// Takes over changes that were stored. They do not count as changes.
    pub fn restore(&mut self, changes: Vec<Change>) {
        for Change { key, value, set } in changes {
            let old = match value {
                Some(text) => {
                    self.bytes += key.len() + text.len();
                    self.oldest = self.oldest.min(set);
                    self.entries.insert(key.clone(), Value { text, set })
                }
                None => self.entries.remove(&key),
            };
            self.bytes -= old.map_or(0, |old| key.len() + old.text.len());
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
    fn what_changed_is_told_once_and_can_be_restored() {
        let mut state = State::stored();
        state.begin(7);
        state.set("a", "1".into()).unwrap();
        state.set("b", "2".into()).unwrap();
        state.keep();
        state.set("a", "failed".into()).unwrap();
        state.undo();
        state.remove("b");
        state.keep();
        let changes = state.changes();
        let change = |key: &str, value: Option<&str>, set| Change {
            key: key.into(),
            value: value.map(str::to_owned),
            set,
        };
        assert_eq!(changes, [change("a", Some("1"), 7), change("b", None, 0)]);
        assert_eq!(state.changes(), []);
        let mut restored = State::stored();
        restored.set("b", "old".into()).unwrap();
        restored.keep();
        restored.restore(changes);
        assert_eq!(restored.whole(), state.whole());
        assert_eq!(restored.bytes(), state.bytes());
    }

    #[test]
    fn what_was_set_long_ago_expires() {
        let mut state = State::stored();
        for (second, key) in [(1, "old"), (5, "new")] {
            state.begin(second * 1_000_000);
            state.set(key, "v".into()).unwrap();
            state.keep();
        }
        state.changes();
        assert_eq!(state.expire(6_000_000, Duration::from_secs(3)), 1);
        assert_eq!((state.get("old"), state.get("new")), (None, Some("v")));
        assert_eq!(state.changes().len(), 1, "what expired is a change");
        assert_eq!(state.expire(0, Duration::MAX), 0, "a clock that was set back ends nothing");
    }

    #[test]
    fn what_is_looked_at_seldom_expires_all_the_same() {
        let (mut state, life) = (State::default(), Duration::from_secs(100));
        let mut most = 0;
        for second in 1..=1_000_u64 {
            let now = second * 1_000_000;
            state.begin(now);
            state.set(&format!("k{second}"), "v".into()).unwrap();
            state.keep();
            state.expire(now, life);
            most = most.max(state.len());
        }
        assert!((101..=111).contains(&most), "{most}");
        // What a call that fails takes away and gives back is no younger.
        state.remove("k990");
        state.undo();
        let mut restored = State::default();
        restored.restore(state.whole());
        for mut state in [state, restored] {
            assert!(state.expire(1_080_000_000, life) > 0 && state.get("k990").is_some());
            assert!(state.expire(1_099_000_000, life) > 0 && state.get("k990").is_none());
            // A clock that is set back does not keep it from being looked at.
            state.begin(3_000_000);
            state.set("early", "v".into()).unwrap();
            state.keep();
            assert_eq!(state.expire(500_000_000, life), 1);
        }
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
