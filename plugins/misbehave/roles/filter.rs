//! A filter that does wrong, as its configuration says. Without a mode it keeps everything.

use misbehave::{Config, search};
use serde::Deserialize;
use trommel_plugin::raw::filter::exports::trommel::plugin::filter::{Guest as RawFilter, Verdicts};
use trommel_plugin::raw::types::{self, Fault};
use trommel_plugin::{Batch, Description, Fields, Plugin, Wants, log, metrics};

/// The ways of this role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// One verdict too few.
    TooShort,
    /// One verdict too many.
    TooLong,
    /// A verdict that is neither 0 nor 1.
    BadVerdict,
    /// Drops the event.
    Drop,
    /// A fault.
    Fault,
    /// A fault at an event that is not there.
    FaultIndex,
    /// Looks for the secret in its memory; keeps the event if it is not there, and logs what it
    /// found.
    SearchSecret,
    /// Adds to a counter and sets a gauge; both names hold what the text formats must escape.
    Figures,
    /// As many counters as `amount` says: more than it may have.
    FigureFlood,
}

struct Bad(Config<Mode>);

impl Plugin for Bad {
    type Config = Config<Mode>;

    fn describe() -> Description {
        Description::new("misbehave-filter", env!("CARGO_PKG_VERSION"))
    }

    fn configure(config: Self::Config) -> Result<Self, String> {
        config.checked().map(Self)
    }

    fn wants(&self) -> Wants {
        Wants::all(Fields::IDS)
    }
}

impl Bad {
    fn judge(&self, batch: &Batch) -> Verdicts {
        let mut verdicts = Verdicts { keep: vec![1; batch.len()], faults: Vec::new() };
        for event in batch.events() {
            self.0.begin(&event);
            let mut fault = |index: usize| {
                verdicts.faults.push(Fault { index: index as u32, reason: "told to".into() });
            };
            match self.0.own(&event) {
                None => {}
                Some(Mode::TooShort) => drop(verdicts.keep.pop()),
                Some(Mode::TooLong) => verdicts.keep.push(1),
                Some(Mode::BadVerdict) => verdicts.keep[event.index()] = 2,
                Some(Mode::Drop) => verdicts.keep[event.index()] = 0,
                Some(Mode::Fault) => fault(event.index()),
                Some(Mode::FaultIndex) => fault(batch.len()),
                Some(Mode::SearchSecret) => {
                    let places = search::places(&self.0.reversed);
                    log::info(&format!("secret found in {places} places"));
                    verdicts.keep[event.index()] = u8::from(places == 0);
                }
                Some(Mode::Figures) => {
                    metrics::count("seen \"so\" far\\\n", 1);
                    metrics::gauge("last \"one\"\\\n", event.index() as f64 + 0.5);
                }
                Some(Mode::FigureFlood) => {
                    let names = 0..self.0.amount.unwrap_or(1_000);
                    names.for_each(|n| metrics::count(&format!("n{n}"), 1));
                }
            }
        }
        verdicts
    }
}

trommel_plugin::__plugin!(Bad, filter, {
    impl RawFilter for Guest {
        fn keep(batch: types::Batch) -> Verdicts {
            INSTANCE.with(|instance| instance.call(|bad| bad.judge(&batch.into())))
        }
    }
});
