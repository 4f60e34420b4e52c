//! What the service manager is told: that the host is ready, alive, stopping, and how it is doing.
//! Where nobody asks for it (`NOTIFY_SOCKET`, `WATCHDOG_USEC`) nothing is sent. The one place that
//! knows systemd's protocol. Key type: [`Manager`].

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How often it is told how the host is doing.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// However little time the manager gives.
const LEAST_BEAT: Duration = Duration::from_millis(1);
/// How often the host is looked at when there is no watchdog.
const NO_WATCHDOG: Duration = Duration::from_secs(1);

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Manager {
    watchdog: Option<Duration>,
    next_status: Instant,
    is_told_of_failure: bool,
}

impl Default for Manager {
    fn default() -> Self {
        let watchdog = sd_notify::watchdog_enabled().filter(|watchdog| !watchdog.is_zero());
        Manager { watchdog, next_status: Instant::now(), is_told_of_failure: false }
    }
}

impl Manager {
    /// How often it must hear that the host is alive: half of the time it waits for that.
    pub fn beat_every(&self) -> Duration {
        self.watchdog.map_or(NO_WATCHDOG, |watchdog| (watchdog / 2).max(LEAST_BEAT))
    }

    /// The configuration is read again; `ready` follows.
    pub fn reloading(&mut self) {
        // Where the clock cannot be read, a manager that insists on it says so.
        let time = NotifyState::monotonic_usec_now().ok();
        let told: Vec<_> = [NotifyState::Reloading].into_iter().chain(time).collect();
        self.tell(&told);
    }

    /// The host has started, or taken over its configuration.
    pub fn ready(&mut self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The host is alive; now and then, how it is doing.
    pub fn beat(&mut self, status: impl FnOnce() -> String) {
        if self.watchdog.is_some() {
            self.tell(&[NotifyState::Watchdog]);
        }
        if self.next_status <= Instant::now() {
            self.next_status = Instant::now() + STATUS_EVERY;
            self.tell(&[NotifyState::Status(&status())]);
        }
    }

    /// The host is about to stop.
    pub fn stopping(&mut self, why: &str) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(why)]);
    }

    fn tell(&mut self, what: &[NotifyState<'_>]) {
        // Without a manager this does nothing. If it cannot be reached, saying so once is enough.
        if let Err(error) = sd_notify::notify(what)
            && !std::mem::replace(&mut self.is_told_of_failure, true)
        {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}
