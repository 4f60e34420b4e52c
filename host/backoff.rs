//! How long to wait before the next try: longer each time, never the same for two hosts. Pure but
//! for the dice. Key types: [`Backoff`], [`Class`].

use std::io;
use std::time::{Duration, SystemTime};

use rand::RngExt as _;

/// The longest that a server's `Retry-After` is heeded.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What a failure wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// To be tried again; it may pass by itself.
    Transient {
        /// How long the other side wants to be left alone.
        after: Option<Duration>,
    },
    /// Somebody to see to it. It is tried again all the same, slowly.
    NeedsAttention,
}

impl Class {
    /// What an HTTP status wants, beside the `Retry-After` that came with it.
    pub fn of_status(status: u16, after: Option<Duration>) -> Class {
        match status {
            408 | 425 | 429 | 500.. => Class::Transient { after },
            _ => Class::NeedsAttention,
        }
    }
}

/// Reads a `Retry-After`: seconds, or a date (RFC 9110 §10.2.3). An hour at the most.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A date that has passed means now.
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MOST_RETRY_AFTER))
}

/// What to do about files that cannot be written, whatever the reason.
pub const DISK_HINT: &str = "is the disk full? make room; it goes on by itself";

/// What to do about a file that cannot be written, where that is known: a line to be put behind it.
pub fn disk_hint(error: &io::Error) -> &'static str {
    const IO: i32 = rustix::io::Errno::IO.raw_os_error();
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::StorageFull, _) => "\nhint: make room on its disk; it goes on by itself",
        (io::ErrorKind::QuotaExceeded, _) => {
            "\nhint: raise the quota of the host's user, or make room; it goes on by itself"
        }
        (_, Some(IO)) => "\nhint: its disk fails: see the system's log; it is tried again",
        _ => "",
    }
}

/// Exponential backoff with jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits that begin at about `least` and grow to about `most`.
    pub fn new(least: Duration, most: Duration) -> Self {
        Backoff { least, most: most.max(least), next: least }
    }

    /// The wait before the next try: half to all of twice the one before, within the bounds.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.most);
        wait.mul_f64(rand::rng().random_range(0.5..=1.0)).max(self.least / 2)
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.next = self.least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let read = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(read(" 120 "), Some(120));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(read("18446744073709551615"), Some(3600));
        for bad in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut backoff = Backoff::new(least, most);
        let mut bound = least;
        for _ in 0..20 {
            let wait = backoff.next_wait();
            assert!(wait <= bound && wait >= bound / 2, "{wait:?} of {bound:?}");
            bound = (bound * 2).min(most);
        }
        backoff.reset();
        assert!(backoff.next_wait() <= least);
    }
}
