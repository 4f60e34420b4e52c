//! The bundled alert: a threshold in a sliding window of event time, per group. Only the glue to
//! the host is here: a rule is in `rule`, its arithmetic in `window`, and `logic` holds the two
//! against the events.

mod logic;
mod rule;
mod summary;
mod window;

use logic::Watch;
use rule::Config;
use trommel_plugin::alert::Signals;
use trommel_plugin::{Alert, Description, Event, Fault, Plugin, Wants, clock};

impl Plugin for Watch {
    type Config = Config;

    fn describe() -> Description {
        Description::new("alert", env!("CARGO_PKG_VERSION"))
            .with_schema(include_str!("schema.json"))
    }

    fn configure(config: Config) -> Result<Self, String> {
        Self::new(config)
    }

    fn wants(&self) -> Wants {
        Watch::wants(self)
    }
}

impl Alert for Watch {
    fn evaluate(&mut self, event: &Event<'_>, signals: &mut Signals) -> Result<(), Fault> {
        self.see(event.ty(), event.data(), event.time(), clock::now_us, signals);
        Ok(())
    }

    fn tick(&mut self, now: u64, signals: &mut Signals) {
        self.wait(now, signals);
    }
}

trommel_plugin::alert!(Watch);
