//! The signals that end a command in order, and the one that has it read its configuration again. Key
//! types: [`Signals`], [`Hangup`].

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Exit;

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on they no longer end the process.
    pub fn new() -> Result<Self, Exit> {
        let listen = |kind| signal(kind).map_err(Exit::environment);
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// SIGHUP.
pub(super) struct Hangup(Signal);

impl Hangup {
    /// From now on it no longer ends the process.
    pub fn new() -> Result<Self, Exit> {
        Ok(Hangup(signal(SignalKind::hangup()).map_err(Exit::environment)?))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
