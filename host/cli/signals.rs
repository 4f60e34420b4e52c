//! The signals that end a command in order, and the one that has it read its configuration again. Key
//! types: [`Signals`], [`Hangup`].

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::Exit;

/// Signals that come so soon after the first are the same: a wrapper such as `timeout` signals both
/// its child and the group that this is in.
const SAME: Duration = Duration::from_millis(300);

/// SIGINT and SIGTERM.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// When the first was seen.
    first: Option<Instant>,
}

impl Signals {
    /// From now on they no longer end the process.
    pub fn new() -> Result<Self, Exit> {
        let listen = |kind| signal(kind).map_err(Exit::environment);
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            first: None,
        })
    }

    /// Waits for the first; gives its name.
    pub async fn first(&mut self) -> &'static str {
        let name = self.next().await;
        self.first.get_or_insert_with(Instant::now);
        name
    }

    /// Waits for a second, and for the first where there was none; gives its name.
    pub async fn second(&mut self) -> &'static str {
        let first = match self.first {
            Some(first) => first,
            None => {
                self.first().await;
                Instant::now()
            }
        };
        sleep_until(first + SAME).await;
        // What came until now is the first one.
        while tokio::select! {
            biased;
            _ = self.next() => true,
            () = std::future::ready(()) => false,
        } {}
        self.next().await
    }

    async fn next(&mut self) -> &'static str {
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
