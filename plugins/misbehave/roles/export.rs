//! An export plugin that does wrong, as its configuration says. Without a mode it takes everything.

use misbehave::{Config, search};
use serde::Deserialize;
use trommel_plugin::export::Undelivered;
use trommel_plugin::http::{self, Failure, Request};
use trommel_plugin::{Batch, Description, Export, Fault, Fields, Plugin, Wants, log};

/// The ways of this role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Asks for the batch again, once or `amount` times, then takes it.
    Retry,
    /// Refuses the event.
    Reject,
    /// Refuses an event that is not there.
    RejectIndex,
    /// Posts the ids of the batch, one per line, to `url`, and logs what came of it.
    HttpTo,
    /// As `http-to`, then looks for the secret in its memory and logs what it found.
    SearchSecret,
}

struct Bad {
    config: Config<Mode>,
    tries: usize,
}

impl Plugin for Bad {
    type Config = Config<Mode>;

    fn describe() -> Description {
        Description::new("misbehave-export", env!("CARGO_PKG_VERSION"))
    }

    fn configure(config: Self::Config) -> Result<Self, String> {
        Ok(Self { config: config.checked()?, tries: 0 })
    }

    fn wants(&self) -> Wants {
        Wants::all(Fields::IDS)
    }
}

impl Export for Bad {
    fn deliver(&mut self, batch: &Batch) -> Result<(), Undelivered> {
        let mut refused = Vec::new();
        let mut mode = None;
        for event in batch.events() {
            self.config.begin(&event);
            mode = mode.or(self.config.own(&event));
            match self.config.own(&event) {
                Some(Mode::Reject) => refused.push((event.index(), Fault::new("told to"))),
                Some(Mode::RejectIndex) => refused.push((batch.len(), Fault::new("told to"))),
                _ => {}
            }
        }
        match mode {
            Some(Mode::Retry) if self.tries < self.config.amount.unwrap_or(1) => {
                self.tries += 1;
                return Err(Undelivered::retry());
            }
            Some(Mode::HttpTo) => self.post(batch),
            Some(Mode::SearchSecret) => {
                self.post(batch);
                log::info(&format!(
                    "secret found in {} places",
                    search::places(&self.config.reversed)
                ));
            }
            _ => {}
        }
        if refused.is_empty() { Ok(()) } else { Err(Undelivered::Reject(refused)) }
    }
}

impl Bad {
    fn post(&self, batch: &Batch) {
        let ids: String = batch.events().map(|event| format!("{}\n", event.id())).collect();
        let outcome = match http::send(&Request::new("POST", &self.config.url).with_body(ids)) {
            Ok(response) => format!("status {}: {}", response.status, response.text()),
            Err(Failure::Refused(reason)) => format!("refused: {reason}"),
            Err(Failure::Unreachable(reason)) => format!("unreachable: {reason}"),
            Err(Failure::Timeout) => "timeout".into(),
        };
        log::info(&outcome);
    }
}

trommel_plugin::export!(Bad);
