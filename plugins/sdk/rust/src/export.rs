//! The role `exporter`: a batch is delivered, comes again, or is refused in part.

use std::time::Duration;

use crate::batch::{Batch, Event};
use crate::plugin::{Fault, Plugin};
use crate::raw::export::exports::trommel::plugin::exporter;

/// A plugin that sends events elsewhere. Tie it to the host with [`export!`](crate::export!).
pub trait Export: Plugin {
    /// Delivers a batch. `Ok` means that every event has been taken and the host may forget it. The
    /// same events may come again: give the other side source and id to know them by.
    ///
    /// # Errors
    /// [`Undelivered`] says what to do about it.
    fn deliver(&mut self, batch: &Batch) -> Result<(), Undelivered>;
}

/// What did not work, as what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undelivered {
    /// Nothing is settled: the host gives the same batch again after this time (`None`: it chooses,
    /// longer each time). The pipeline waits.
    Retry(Option<Duration>),
    /// These will never be taken and become dead letters; all others of the batch count as
    /// delivered.
    Reject(Vec<(usize, Fault)>),
}

impl Undelivered {
    /// The same batch again, when the host thinks fit.
    pub fn retry() -> Self {
        Self::Retry(None)
    }

    /// Refuses every event of a batch for one reason.
    pub fn reject_all(batch: &Batch, reason: &str) -> Self {
        Self::Reject(batch.events().map(|event| (event.index(), Fault::new(reason))).collect())
    }

    /// Refuses one event.
    pub fn reject(event: &Event<'_>, reason: impl Into<String>) -> Self {
        Self::Reject(vec![(event.index(), Fault::new(reason))])
    }
}

impl From<Undelivered> for exporter::Undelivered {
    fn from(undelivered: Undelivered) -> Self {
        match undelivered {
            Undelivered::Retry(None) => Self::Retry(0),
            // 0 would leave the time to the host: 1 is the least that can be asked for.
            Undelivered::Retry(Some(after)) => {
                Self::Retry(u32::try_from(after.as_millis()).unwrap_or(u32::MAX).max(1))
            }
            Undelivered::Reject(refused) => {
                Self::Reject(refused.into_iter().map(|(index, fault)| fault.at(index)).collect())
            }
        }
    }
}

/// Makes a type that is an [`Export`](trait@crate::Export) the plugin of this crate.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        $crate::__plugin!($plugin, export, {
            impl $crate::raw::export::exports::trommel::plugin::exporter::Guest for Guest {
                fn deliver(
                    batch: $crate::raw::types::Batch,
                ) -> ::std::result::Result<
                    (),
                    $crate::raw::export::exports::trommel::plugin::exporter::Undelivered,
                > {
                    INSTANCE.with(|instance| {
                        instance.call(|plugin| {
                            $crate::Export::deliver(plugin, &batch.into()).map_err(Into::into)
                        })
                    })
                }
            }
        });
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_never_mistaken_for_none() {
        let asked = |after| match exporter::Undelivered::from(Undelivered::Retry(after)) {
            exporter::Undelivered::Retry(milliseconds) => milliseconds,
            exporter::Undelivered::Reject(_) => panic!("that was a retry"),
        };
        assert_eq!(asked(None), 0);
        assert_eq!(asked(Some(Duration::from_micros(3))), 1);
        assert_eq!(asked(Some(Duration::from_secs(3))), 3_000);
        assert_eq!(asked(Some(Duration::from_secs(1 << 40))), u32::MAX);
    }
}
