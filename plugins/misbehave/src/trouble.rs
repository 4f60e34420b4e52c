//! The troubles that every role can make.

use std::hint::black_box;

use serde::Deserialize;
use trommel_plugin::{log, state};

/// A way to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Panics.
    Trap,
    /// Never comes back.
    Loop,
    /// Takes memory until there is no more.
    Grow,
    /// Calls itself until the stack is full.
    Recurse,
    /// Writes lines to the log, 100,000 or `amount`, then one of a megabyte.
    LogFlood,
    /// Gives a key in `state` a value of 8 MiB, or `amount` bytes.
    StateFlood,
    /// Gives keys in `state` values of a kilobyte, 1,000,000 or `amount` of them.
    StateFill,
    /// Panics in `configure`.
    ConfigureTrap,
    /// Refuses its configuration.
    ConfigureError,
}

impl Trouble {
    /// Makes it.
    ///
    /// # Panics
    /// If that is the trouble.
    pub fn make(self, id: &str, amount: Option<usize>) {
        match self {
            Self::Trap => panic!("told to trap at event \"{id}\""),
            Self::Loop => loop {
                black_box(());
            },
            Self::Grow => loop {
                std::mem::forget(black_box(vec![1u8; 1 << 20]));
            },
            Self::Recurse => drop(black_box(recurse(black_box(1)))),
            Self::LogFlood => {
                (0..amount.unwrap_or(100_000)).for_each(|line| log::info(&format!("line {line}")));
                log::info(&"x".repeat(1 << 20));
            }
            Self::StateFlood => state::set("flood", &"x".repeat(amount.unwrap_or(8 << 20))),
            Self::StateFill => {
                let value = "x".repeat(1 << 10);
                (0..amount.unwrap_or(1_000_000))
                    .for_each(|key| state::set(&format!("fill/{key}"), &value));
            }
            // Made in `configure`.
            Self::ConfigureTrap | Self::ConfigureError => {}
        }
    }
}

#[expect(unconditional_recursion, reason = "that is the trouble")]
fn recurse(depth: u64) -> u64 {
    black_box(depth) + recurse(black_box(depth + 1))
}
