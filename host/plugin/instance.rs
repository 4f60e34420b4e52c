//! One instance of a plugin and the calls it takes: deadline, limits and state set before each, its
//! failure told apart after. Key type: [`Instance`].

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wasmtime::component::InstancePre;
use wasmtime::{Store, UpdateDeadline};

use super::bindings::exports::exports::trommel::plugin as wit;
use super::convert;
use super::guest::{Guest, TooLong, TooMuch};
use crate::columns::Columns;
use crate::outcome::{Answer, Delivery, Signal};
use crate::runner::{Failure, Reason, Role};
use crate::state::State;

/// The roles' exports, looked up once per version.
#[derive(Clone)]
pub(super) enum Indices {
    Filter(wit::filter::GuestIndices),
    Transform(wit::transform::GuestIndices),
    Alert(wit::alert::GuestIndices),
    Export(wit::exporter::GuestIndices),
}

impl Indices {
    pub(super) fn new(role: Role, pre: &InstancePre<Guest>) -> wasmtime::Result<Self> {
        Ok(match role {
            Role::Filter => Indices::Filter(wit::filter::GuestIndices::new(pre)?),
            Role::Transform => Indices::Transform(wit::transform::GuestIndices::new(pre)?),
            Role::Alert => Indices::Alert(wit::alert::GuestIndices::new(pre)?),
            Role::Export => Indices::Export(wit::exporter::GuestIndices::new(pre)?),
        })
    }
}

enum Calls {
    Filter(wit::filter::Guest),
    Transform(wit::transform::Guest),
    Alert(wit::alert::Guest),
    Export(wit::exporter::Guest),
}

/// What all instances of a version have in common.
pub(super) struct Blueprint {
    pub pre: InstancePre<Guest>,
    pub lifecycle: wit::lifecycle::GuestIndices,
    pub indices: Indices,
    /// Of one call.
    pub time: Duration,
    /// Of one answer, in bytes.
    pub output: usize,
    pub runtime: Handle,
    /// Ends what an export plugin waits for.
    pub stop: CancellationToken,
}

/// An instance.
pub(super) struct Instance {
    store: Store<Guest>,
    calls: Calls,
    lifecycle: wit::lifecycle::Guest,
    blueprint: Arc<Blueprint>,
}

impl Instance {
    /// Makes an instance; nothing of it has been called yet.
    pub(super) fn new(blueprint: &Arc<Blueprint>, guest: Guest) -> Result<Instance, Failure> {
        let pre = &blueprint.pre;
        let mut store = Store::new(pre.engine(), guest);
        store.limiter(|guest| &mut guest.memory);
        store.set_hostcall_fuel(blueprint.output);
        let stop = blueprint.stop.clone();
        store.epoch_deadline_callback(move |mut store| {
            if stop.is_cancelled() {
                return Err(Cancelled.into());
            }
            let guest = store.data_mut();
            if guest.is_overdue() {
                return Err(TooLong(guest.call.time).into());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        store.set_epoch_deadline(1);
        // Initialisers of the guest's toolchain run here.
        store.data_mut().begin(0, START_TIME);
        let made = blueprint.runtime.block_on(async {
            let instance = pre.instantiate_async(&mut store).await?;
            let lifecycle = blueprint.lifecycle.load(&mut store, &instance)?;
            let calls = match &blueprint.indices {
                Indices::Filter(indices) => Calls::Filter(indices.load(&mut store, &instance)?),
                Indices::Transform(indices) => {
                    Calls::Transform(indices.load(&mut store, &instance)?)
                }
                Indices::Alert(indices) => Calls::Alert(indices.load(&mut store, &instance)?),
                Indices::Export(indices) => Calls::Export(indices.load(&mut store, &instance)?),
            };
            Ok((lifecycle, calls))
        });
        match made {
            Ok((lifecycle, calls)) => {
                Ok(Instance { store, calls, lifecycle, blueprint: Arc::clone(blueprint) })
            }
            Err(error) => Err(failure_of(&error, &[])),
        }
    }

    /// `lifecycle.describe`
    pub(super) fn describe(&mut self) -> Result<wit::lifecycle::Description, Failure> {
        self.store.data_mut().begin(crate::timestamp::now_micros(), START_TIME);
        let described =
            self.blueprint.runtime.block_on(self.lifecycle.call_describe(&mut self.store));
        described.map_err(|error| failure_of(&error, &self.store.data().call.errors))
    }

    /// `lifecycle.configure`
    pub(super) fn configure(
        &mut self,
        config: &str,
    ) -> Result<Result<wit::lifecycle::Wants, String>, Failure> {
        self.store.data_mut().begin(crate::timestamp::now_micros(), START_TIME);
        let configured =
            self.blueprint.runtime.block_on(self.lifecycle.call_configure(&mut self.store, config));
        configured.map_err(|error| failure_of(&error, &self.store.data().call.errors))
    }

    /// Calls the role. The state is this call's; it is back, changed or undone, when it returns.
    pub(super) fn call(
        &mut self,
        columns: &Columns<'_>,
        now: u64,
        state: &mut State,
    ) -> Result<Answer, Failure> {
        let answer = self.with_state(now, state, |instance| {
            let batch = convert::batch(columns);
            let store = &mut instance.store;
            let answer = match &instance.calls {
                Calls::Filter(filter) => {
                    Answer::Verdicts(convert::verdicts(filter.call_keep(store, batch)?))
                }
                Calls::Transform(transform) => {
                    Answer::Outcomes(convert::outcomes(transform.call_apply(store, batch)?))
                }
                Calls::Alert(alert) => {
                    Answer::Findings(convert::findings(alert.call_evaluate(store, batch)?))
                }
                Calls::Export(export) => {
                    let blueprint = &instance.blueprint;
                    let delivered = blueprint.runtime.block_on(
                        blueprint.stop.run_until_cancelled(export.call_deliver(store, batch)),
                    );
                    Answer::Delivery(convert::delivery(delivered.ok_or(Cancelled)??))
                }
            };
            answer.check(columns.len()).map_err(Misfit)?;
            Ok(answer)
        })?;
        match answer {
            // Nothing is settled: the same events come again.
            Answer::Delivery(Delivery::Retry(_)) => state.undo(),
            _ => state.keep(),
        }
        Ok(answer)
    }

    /// `alert.tick`
    pub(super) fn tick(&mut self, now: u64, state: &mut State) -> Result<Vec<Signal>, Failure> {
        self.with_state(now, state, |instance| {
            let Calls::Alert(alert) = &instance.calls else { return Ok(Vec::new()) };
            let signals = alert.call_tick(&mut instance.store, now)?;
            let signals: Vec<Signal> = signals.into_iter().map(convert::signal).collect();
            signals.iter().try_for_each(Signal::check).map_err(Misfit)?;
            Ok(signals)
        })
        .inspect(|_| state.keep())
    }

    /// Whether a new instance should take over.
    pub(super) fn is_worn(&self) -> bool {
        self.store.data().memory.is_worn()
    }

    /// How much linear memory it has, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.store.data().memory.used
    }

    fn with_state<T>(
        &mut self,
        now: u64,
        state: &mut State,
        call: impl FnOnce(&mut Self) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.store.data_mut().begin(now, self.blueprint.time);
        std::mem::swap(&mut self.store.data_mut().state, state);
        let called = call(self);
        std::mem::swap(&mut self.store.data_mut().state, state);
        called.map_err(|error| {
            state.undo();
            failure_of(&error, &self.store.data().call.errors)
        })
    }
}

/// What instantiation, `describe` and `configure` may take: some toolchains do a lot there.
const START_TIME: Duration = Duration::from_secs(5);

/// The host is stopping.
#[derive(Debug, thiserror::Error)]
#[error("the host is stopping")]
struct Cancelled;

/// An answer that does not fit the question.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misfit(String);

/// Tells failures apart. `lines` are the error lines the guest wrote in the call.
fn failure_of(error: &wasmtime::Error, lines: &[String]) -> Failure {
    let (reason, detail) = if error.is::<Cancelled>() {
        return Failure::Stopped;
    } else if let Some(misfit) = error.downcast_ref::<Misfit>() {
        (Reason::Answer, misfit.to_string())
    } else if let Some(too_long) = error.downcast_ref::<TooLong>() {
        (Reason::Timeout, too_long.to_string())
    } else if let Some(too_much) = error.downcast_ref::<TooMuch>() {
        (Reason::Limit, too_much.to_string())
    } else {
        // Cause first: a person reads the first line. Of where it happened only the guest's part.
        let cause = error.root_cause().to_string();
        let reason = if cause.contains(OUTPUT_EXHAUSTED) { Reason::Limit } else { Reason::Trap };
        let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>();
        (reason, backtrace.map_or_else(|| cause.clone(), |frames| format!("{cause}\n{frames}")))
    };
    let mut detail = detail;
    for line in lines {
        detail = format!("{line}\n{detail}");
    }
    Failure::Failed(reason, cut(detail))
}

/// What wasmtime says of an answer, or the arguments of a host call, beyond the output limit; it has
/// no type for it.
const OUTPUT_EXHAUSTED: &str = "fuel allocated for hostcalls";

/// Longest detail of a dead letter.
const MAX_DETAIL: usize = 8 << 10;

fn cut(mut detail: String) -> String {
    let mut end = detail.len().min(MAX_DETAIL);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    detail.truncate(end);
    detail
}
