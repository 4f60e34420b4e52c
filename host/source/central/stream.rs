//! One stream, for ever: connect, read, hand the connection over to another before its token ends,
//! connect again. Key type: [`Stream`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::handshake::Target;
use super::memory::Memory;
use super::outlet::Outlet;
use super::reader::{End, Reading};
use super::retry::Retry;
use super::token::{Token, Tokens};
use crate::backoff::Class;
use crate::frame::Origin;
use crate::gap::Reason;
use crate::source::{SharedStatus, State};

/// A connection that brought so many frames, or lasted so long, was a good one: waits begin anew.
const GOOD_FRAMES: u64 = 100;
const GOOD_TIME: Duration = Duration::from_secs(60);
/// When neither of two connections brings anything for so long, nothing is on its way.
const QUIET: Duration = Duration::from_secs(5);
/// Of a token's life, how much may go by before a connection is ended that cannot be replaced first.
const LAST_MOMENT: f64 = 0.95;

/// A stream to hold open.
pub(super) struct Stream {
    pub target: Target,
    pub tokens: Arc<Tokens>,
    pub origin: Arc<Origin>,
    pub outlet: Arc<Outlet>,
    pub memory: Arc<Memory>,
    pub status: SharedStatus,
    pub max_frame: usize,
    pub max_retries: Option<u32>,
    pub stop: CancellationToken,
}

/// An open connection, and when it is to be replaced.
struct Held {
    reading: Reading,
    token: Token,
}

/// Why nothing is held any more.
enum Over {
    /// The connection ended.
    Ended(End),
    /// It was ended by us, so that another can take its place.
    Cleared,
}

/// What came of a try to replace a connection.
enum Renewal {
    Done(Held),
    /// Not now; it goes on as it is.
    Later(Failure),
    /// The server takes no second connection.
    Refused(Failure),
    /// The connection ended by itself meanwhile.
    Ended(End),
}

impl Stream {
    /// Holds the stream open until told to stop, or until `max_retries` have failed in a row.
    pub async fn run(self) {
        let mut retry = Retry::new(self.max_retries);
        let mut why_stopped = String::new();
        while !self.stop.is_cancelled() {
            let Some(opened) = self.stop.run_until_cancelled(self.open()).await else { break };
            let failure = match opened {
                Ok(held) => match self.hold(held, &mut retry).await {
                    Over::Cleared => continue,
                    Over::Ended(end) => {
                        if !self.stop.is_cancelled() {
                            self.memory.gaps.begin(Reason::Disconnected, &end.why);
                        }
                        Failure::passing(format!("disconnected after {}", words_of(&end)))
                    }
                },
                Err(failure) => {
                    self.memory.gaps.note_failure(&failure.detail);
                    self.status.change(|status| status.failures += 1);
                    failure
                }
            };
            if self.stop.is_cancelled() {
                break;
            }
            match retry.after(&failure) {
                Some(wait) => self.wait(&failure, wait).await,
                None => {
                    why_stopped =
                        format!("given up after {} tries: {}", retry.tries(), failure.detail);
                    let (source, stream) = (&*self.origin.source, &*self.origin.stream);
                    tracing::error!(source, stream, "{why_stopped}");
                    break;
                }
            }
        }
        if self.outlet.is_stopping() {
            self.memory.gaps.begin(Reason::Restart, "the host was stopped");
        } else if self.stop.is_cancelled() {
            self.memory.gaps.begin(Reason::Reconfigured, "the configuration changed");
        }
        self.status.enter(State::Stopped, &why_stopped, "");
    }

    async fn wait(&self, failure: &Failure, wait: Duration) {
        let (source, stream) = (&*self.origin.source, &*self.origin.stream);
        let wait_ms = wait.as_millis() as u64;
        let state = Retry::state(failure);
        tracing::warn!(source, stream, wait_ms, "{failure}");
        self.status.enter(state, &failure.detail, &failure.hint);
        self.stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }

    /// Connects with the token there is.
    async fn open(&self) -> Result<Held, Failure> {
        // One that is failing is told to be so until it is known better.
        if self.status.get().state != State::Failing {
            self.status.enter(State::Connecting, "", "");
        }
        let token = self.tokens.get().await.map_err(Failure::from)?;
        self.open_with(token).await
    }

    async fn open_with(&self, token: Token) -> Result<Held, Failure> {
        match self.target.connect(&token.secret).await {
            Ok(opened) => {
                self.tokens.accept(&token);
                let lane = self.outlet.lane();
                let reading = Reading::start(&self.origin.stream, opened, lane, self.max_frame);
                let reading = reading.map_err(|e| Failure::passing(format!("no thread: {e}")))?;
                self.status.change(|status| status.connections += 1);
                Ok(Held { reading, token })
            }
            Err(mut failure) => {
                if failure.status == Some(401) {
                    let refusal = self.tokens.refuse(&token);
                    (failure.class, failure.hint) = (refusal.class, refusal.hint);
                }
                failure.detail.insert_str(0, "not connected: ");
                Err(failure)
            }
        }
    }

    /// Keeps a connection until it ends, replacing it in time by another.
    async fn hold(&self, mut held: Held, retry: &mut Retry) -> Over {
        let (source, stream) = (&*self.origin.source, &*self.origin.stream);
        tracing::info!(source, stream, "connected");
        self.memory.gaps.up();
        self.status.enter(State::Streaming, "", "");
        let mut renewals = Retry::new(None);
        let mut renew_at = held.token.renew_at;
        let end = loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    held.reading.close();
                    break held.reading.ended().await;
                }
                end = held.reading.ended() => break end,
                () = sleep_until(renew_at.unwrap_or_else(Instant::now)), if renew_at.is_some() => {}
            }
            if held.reading.frames() >= GOOD_FRAMES {
                retry.reset();
            }
            let renewal = match self.newer(&held.token).await {
                Err(failure) => Renewal::Later(failure),
                // Two connections of one id would share what comes: the old one is read to its end
                // first, and the server keeps what comes meanwhile.
                Ok(_) if self.target.is_shared() => return self.clear(held, "handing over").await,
                Ok(token) => self.renew(&mut held, token).await,
            };
            match renewal {
                Renewal::Done(next) => {
                    held = next;
                    self.memory.gaps.up();
                    renewals.reset();
                    renew_at = held.token.renew_at;
                }
                Renewal::Ended(end) => break end,
                Renewal::Later(failure) => {
                    let wait = renewals.after(&failure).unwrap_or_default();
                    let wait_ms = wait.as_millis() as u64;
                    tracing::warn!(source, stream, wait_ms, "not renewed: {failure}");
                    renew_at = Some(Instant::now() + wait);
                }
                Renewal::Refused(failure) => {
                    let last_moment = last_moment(&held.token);
                    if last_moment.is_none_or(|moment| moment <= Instant::now()) {
                        return self.clear(held, "the server takes no second connection").await;
                    }
                    tracing::warn!(source, stream, "no second connection: {failure}");
                    renew_at = last_moment;
                }
            }
            self.status.enter(State::Streaming, "", "");
        };
        if end.frames >= GOOD_FRAMES || end.lasted >= GOOD_TIME {
            retry.reset();
        }
        Over::Ended(end)
    }

    /// Opens a second connection and lets the first go. What the second one brings waits until the
    /// first has been read to its end.
    async fn renew(&self, held: &mut Held, token: Token) -> Renewal {
        self.status.enter(State::Renewing, "", "");
        let next = tokio::select! {
            biased;
            end = held.reading.ended() => return Renewal::Ended(end),
            next = self.open_with(token) => next,
        };
        let (source, stream) = (&*self.origin.source, &*self.origin.stream);
        match next {
            Ok(next) => {
                self.let_overlap(held, &next).await;
                held.reading.close();
                let end = held.reading.ended().await;
                tracing::info!(source, stream, "renewed; the connection before {}", words_of(&end));
                Renewal::Done(next)
            }
            // Any other status than that for a token: it is the second connection that is refused.
            Err(failure)
                if failure.class == Class::NeedsAttention
                    && failure.status.is_some_and(|status| status != 401) =>
            {
                Renewal::Refused(failure)
            }
            Err(failure) => Renewal::Later(failure),
        }
    }

    /// Waits until both connections have brought the same event. What a server has queued for the old
    /// one, and not sent, ends with it: only from then on does nothing depend on it any more. Where
    /// nothing comes at all there is nothing to wait for.
    async fn let_overlap(&self, old: &mut Held, next: &Held) {
        let last_moment = last_moment(&old.token).unwrap_or_else(Instant::now);
        let frames = |old: &Held| old.reading.frames() + next.reading.frames();
        let mut before = frames(old);
        loop {
            tokio::select! {
                biased;
                () = self.outlet.overlapped() => return,
                () = old.reading.is_over() => return,
                () = self.stop.cancelled() => return,
                () = sleep_until(last_moment) => return,
                () = tokio::time::sleep(QUIET) => {}
            }
            let now = frames(old);
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// The token to go on with.
    async fn newer(&self, than: &Token) -> Result<Token, Failure> {
        let token = self.tokens.get().await.map_err(Failure::from)?;
        if token.is(than) {
            return Err(Failure::passing("there is no newer token yet"));
        }
        Ok(token)
    }

    /// Ends a connection so that the next one can take its place.
    async fn clear(&self, held: Held, why: &str) -> Over {
        let Held { mut reading, .. } = held;
        let (source, stream) = (&*self.origin.source, &*self.origin.stream);
        self.status.enter(State::Renewing, why, "");
        reading.close();
        let end = reading.ended().await;
        if self.target.is_shared() {
            self.memory.gaps.begin(Reason::Handover, why);
            tracing::info!(source, stream, "{why}: {}", words_of(&end));
        } else {
            self.memory.gaps.begin(Reason::Refused, why);
            self.status.change(|status| status.gaps += 1);
            tracing::warn!(
                source,
                stream,
                "gap: {why}, so the old one is closed first: {}",
                words_of(&end)
            );
        }
        Over::Cleared
    }
}

/// When a connection is ended at the latest, so that its token does not end it: at 95 % of its life.
fn last_moment(token: &Token) -> Option<Instant> {
    let life = token.expires?.saturating_duration_since(token.got);
    token.got.checked_add(life.mul_f64(LAST_MOMENT))
}

fn words_of(end: &End) -> String {
    format!("{} frames: {}", end.frames, end.why)
}
