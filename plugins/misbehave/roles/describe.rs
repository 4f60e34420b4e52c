//! A filter that traps in `describe`: that comes before any configuration, so it needs a guest of
//! its own.

use trommel_plugin::{Description, Event, Fault, Fields, Filter, NoConfig, Plugin, Wants};

struct Bad;

impl Plugin for Bad {
    type Config = NoConfig;

    fn describe() -> Description {
        panic!("told to trap in describe")
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn wants(&self) -> Wants {
        Wants::all(Fields::empty())
    }
}

impl Filter for Bad {
    fn keep(&mut self, _: &Event<'_>) -> Result<bool, Fault> {
        Ok(true)
    }
}

trommel_plugin::filter!(Bad);
