//! The bundled transform: changes payloads by a list of JSON pointers. Only the glue to the host is
//! here; what the changes are is in `logic`, how they are made in `splice`, or in
//! `tree` and `node` where that is not enough.

mod logic;
mod node;
mod splice;
mod tree;

use logic::{Changes, Config};
use trommel_plugin::transform::{NewEvent, Outcome};
use trommel_plugin::{Description, Event, Fault, Plugin, Transform, Wants};

impl Plugin for Changes {
    type Config = Config;

    fn describe() -> Description {
        Description::new("transform", env!("CARGO_PKG_VERSION"))
            .with_schema(include_str!("schema.json"))
    }

    fn configure(config: Config) -> Result<Self, String> {
        Self::new(config)
    }

    fn wants(&self) -> Wants {
        Changes::wants(self)
    }
}

impl Transform for Changes {
    fn apply(&mut self, event: &Event<'_>) -> Result<Outcome, Fault> {
        let changed = self.change(event.data())?;
        Ok(changed.map_or(Outcome::Unchanged, |data| NewEvent::data(data).into()))
    }
}

trommel_plugin::transform!(Changes);
