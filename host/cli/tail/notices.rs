//! What is said on standard error of how streams are doing while their events are shown. Key type:
//! [`Notices`].

use std::io::IsTerminal as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::feed::Seen;
use crate::cli::screen::{Paint, counted, grouped};
use crate::source::{SharedStatus, State, Status};

/// From when on it is worth a line that there was no event yet.
const QUIET: Duration = Duration::from_secs(15);

/// Tells what changes.
pub(super) struct Notices {
    streams: Vec<Stream>,
    paint: Paint,
    begun: Instant,
    /// When the first stream was connected.
    connected: Option<Duration>,
    is_told_of_quiet: bool,
}

struct Stream {
    status: SharedStatus,
    connections: u64,
    /// What was said last of why it is not connected; empty once it is.
    said: String,
}

impl Notices {
    pub fn new(statuses: Vec<SharedStatus>) -> Self {
        let streams = statuses
            .into_iter()
            .map(|status| Stream { status, connections: 0, said: String::new() })
            .collect();
        Notices {
            streams,
            paint: Paint::new(std::io::stderr().is_terminal()),
            begun: Instant::now(),
            connected: None,
            is_told_of_quiet: false,
        }
    }

    /// Says what is new.
    pub fn look(&mut self, seen: &Seen) {
        let elapsed = self.begun.elapsed();
        for stream in &mut self.streams {
            let status = stream.status.get();
            if status.connections > stream.connections {
                let again = if stream.connections > 0 { " again" } else { "" };
                stream.connections = status.connections;
                stream.said.clear();
                self.connected.get_or_insert(elapsed);
                eprintln!("{}", self.paint.dim(&format!("{}: connected{again}", status.stream)));
            }
            if let Some(text) = trouble(&status)
                && stream.said != text
            {
                let colour = if status.state == State::Failing { Paint::red } else { Paint::dim };
                eprintln!("{}", colour(self.paint, &text));
                stream.said = text;
            }
        }
        let is_quiet = seen.events.load(Ordering::Relaxed) == 0
            && self.connected.is_some_and(|since| elapsed >= since + QUIET);
        if is_quiet && !std::mem::replace(&mut self.is_told_of_quiet, true) {
            let text = "no event yet; streams tell of things when they happen";
            eprintln!("{}", self.paint.dim(text));
        }
    }

    /// Whether any stream was connected at any time.
    pub fn was_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// The last line.
    pub fn summary(&self, seen: &Seen) -> String {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = format!(
            "{} of {} events shown in {:.1} s",
            grouped(count(&seen.shown)),
            grouped(count(&seen.events)),
            self.begun.elapsed().as_secs_f64()
        );
        match self.connected {
            Some(after) => {
                let connections: u64 = self.streams.iter().map(|stream| stream.connections).sum();
                let connections = counted(connections as usize, "connection");
                text += &format!("; {connections}, the first after {:.2} s", after.as_secs_f64());
            }
            None => text += "; never connected",
        }
        match count(&seen.broken) {
            0 => text,
            broken => format!("{text}; {} could not be decoded", grouped(broken)),
        }
    }
}

/// Why a stream is not connected, if that is known.
fn trouble(status: &Status) -> Option<String> {
    if status.detail.is_empty()
        || !matches!(status.state, State::Waiting | State::Failing | State::Stopped)
    {
        return None;
    }
    let next = if status.state == State::Stopped { "" } else { "; tries again by itself" };
    let mut text = format!("{}: {}{next}", status.stream, status.detail);
    if !status.hint.is_empty() {
        text += &format!("\nhint: {}", status.hint);
    }
    Some(text)
}
