//! The role `alert`: signals raised and cleared, event by event and as time passes.

use crate::batch::{Batch, Event};
use crate::plugin::{Fault, Plugin};
use crate::raw::alert::exports::trommel::plugin::alert::{Edge, Findings};

pub use crate::raw::alert::exports::trommel::plugin::alert::{Severity, Signal};

/// A plugin that watches events. Tie it to the host with [`alert!`](crate::alert!).
///
/// Count in [`state`](crate::state): calls come on any instance.
pub trait Alert: Plugin {
    /// Looks at one event. What it signals for an event that it then gives a fault for does not
    /// count.
    ///
    /// # Errors
    /// If the event cannot be looked at: it is noted with the dead letters, and goes on.
    fn evaluate(&mut self, event: &Event<'_>, signals: &mut Signals) -> Result<(), Fault>;

    /// Lets time pass, about once a second: for what is told by silence. `now` is in microseconds
    /// since 1970 UTC.
    fn tick(&mut self, now: u64, signals: &mut Signals) {
        let _ = (now, signals);
    }
}

/// Collects what a call has to tell, in order.
#[derive(Debug, Default)]
pub struct Signals(Vec<Signal>);

impl Signals {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// It is so now. Raising an alert that is raised changes its text and tells nobody again.
    pub fn raise(&mut self, signal: Signal) {
        self.0.push(signal);
    }

    /// It is over. Clearing an alert that is not raised does nothing.
    pub fn clear(&mut self, key: &str) {
        self.0.push(Signal { edge: Edge::Clear, ..Signal::new(key, Severity::Info, "") });
    }

    /// What has been collected.
    pub fn into_vec(self) -> Vec<Signal> {
        self.0
    }
}

impl Signal {
    /// An alert to raise: what it is about (the same key is the same alert), how bad it is, one
    /// line for people.
    pub fn new(key: impl Into<String>, severity: Severity, summary: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            edge: Edge::Raise,
            severity,
            labels: Vec::new(),
            summary: summary.into(),
            details: String::new(),
        }
    }

    /// With one more name and value for routing and grouping.
    #[must_use]
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// With a JSON object of whatever helps.
    #[must_use]
    pub fn with_details(mut self, json: impl Into<String>) -> Self {
        self.details = json.into();
        self
    }
}

/// Looks at a batch.
pub fn look<T: Alert>(plugin: &mut T, batch: &Batch) -> Findings {
    let mut signals = Signals::new();
    let mut faults = Vec::new();
    for event in batch.events() {
        let before = signals.0.len();
        if let Err(fault) = plugin.evaluate(&event, &mut signals) {
            signals.0.truncate(before);
            faults.push(fault.at(event.index()));
        }
    }
    Findings { signals: signals.into_vec(), faults }
}

/// Lets time pass.
pub fn wait<T: Alert>(plugin: &mut T, now: u64) -> Vec<Signal> {
    let mut signals = Signals::new();
    plugin.tick(now, &mut signals);
    signals.into_vec()
}

/// Makes a type that is an [`Alert`](trait@crate::Alert) the plugin of this crate.
#[macro_export]
macro_rules! alert {
    ($plugin:ty) => {
        $crate::__plugin!($plugin, alert, {
            impl $crate::raw::alert::exports::trommel::plugin::alert::Guest for Guest {
                fn evaluate(
                    batch: $crate::raw::types::Batch,
                ) -> $crate::raw::alert::exports::trommel::plugin::alert::Findings {
                    INSTANCE.with(|instance| {
                        instance.call(|plugin| $crate::alert::look(plugin, &batch.into()))
                    })
                }
                fn tick(now: u64) -> ::std::vec::Vec<$crate::alert::Signal> {
                    INSTANCE
                        .with(|instance| instance.call(|plugin| $crate::alert::wait(plugin, now)))
                }
            }
        });
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Description, Fields, NoConfig, Wants};
    use crate::testing::only_types;

    struct Pager;

    impl Plugin for Pager {
        type Config = NoConfig;
        fn describe() -> Description {
            Description::new("pager", "0")
        }
        fn configure(_: NoConfig) -> Result<Self, String> {
            Ok(Self)
        }
        fn wants(&self) -> Wants {
            Wants::all(Fields::empty())
        }
    }

    impl Alert for Pager {
        fn evaluate(&mut self, event: &Event<'_>, signals: &mut Signals) -> Result<(), Fault> {
            signals.raise(
                Signal::new(event.ty(), Severity::Critical, "it broke").with_label("k", "v"),
            );
            if event.ty() == "odd" { Err("odd".into()) } else { Ok(()) }
        }
        fn tick(&mut self, now: u64, signals: &mut Signals) {
            signals.clear(&now.to_string());
        }
    }

    #[test]
    fn what_a_faulty_event_signalled_does_not_count() {
        let findings = look(&mut Pager, &only_types(["a", "odd", "b"]));
        let keys: Vec<_> = findings.signals.iter().map(|signal| signal.key.as_str()).collect();
        assert_eq!((keys, findings.faults[0].index), (vec!["a", "b"], 1));
        assert_eq!(findings.signals[0].labels, [("k".to_string(), "v".to_string())]);
    }

    #[test]
    fn time_passes() {
        let signals = wait(&mut Pager, 7);
        assert_eq!((signals[0].key.as_str(), signals[0].edge), ("7", Edge::Clear));
    }
}
