//! What the plugins of a pipeline remember. It outlives their instances and versions, and for a while
//! themselves. Pure. Key type: [`Memory`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::state::{Change, State};

/// How long what a plugin remembers is kept after it was taken away.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// No plugin has this name. In its place is kept since when others are gone, by name, in microseconds since
/// 1970: that must outlast a restart.
const GONE: &str = "";

/// The plugins that are there, and how long they remember, where that has an end.
pub(super) type There<'a> = BTreeMap<&'a str, Option<Duration>>;

/// Keys and values, by plugin.
#[derive(Default)]
pub(super) struct Memory {
    states: BTreeMap<String, State>,
    /// Whether what changes is noted, to be committed.
    is_stored: bool,
    /// How long those remember that were there since the start, where that has an end.
    lives: BTreeMap<String, Duration>,
}

impl Memory {
    /// What a plugin remembers.
    pub fn of(&mut self, plugin: &str) -> &mut State {
        let is_stored = self.is_stored;
        let state = || if is_stored { State::stored() } else { State::default() };
        self.states.entry(plugin.to_owned()).or_insert_with(state)
    }

    /// What was remembered before a restart; from now on what changes is noted.
    pub fn restore(&mut self, saved: BTreeMap<String, BTreeMap<String, Change>>) {
        self.is_stored = true;
        for (plugin, entries) in saved.into_iter().filter(|(_, entries)| !entries.is_empty()) {
            let mut state = State::stored();
            state.restore(entries.into_values().collect());
            self.states.insert(plugin, state);
        }
    }

    /// All of it, by plugin: of those that are not there at the moment too.
    pub fn states(&mut self) -> impl Iterator<Item = (&String, &mut State)> {
        self.states.iter_mut()
    }

    /// Whether something is remembered for a plugin that is not there, or was not.
    pub fn has_gone(&self, is_there: impl Fn(&str) -> bool) -> bool {
        self.states.iter().any(|(name, state)| !state.is_empty() && !is_there(name))
    }

    /// Takes away what was remembered for longer than it may be, and what plugins remember that are gone
    /// for so long that they do not come back.
    pub fn expire(&mut self, now: u64, there: &There<'_>) {
        for (plugin, life) in there {
            match life {
                Some(life) => drop(self.lives.insert((*plugin).to_owned(), *life)),
                None => drop(self.lives.remove(*plugin)),
            }
        }
        for (plugin, life) in &self.lives {
            let Some(state) = self.states.get_mut(plugin) else { continue };
            let count = state.expire(now, *life);
            if count > 0 {
                tracing::debug!(plugin, count, "keys expired");
            }
        }
        if self.has_gone(|name| there.contains_key(name)) {
            self.forget(now, there);
        }
    }

    fn forget(&mut self, now: u64, there: &There<'_>) {
        let is_gone = |name: &str, state: &State| {
            name != GONE && !state.is_empty() && !there.contains_key(name)
        };
        let states = self.states.iter();
        let gone: Vec<String> = states
            .filter(|(name, state)| is_gone(name, state))
            .map(|(name, _)| name.clone())
            .collect();
        let since: BTreeMap<String, u64> = self
            .of(GONE)
            .scan("", "", usize::MAX)
            .map(|(name, since)| (name.to_owned(), since.parse().unwrap_or(now)))
            .collect();
        for name in since.keys().filter(|name| !gone.contains(name)) {
            self.of(GONE).remove(name);
        }
        for name in gone {
            let Some(since) = since.get(&name) else {
                let noted = self.of(GONE);
                noted.begin(now);
                if let Err(error) = noted.set(&name, now.to_string()) {
                    tracing::error!(plugin = name, %error, "that it is gone cannot be noted");
                }
                continue;
            };
            if u128::from(now.saturating_sub(*since)) >= KEPT.as_micros() {
                let (keys, days) = (self.of(&name).clear(), KEPT.as_secs() / 86_400);
                tracing::warn!(
                    plugin = name,
                    keys,
                    "gone for {days} days: what it remembered is forgotten"
                );
            }
        }
        self.of(GONE).keep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000;

    /// What comes back after a restart.
    fn restarted(memory: &mut Memory) -> Memory {
        let saved = memory.states().map(|(name, state)| {
            let entries = state.whole().into_iter().map(|change| (change.key.clone(), change));
            (name.clone(), entries.collect())
        });
        let mut again = Memory::default();
        again.restore(saved.collect());
        again
    }

    fn remember(memory: &mut Memory, plugin: &str, now: u64) {
        let state = memory.of(plugin);
        state.begin(now);
        state.set("k", "v".to_owned()).unwrap();
        state.keep();
    }

    #[test]
    fn what_a_plugin_remembers_stays_for_a_while_after_it_is_gone() {
        let mut memory = Memory::default();
        memory.restore(BTreeMap::new());
        let there = There::from([("other", None)]);
        for plugin in ["goes", "comes", "other"] {
            remember(&mut memory, plugin, DAY);
        }
        assert!(memory.has_gone(|name| there.contains_key(name)));
        for day in 100..130 {
            memory.expire(day * DAY, &there);
            if day == 115 {
                // One is there again for a moment.
                let there = There::from([("other", None), ("comes", None)]);
                memory.expire(day * DAY + 1, &there);
            }
            memory = restarted(&mut memory);
        }
        assert_eq!(memory.of("goes").len(), 1, "it was noted to be gone less than 30 days ago");
        memory.expire(130 * DAY, &there);
        assert_eq!((memory.of("goes").len(), memory.of("comes").len()), (0, 1));
        assert_eq!(memory.of("goes").changes().len(), 1, "so that it is gone from the store too");
        memory.expire(150 * DAY, &there);
        assert!(memory.of("comes").is_empty() && memory.of("other").len() == 1);
        memory.expire(151 * DAY, &there);
        assert!(!memory.has_gone(|name| there.contains_key(name)), "nothing is left of it");
        assert_eq!(restarted(&mut memory).states.len(), 1);
    }

    #[test]
    fn keys_of_a_plugin_that_is_gone_expire_as_they_did() {
        let mut memory = Memory::default();
        remember(&mut memory, "p", DAY);
        memory.expire(DAY, &There::from([("p", Some(Duration::from_secs(3600)))]));
        assert_eq!(memory.of("p").len(), 1);
        memory.expire(2 * DAY, &There::new());
        assert!(memory.of("p").is_empty());
    }
}
