//! The bundled filter: drops or keeps events by rules. Only the glue to the host is here; what the
//! rules mean is in `logic`.

mod logic;

use logic::{Config, Rules};
use trommel_plugin::{Description, Event, Fault, Filter, Plugin, Wants};

impl Plugin for Rules {
    type Config = Config;

    fn describe() -> Description {
        Description::new("filter", env!("CARGO_PKG_VERSION"))
            .with_schema(include_str!("schema.json"))
    }

    fn configure(config: Config) -> Result<Self, String> {
        Self::new(config)
    }

    fn wants(&self) -> Wants {
        Rules::wants(self)
    }
}

impl Filter for Rules {
    fn keep_type(&self, ty: &str) -> Option<bool> {
        self.by_type(ty)
    }

    fn keep(&mut self, event: &Event<'_>) -> Result<bool, Fault> {
        Ok(self.by_event(event.ty(), event.data()))
    }
}

trommel_plugin::filter!(Rules);
