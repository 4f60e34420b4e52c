//! The bundled export: posts events over HTTP, shaped by a template. Only the glue to the host is
//! here; `settings` reads the configuration, `template` makes the text, `logic` delivers it.

mod logic;
mod settings;
mod template;
mod time;

use logic::Courier;
use settings::{Config, Settings};
use trommel_plugin::export::Undelivered;
use trommel_plugin::{Batch, Description, Export, Plugin, Wants};

impl Plugin for Courier {
    type Config = Config;

    fn describe() -> Description {
        Description::new("export", env!("CARGO_PKG_VERSION"))
            .with_schema(include_str!("schema.json"))
    }

    fn configure(config: Config) -> Result<Self, String> {
        Settings::new(config).map(Self::new)
    }

    fn wants(&self) -> Wants {
        self.settings().wants()
    }
}

impl Export for Courier {
    fn deliver(&mut self, batch: &Batch) -> Result<(), Undelivered> {
        Courier::deliver(self, batch)
    }
}

trommel_plugin::export!(Courier);
