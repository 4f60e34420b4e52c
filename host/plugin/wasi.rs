//! WASI 0.2 with nothing behind it, so that guests of any toolchain load: no files, no environment,
//! no sockets; what is printed goes to the log; waiting costs no time. Key functions:
//! [`link_sync`], [`link_async`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::io::poll::Host as _;
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult, subscribe};
use wasmtime_wasi::{HostMonotonicClock, WasiCtx, WasiView as _};

use super::guest::{Guest, TooLong};
use super::quota::{Level, Quota};

const MONOTONIC_CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";
const POLL: &str = "wasi:io/poll@0.2.12";

/// Links WASI for roles that are called on worker threads.
pub(super) fn link_sync(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    link_waits(linker)?;
    // With time standing in for waiting hardly anything is left to wait for; what is must not hold
    // the worker beyond the call's deadline.
    linker.allow_shadowing(true);
    let mut poll = linker.instance(POLL)?;
    poll.func_wrap(
        "poll",
        |mut store: StoreContextMut<'_, Guest>, (list,): (Vec<Resource<DynPollable>>,)| {
            let guest = store.data_mut();
            let (left, time) = (guest.left(), guest.call.time);
            let ready = wasmtime_wasi::runtime::in_tokio(async {
                tokio::time::timeout(left, guest.ctx().table.poll(list)).await
            });
            ready.map_err(|_| TooLong(time))?.map(|ready| (ready,))
        },
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |mut store: StoreContextMut<'_, Guest>, (one,): (Resource<DynPollable>,)| {
            let guest = store.data_mut();
            let (left, time) = (guest.left(), guest.call.time);
            let ready = wasmtime_wasi::runtime::in_tokio(async {
                tokio::time::timeout(left, guest.ctx().table.poll(vec![one])).await
            });
            ready.map_err(|_| TooLong(time))?.map(drop)
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Links WASI for export plugins. Their calls are timed as a whole.
pub(super) fn link_async(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    link_waits(linker)
}

/// A guest that sleeps is told at once that the time has come, and its clock goes on by so much.
fn link_waits(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut clock = linker.instance(MONOTONIC_CLOCK)?;
    clock.func_wrap(
        "subscribe-duration",
        |mut store: StoreContextMut<'_, Guest>, (nanos,): (u64,)| {
            store.data().clock.skip(nanos);
            ready_pollable(&mut store)
        },
    )?;
    clock.func_wrap(
        "subscribe-instant",
        |mut store: StoreContextMut<'_, Guest>, (when,): (u64,)| {
            let clock = &store.data().clock;
            clock.skip(when.saturating_sub(clock.now()));
            ready_pollable(&mut store)
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn ready_pollable(
    store: &mut StoreContextMut<'_, Guest>,
) -> wasmtime::Result<(Resource<DynPollable>,)> {
    let table = store.data_mut().ctx().table;
    let ready = table.push(Ready)?;
    Ok((subscribe(table, ready)?,))
}

struct Ready;

#[async_trait::async_trait]
impl Pollable for Ready {
    async fn ready(&mut self) {}
}

/// The context of one instance.
pub(super) fn context(quota: &Arc<Quota>, clock: &VirtualClock) -> WasiCtx {
    WasiCtx::builder()
        .stdout(Printed { quota: Arc::clone(quota), level: Level::Info })
        .stderr(Printed { quota: Arc::clone(quota), level: Level::Warn })
        .monotonic_clock(clock.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}

/// A monotonic clock that sleeping moves on.
#[derive(Debug, Clone)]
pub(super) struct VirtualClock {
    start: Instant,
    skipped: Arc<AtomicU64>,
}

impl Default for VirtualClock {
    fn default() -> Self {
        VirtualClock { start: Instant::now(), skipped: Arc::default() }
    }
}

impl VirtualClock {
    fn skip(&self, nanos: u64) {
        let skipped = self.skipped.load(Ordering::Relaxed).saturating_add(nanos);
        self.skipped.store(skipped, Ordering::Relaxed);
    }
}

impl HostMonotonicClock for VirtualClock {
    fn resolution(&self) -> u64 {
        1_000
    }

    fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        elapsed.saturating_add(self.skipped.load(Ordering::Relaxed))
    }
}

/// Standard output or error of a guest: lines in the log.
#[derive(Clone)]
struct Printed {
    quota: Arc<Quota>,
    level: Level,
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LineWriter { to: self.clone(), line: Vec::new() })
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LineWriter { to: self.clone(), line: Vec::new() })
    }
}

/// Longest line that is held together.
const MAX_LINE: usize = 8 << 10;

struct LineWriter {
    to: Printed,
    line: Vec<u8>,
}

impl LineWriter {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' || self.line.len() >= MAX_LINE {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.to.quota.write(self.to.level, &String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.end_line();
    }
}

#[async_trait::async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use wasmtime::Store;
    use wasmtime::component::Component;

    use super::*;
    use crate::plugin::Engine;
    use crate::plugin::guest::Memory;
    use crate::plugin::quota::Figures;

    /// A guest that sleeps for so many nanoseconds, as toolchains do it: subscribe, then block.
    const SLEEPER: &str = r#"(component
        (import "wasi:io/poll@0.2.0" (instance $poll
            (export "pollable" (type $p (sub resource)))
            (export "[method]pollable.block" (func (param "self" (borrow $p))))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
            (alias outer 1 $pollable (type $p))
            (export "pollable" (type $q (eq $p)))
            (export "now" (func (result u64)))
            (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))
        (core func $block (canon lower (func $poll "[method]pollable.block")))
        (core func $sleep (canon lower (func $clock "subscribe-duration")))
        (core func $now (canon lower (func $clock "now")))
        (core module $m
            (import "" "block" (func $block (param i32)))
            (import "" "sleep" (func $sleep (param i64) (result i32)))
            (import "" "now" (func $now (result i64)))
            (func (export "run") (param i64) (result i64) (local $begun i64)
                (local.set $begun (call $now))
                (call $block (call $sleep (local.get 0)))
                (i64.sub (call $now) (local.get $begun))))
        (core instance $i (instantiate $m (with "" (instance
            (export "block" (func $block)) (export "sleep" (func $sleep)) (export "now" (func $now))))))
        (func (export "run") (param "nanos" u64) (result u64) (canon lift (core func $i "run"))))"#;

    #[test]
    fn a_guest_that_sleeps_is_told_at_once_that_the_time_has_come() {
        let engine = Engine::new().unwrap();
        let component = Component::new(engine.inner(), wat::parse_str(SLEEPER).unwrap()).unwrap();
        let quota = Arc::new(Quota::new("sleeper"));
        let mut guest = Guest::new(
            Memory::new(1 << 20, Arc::default()),
            quota,
            Arc::new(Figures::default()),
            None,
        );
        guest.begin(0, Duration::from_secs(60));
        let mut store = Store::new(engine.inner(), guest);
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = engine.inward.instantiate(&mut store, &component).unwrap();
        let run = instance.get_typed_func::<(u64,), (u64,)>(&mut store, "run").unwrap();
        let begun = Instant::now();
        let hour = 3_600_000_000_000;
        let (slept,) = run.call(&mut store, (hour,)).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30), "it slept {:?}", begun.elapsed());
        assert!(slept >= hour, "its clock went on by {slept} ns only");
    }
}
