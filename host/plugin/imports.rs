//! `log`, `clock`, `state` and `metrics` as guests call them. A breach of a quota is a trap; none of
//! it reaches outside the plugin's own name and keys.

use super::bindings::imports::trommel::plugin::{clock, log, metrics, state};
use super::guest::{Guest, TooMuch};
use super::quota::{Level, cut};
use crate::state::StateError;

/// Error lines of one call that go to its dead letter.
const KEPT_ERRORS: usize = 8;
/// Most entries that one `scan` gives.
const MAX_SCAN: u32 = 1_000;

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
        };
        if level == Level::Error && self.call.errors.len() < KEPT_ERRORS {
            self.call.errors.push(cut(&message).to_owned());
        }
        self.quota.write(level, &message);
        Ok(())
    }
}

impl clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.call.now)
    }
}

impl state::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.state.get(&key).map(str::to_owned))
    }

    fn set(&mut self, key: String, value: String) -> wasmtime::Result<()> {
        self.state.set(&key, value).map_err(refused)
    }

    fn remove(&mut self, key: String) -> wasmtime::Result<()> {
        self.state.remove(&key);
        Ok(())
    }

    fn add(&mut self, key: String, delta: i64) -> wasmtime::Result<i64> {
        self.state.add(&key, delta).map_err(refused)
    }

    fn scan(
        &mut self,
        prefix: String,
        after: String,
        limit: u32,
    ) -> wasmtime::Result<Vec<(String, String)>> {
        // The limit is the guest's word; the copy is made in the host.
        let limit = limit.min(MAX_SCAN) as usize;
        let found = self.state.scan(&prefix, &after, limit);
        Ok(found.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

fn refused(error: StateError) -> wasmtime::Error {
    match error {
        StateError::TooLarge { .. } => TooMuch(error.to_string()).into(),
        StateError::NotANumber { .. } => error.into(),
    }
}

impl metrics::Host for Guest {
    fn count(&mut self, name: String, by: u32) -> wasmtime::Result<()> {
        self.figures.count(&name, by).map_err(|what| TooMuch(what).into())
    }

    fn gauge(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.figures.gauge(&name, value).map_err(|what| TooMuch(what).into())
    }
}
