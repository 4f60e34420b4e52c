//! An alert plugin that does wrong, as its configuration says. Without a mode it tells nothing.

use misbehave::{Config, Mode as AnyMode};
use serde::Deserialize;
use trommel_plugin::alert::{Severity, Signal, Signals};
use trommel_plugin::{Alert, Description, Event, Fault, Fields, Plugin, Wants, state};

/// The ways of this role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Raises an alert with the event's type as its key, and what `count` in `state` has come to in
    /// the summary.
    Raise,
    /// Clears the alert with the event's type as its key.
    Clear,
    /// Raises, then gives a fault.
    Fault,
    /// Panics in `tick`.
    TickTrap,
    /// Raises the alert `tick` in `tick`, with the time in the summary.
    TickRaise,
}

struct Bad(Config<Mode>);

impl Plugin for Bad {
    type Config = Config<Mode>;

    fn describe() -> Description {
        Description::new("misbehave-alert", env!("CARGO_PKG_VERSION"))
    }

    fn configure(config: Self::Config) -> Result<Self, String> {
        config.checked().map(Self)
    }

    fn wants(&self) -> Wants {
        Wants::all(Fields::IDS)
    }
}

impl Alert for Bad {
    fn evaluate(&mut self, event: &Event<'_>, signals: &mut Signals) -> Result<(), Fault> {
        self.0.begin(event);
        match self.0.own(event) {
            Some(Mode::Raise) => {
                let count = state::get("count").unwrap_or_default();
                signals.raise(Signal::new(
                    event.ty(),
                    Severity::Critical,
                    format!("count {count}"),
                ));
            }
            Some(Mode::Clear) => signals.clear(event.ty()),
            Some(Mode::Fault) => {
                signals.raise(Signal::new(event.ty(), Severity::Critical, "must not be told"));
                return Err("told to".into());
            }
            Some(Mode::TickTrap | Mode::TickRaise) | None => {}
        }
        Ok(())
    }

    fn tick(&mut self, now: u64, signals: &mut Signals) {
        match self.0.mode {
            Some(AnyMode::Own(Mode::TickTrap)) => panic!("told to trap in tick"),
            Some(AnyMode::Own(Mode::TickRaise)) => {
                signals.raise(Signal::new(
                    "tick",
                    Severity::Info,
                    format!("tick at {now}, count {}", state::get("count").unwrap_or_default()),
                ));
            }
            _ => {}
        }
    }
}

trommel_plugin::alert!(Bad);
