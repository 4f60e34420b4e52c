//! A transform that does wrong, as its configuration says. Without a mode it changes nothing.

use misbehave::Config;
use serde::Deserialize;
use trommel_plugin::raw::transform::exports::trommel::plugin::transform::{
    Guest as RawTransform, Outcomes,
};
use trommel_plugin::raw::types::{self, Dictionary, Fault};
use trommel_plugin::{Batch, Description, Event, Fields, Plugin, Wants, state};

/// The ways of this role. The first four are good ones, to tell which plugin an event has passed, and
/// how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Adds the member `stamp` with the number `n` to the payload.
    Stamp,
    /// Adds the attributes `count`, the running number of the event, and `countoftype`, that among those
    /// of its type; both are kept in `state`.
    Number,
    /// Puts two copies, or `amount`, in the place of the event.
    Split,
    /// Drops the event.
    DropAll,
    /// A payload that is not JSON.
    BadJson,
    /// One line fewer than it says.
    TooFewLines,
    /// One line more than it says.
    TooManyLines,
    /// A payload with a line break in it.
    NewlineInLine,
    /// A fate below -1.
    BadFate,
    /// One fate too few.
    TooShort,
    /// A type that is not in the dictionary.
    BadTypeIndex,
    /// A fault, and a new event all the same.
    FaultWithNewEvent,
    /// A fault.
    Fault,
}

struct Bad(Config<Mode>);

impl Plugin for Bad {
    type Config = Config<Mode>;

    fn describe() -> Description {
        Description::new("misbehave-transform", env!("CARGO_PKG_VERSION"))
    }

    fn configure(config: Self::Config) -> Result<Self, String> {
        config.checked().map(Self)
    }

    fn wants(&self) -> Wants {
        Wants::all(Fields::IDS | Fields::DATA)
    }
}

impl Bad {
    fn work(&self, batch: &Batch) -> Outcomes {
        let mut outcomes = Outcomes {
            fates: Vec::with_capacity(batch.len()),
            data: String::new(),
            types: None,
            subjects: None,
            attributes: None,
            faults: Vec::new(),
        };
        for event in batch.events() {
            self.0.begin(&event);
            match self.0.own(&event) {
                Some(mode) => self.act(mode, event, &mut outcomes),
                None => outcomes.fates.push(-1),
            }
        }
        outcomes
    }

    fn act(&self, mode: Mode, event: Event<'_>, outcomes: &mut Outcomes) {
        let mut answer = |fate: i32, lines: &str| {
            outcomes.fates.push(fate);
            outcomes.data.push_str(lines);
        };
        match mode {
            Mode::Number => {
                answer(1, &format!("{}\n", event.data()));
                let (count, of_type) = (state::add("number", 1), state::add(event.ty(), 1));
                let attributes = outcomes.attributes.get_or_insert_default();
                let line = format!("{{\"count\":{count},\"countoftype\":{of_type}}}\n");
                attributes.push_str(&line);
            }
            Mode::Stamp => answer(1, &format!("{}\n", stamped(event.data(), self.0.n))),
            Mode::Split => {
                let copies = self.0.amount.unwrap_or(2);
                answer(copies as i32, &format!("{}\n", event.data()).repeat(copies));
            }
            Mode::DropAll => answer(0, ""),
            Mode::BadJson => answer(1, "{\"a\":\n"),
            Mode::TooFewLines => answer(2, "{}\n"),
            Mode::TooManyLines => answer(1, "{}\n{}\n"),
            Mode::NewlineInLine => answer(1, "{\"a\":\n1}\n"),
            Mode::BadFate => answer(-2, ""),
            Mode::TooShort => {}
            Mode::BadTypeIndex => {
                answer(1, "{}\n");
                let types = outcomes
                    .types
                    .get_or_insert(Dictionary { values: vec!["t".into()], index: vec![] });
                types.index.push(1);
            }
            Mode::FaultWithNewEvent => answer(1, "{}\n"),
            Mode::Fault => answer(0, ""),
        }
        if matches!(mode, Mode::Fault | Mode::FaultWithNewEvent) {
            outcomes.faults.push(Fault { index: event.index() as u32, reason: "told to".into() });
        }
    }
}

/// The payload with one more member; one that is no object is put beside the stamp.
fn stamped(data: &str, n: i64) -> String {
    match data.trim().strip_prefix('{').map(str::trim_start) {
        None if data.is_empty() => format!("{{\"stamp\":{n}}}"),
        None => format!("{{\"stamp\":{n},\"data\":{data}}}"),
        Some("}") => format!("{{\"stamp\":{n}}}"),
        Some(rest) => format!("{{\"stamp\":{n},{rest}"),
    }
}

trommel_plugin::__plugin!(Bad, transform, {
    impl RawTransform for Guest {
        fn apply(batch: types::Batch) -> Outcomes {
            INSTANCE.with(|instance| instance.call(|bad| bad.work(&batch.into())))
        }
    }
});
