//! The rules of the journal's settings. Key function: `Check::journal`.

use std::time::Duration;

use super::{Check, raw};
use crate::config::units;
use crate::config::{JournalConfig, WhenFull};

/// The least that the journal may hold: some segments, and what is read ahead of them.
const LEAST_SIZE: u64 = 64 << 20;
/// Bounds of what is made durable at once, and of how long that and a commit may wait.
const GROUP_SIZE: (u64, u64) = (4 << 10, 64 << 20);
const MOST_GROUP_WAIT: Duration = Duration::from_secs(1);
const MOST_COMMIT_WAIT: Duration = Duration::from_secs(10);

impl Check<'_> {
    /// The journal's settings; `None` where it is switched off.
    pub(super) fn journal(&mut self, raw: Option<&raw::Journal>) -> Option<JournalConfig> {
        match raw {
            None | Some(raw::Journal::Switch(true)) => Some(JournalConfig::default()),
            Some(raw::Journal::Switch(false)) => None,
            Some(raw::Journal::Table(_)) => {
                let table = self.extract::<raw::JournalTable>("journal");
                Some(table.map(|table| self.journal_table(&table)).unwrap_or_default())
            }
        }
    }

    fn journal_table(&mut self, raw: &raw::JournalTable) -> JournalConfig {
        let default = JournalConfig::default();
        let mut config = JournalConfig {
            group_wait: self.wait(
                "group_wait",
                &raw.group_wait,
                default.group_wait,
                MOST_GROUP_WAIT,
            ),
            group_size: default.group_size,
            max_size: self.bytes("max_size", &raw.max_size, default.max_size),
            keep_size: self.bytes("keep_size", &raw.keep_size, default.keep_size),
            keep_age: self.wait("keep_age", &raw.keep_age, default.keep_age, Duration::MAX),
            when_full: self.when_full(raw.when_full.as_deref()),
            commit_every: self.wait(
                "commit_every",
                &raw.commit_every,
                default.commit_every,
                MOST_COMMIT_WAIT,
            ),
        };
        let group_size = self.bytes("group_size", &raw.group_size, default.group_size as u64);
        if group_size < GROUP_SIZE.0 || group_size > GROUP_SIZE.1 {
            self.problem("journal.group_size", "is not within 4KiB and 64MiB", "");
        }
        config.group_size = group_size as usize;
        if config.max_size < LEAST_SIZE {
            self.problem("journal.max_size", "64MiB is the least", "");
        }
        if config.keep_size > config.max_size {
            if raw.keep_size.is_some() {
                let hint = "what is kept for replay counts towards max_size";
                self.problem("journal.keep_size", "is more than max_size", hint);
            }
            config.keep_size = config.max_size;
        }
        config
    }

    fn when_full(&mut self, text: Option<&str>) -> WhenFull {
        match text {
            None | Some("wait") => WhenFull::Wait,
            Some("drop-oldest") => WhenFull::DropOldest,
            Some(other) => {
                let what = format!("{other:?} is not known");
                self.problem("journal.when_full", what, "known: wait, drop-oldest");
                WhenFull::Wait
            }
        }
    }

    fn wait(
        &mut self,
        key: &str,
        text: &Option<String>,
        default: Duration,
        most: Duration,
    ) -> Duration {
        let Some(text) = text else { return default };
        let key = format!("journal.{key}");
        match self.unit(&key, units::duration(text)) {
            Some(wait) if wait > most => {
                self.problem(&key, format!("{most:?} is the most"), "");
                default
            }
            wait => wait.unwrap_or(default),
        }
    }

    fn bytes(&mut self, key: &str, text: &Option<String>, default: u64) -> u64 {
        let Some(text) = text else { return default };
        self.unit(&format!("journal.{key}"), units::size(text)).unwrap_or(default)
    }
}
