//! What the host keeps beside each instance: its limits, the call it is in, its state, its quotas.
//! Key type: [`Guest`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::engine::TICK;
use super::http::Http;
use super::quota::{Figures, Quota};
use super::wasi;
use crate::state::State;

/// A call took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("the call took longer than {0:?}")]
pub struct TooLong(pub Duration);

/// An instance wanted more than it may have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TooMuch(pub String);

/// Tables, instances and memories of one component: more than any known toolchain makes (Python's
/// has 14 instances and 5 tables), less than could hurt.
const MAX_INSTANCES: usize = 64;
const MAX_TABLES: usize = 64;
const MAX_MEMORIES: usize = 16;
const MAX_TABLE_ELEMENTS: usize = 1 << 20;

/// The data of an instance's store.
pub struct Guest {
    pub(super) memory: Memory,
    pub(super) call: Call,
    /// That of the pipeline, for as long as a call lasts.
    pub(super) state: State,
    pub(super) quota: Arc<Quota>,
    pub(super) figures: Arc<Figures>,
    pub(super) http: Option<Arc<Http>>,
    pub(super) clock: wasi::VirtualClock,
    wasi: WasiCtx,
    table: ResourceTable,
}

/// What is true for the call that is going on.
#[derive(Debug)]
pub(super) struct Call {
    /// Microseconds since 1970, the same throughout.
    pub now: u64,
    /// When it is over.
    pub deadline: Instant,
    /// How long it may take.
    pub time: Duration,
    /// At how many ticks of the engine's clock it was seen to run.
    pub ticks: u32,
    /// How much of the time so far went by outside of the guest.
    pub waited: Duration,
    /// Error lines it wrote, for its dead letter: the first few.
    pub errors: Vec<String>,
}

impl Guest {
    pub(super) fn new(
        memory: Memory,
        quota: Arc<Quota>,
        figures: Arc<Figures>,
        http: Option<Arc<Http>>,
    ) -> Self {
        let clock = wasi::VirtualClock::default();
        Guest {
            memory,
            call: Call {
                now: 0,
                deadline: Instant::now(),
                time: Duration::ZERO,
                ticks: 0,
                waited: Duration::ZERO,
                errors: Vec::new(),
            },
            state: State::default(),
            wasi: wasi::context(&quota, &clock),
            quota,
            figures,
            http,
            clock,
            table: ResourceTable::new(),
        }
    }

    /// Begins a call that may take `time`.
    pub(super) fn begin(&mut self, now: u64, time: Duration) {
        self.call.now = now;
        self.call.time = time;
        self.call.ticks = 0;
        self.call.waited = Duration::ZERO;
        self.call.deadline = Instant::now() + time;
        self.call.errors.clear();
    }

    /// How much of the call's time is left.
    pub(super) fn left(&self) -> Duration {
        self.call.deadline.saturating_duration_since(Instant::now())
    }

    /// Notes that the call is still running; says whether it has run for too long. Time in which the
    /// machine ran nothing, or everything but this guest, is not the guest's: it must also have been
    /// seen at a quarter of the ticks.
    pub(super) fn is_overdue(&mut self) -> bool {
        self.call.ticks = self.call.ticks.saturating_add(1);
        self.left().is_zero() && TICK * self.call.ticks.saturating_mul(4) >= self.call.time
    }

    /// Gives back time that the guest spent waiting for the host.
    pub(super) fn waited(&mut self, time: Duration) {
        self.call.waited += time;
        self.call.deadline += time;
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// The instances of a version that there are, and their linear memory together, in bytes.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub instances: AtomicU64,
    pub used: AtomicU64,
}

/// The linear memory of an instance, all its parts together.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    pub used: usize,
    live: Arc<Live>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.live.instances.fetch_sub(1, Ordering::Relaxed);
        self.live.used.fetch_sub(self.used as u64, Ordering::Relaxed);
    }
}

impl Memory {
    /// That of an instance that is about to be made.
    pub fn new(limit: usize, live: Arc<Live>) -> Self {
        live.instances.fetch_add(1, Ordering::Relaxed);
        Memory { limit, used: 0, live }
    }

    /// Whether it is so full that a new instance is the better one: linear memory never shrinks.
    pub fn is_worn(&self) -> bool {
        self.used > self.limit / 4 * 3
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limit {
            let limit = self.limit;
            return Err(TooMuch(format!("memory of {used} bytes; {limit} is the limit")).into());
        }
        self.live.used.fetch_add((used - self.used) as u64, Ordering::Relaxed);
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE_ELEMENTS {
            return Err(TooMuch(format!("a table of {desired} elements")).into());
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}
