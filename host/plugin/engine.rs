//! The one wasmtime engine, what is linked to guests, and the clock that ends calls. Key type:
//! [`Engine`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::{imports, outward};
use super::guest::Guest;
use super::retire::Retirement;
use super::wasi;

/// How often calls are looked at; a deadline is overrun by this much at the most.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Compiles and links guests.
pub struct Engine {
    inner: wasmtime::Engine,
    /// For roles that are called on worker threads.
    pub(super) inward: Linker<Guest>,
    /// For export plugins: what waits in them waits asynchronously.
    pub(super) outward: Linker<Guest>,
    pub(super) retirement: Retirement,
    _ticker: Ticker,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// Builds the engine and starts its clock.
    ///
    /// # Errors
    /// When wasmtime cannot work on this machine, or no thread can be had.
    pub fn new() -> wasmtime::Result<Arc<Engine>> {
        let mut config = wasmtime::Config::new();
        config.wasm_component_model(true);
        config.epoch_interruption(true);
        config.max_wasm_stack(1 << 20);
        config.async_stack_size(2 << 20);
        let inner = wasmtime::Engine::new(&config)?;
        let mut inward = Linker::new(&inner);
        wasi::link_sync(&mut inward)?;
        link_imports(&mut inward)?;
        let mut outward = Linker::new(&inner);
        wasi::link_async(&mut outward)?;
        link_imports(&mut outward)?;
        outward::trommel::plugin::http::add_to_linker::<_, HasSelf<Guest>>(&mut outward, |g| g)?;
        let ticker = Ticker::start(inner.clone())?;
        let retirement = Retirement::start()?;
        Ok(Arc::new(Engine { inner, inward, outward, retirement, _ticker: ticker }))
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

fn link_imports(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use imports::trommel::plugin::{clock, log, metrics, state};
    log::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    clock::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    state::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    metrics::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

/// An OS thread, not a task: neither a busy runtime nor a paused clock may keep a guest running.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> wasmtime::Result<Ticker> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                std::thread::park_timeout(TICK);
                engine.increment_epoch();
            }
        })?;
        Ok(Ticker { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}
