//! The role `filter`: one answer per event, from one function per event.

use crate::batch::{Batch, Event};
use crate::plugin::{Fault, Plugin};
use crate::raw::filter::exports::trommel::plugin::filter::Verdicts;

/// A plugin that lets events pass or not. Tie it to the host with [`filter!`](crate::filter!).
pub trait Filter: Plugin {
    /// Decides by the type alone, for all events of this type in a batch at once; `None` leaves it
    /// to [`keep`](Self::keep). A filter that only looks at types need do no work per event.
    fn keep_type(&self, ty: &str) -> Option<bool> {
        let _ = ty;
        None
    }

    /// Whether the event goes on. The answer should depend on the event, the configuration and
    /// `state` only: the same event may come again.
    ///
    /// # Errors
    /// If the event cannot be judged: it becomes a dead letter.
    fn keep(&mut self, event: &Event<'_>) -> Result<bool, Fault>;
}

/// Judges a batch.
pub fn judge<T: Filter>(plugin: &mut T, batch: &Batch) -> Verdicts {
    let types = &batch.columns().types;
    let decided: Vec<Option<bool>> = types.values.iter().map(|ty| plugin.keep_type(ty)).collect();
    let mut verdicts = Verdicts { keep: Vec::with_capacity(batch.len()), faults: Vec::new() };
    for (event, ty) in batch.events().zip(&types.index) {
        let keep = decided[usize::from(*ty)].map_or_else(|| plugin.keep(&event), Ok);
        verdicts.keep.push(u8::from(matches!(keep, Ok(true))));
        if let Err(fault) = keep {
            verdicts.faults.push(fault.at(event.index()));
        }
    }
    verdicts
}

/// Makes a type that is a [`Filter`](trait@crate::Filter) the plugin of this crate.
#[macro_export]
macro_rules! filter {
    ($plugin:ty) => {
        $crate::__plugin!($plugin, filter, {
            impl $crate::raw::filter::exports::trommel::plugin::filter::Guest for Guest {
                fn keep(
                    batch: $crate::raw::types::Batch,
                ) -> $crate::raw::filter::exports::trommel::plugin::filter::Verdicts {
                    INSTANCE.with(|instance| {
                        instance.call(|plugin| $crate::filter::judge(plugin, &batch.into()))
                    })
                }
            }
        });
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Description, Fields, NoConfig, Wants};
    use crate::testing::{batch, event};

    struct Odd;

    impl Plugin for Odd {
        type Config = NoConfig;
        fn describe() -> Description {
            Description::new("odd", "0")
        }
        fn configure(_: NoConfig) -> Result<Self, String> {
            Ok(Self)
        }
        fn wants(&self) -> Wants {
            Wants::all(Fields::DATA)
        }
    }

    impl Filter for Odd {
        fn keep_type(&self, ty: &str) -> Option<bool> {
            (ty != "number").then_some(ty == "always")
        }
        fn keep(&mut self, event: &Event<'_>) -> Result<bool, Fault> {
            let number: u32 = event.data().parse().map_err(|_| Fault::new("no number"))?;
            Ok(number % 2 == 1)
        }
    }

    #[test]
    fn decides_by_type_then_by_event_and_names_faults() {
        let number = |text| event("number").data(text);
        let batch = batch([number("1"), event("always"), event("never"), number("x"), number("2")]);
        let verdicts = judge(&mut Odd, &batch);
        assert_eq!(verdicts.keep, [1, 1, 0, 0, 0]);
        assert_eq!(verdicts.faults.len(), 1);
        assert_eq!(
            (verdicts.faults[0].index, verdicts.faults[0].reason.as_str()),
            (3, "no number")
        );
    }
}
