//! The clock of one stream: a thread that makes its events, at a rate or as fast as they are taken,
//! and hands them to every open connection. A thread, because it computes and because it sleeps
//! more exactly than a timer wheel. Key type: [`Clock`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use super::SimError;
use super::audience::Audience;
use super::batch::{Batch, EXTRA, Mark, Pending};
use super::envelope::Envelopes;
use super::faults::Faults;
use super::hub::{Hub, Wait};
use super::ledger::Entry;
use super::options::{Options, Rate};
use super::tokens::Tokens;
use super::websocket::{MAX_HEADER, Opcode, push_header};
use crate::decode::catalog::Stream;
use crate::sim::content::{self, Feed, Moment, Rng};

/// A batch is closed when it has so many bytes: four TLS records.
const BATCH_BYTES: usize = 62 * 1024;

/// Above this rate the clock no longer wakes for each single event, but a thousand times a second.
const SINGLE_RATE: f64 = 20_000.0;
const TICK: Duration = Duration::from_millis(1);

/// One stream's clock.
pub(super) struct Clock {
    stream: &'static Stream,
    /// The stream's place among those served.
    index: usize,
    feed: Box<dyn Feed>,
    envelopes: Envelopes,
    now: Moment,
    rate: Rate,
    count: u64,
    faults: Faults,
    /// How many events are made at least at a time.
    window: u64,
    /// Whether somebody asks who got what.
    counted: bool,
    hub: Arc<Hub>,
    tokens: Arc<Tokens>,
    ledger: Option<SyncSender<Entry>>,
    audience: Audience,
    /// When its first client came.
    started: Option<Instant>,
    made: u64,
    /// Frames to put in that are no events; at most one of each kind.
    extras: VecDeque<Opcode>,
    noise: Rng,
    payload: Vec<u8>,
}

impl Clock {
    /// A clock that has not begun.
    pub fn new(
        index: usize,
        options: &Options,
        hub: Arc<Hub>,
        tokens: Arc<Tokens>,
        ledger: Option<SyncSender<Entry>>,
    ) -> Result<Self, SimError> {
        let (stream, seed) = (options.streams[index], options.seed);
        let feed =
            content::feed(stream, seed).ok_or_else(|| SimError::Stream(stream.name.to_owned()))?;
        Ok(Clock {
            stream,
            index,
            feed,
            envelopes: Envelopes::new(stream, seed),
            now: Moment::first(seed),
            rate: options.rate,
            count: options.count.unwrap_or(u64::MAX),
            faults: options.faults.clone(),
            window: options.faults.reordered.map_or(1, std::num::NonZeroU64::get),
            counted: options.ledger.is_some() || options.sent.is_some(),
            hub,
            tokens,
            ledger,
            audience: Audience::new(&options.faults),
            started: None,
            made: 0,
            extras: VecDeque::new(),
            noise: Rng::new(seed, "extra frames"),
            payload: Vec::with_capacity(1_024),
        })
    }

    /// Runs until the simulator stops.
    pub fn run(mut self) {
        let mut wait = Wait::ForNews;
        while let Some(news) = self.hub.gather(wait) {
            self.audience.take(news);
            self.audience.tidy();
            if self.started.is_none() && !self.audience.is_empty() {
                tracing::info!(stream = self.stream.name, "the first client is here");
                self.started = Some(Instant::now());
            }
            wait = match self.due() {
                Due::Events(limit) => {
                    self.make_and_hand_out(limit);
                    Wait::No
                }
                Due::Later(wait) => wait,
            };
        }
        tracing::debug!(stream = self.stream.name, events = self.made, "the clock stops");
    }

    /// How many events are due, or what to wait for.
    fn due(&self) -> Due {
        let left = self.count - self.made;
        if left == 0 && self.extras.is_empty() {
            return Due::Later(Wait::ForNews);
        }
        match (self.rate, self.started) {
            (_, None) => Due::Later(Wait::ForNews),
            (Rate::Max, _) if self.audience.is_empty() => Due::Later(Wait::ForNews),
            (Rate::Max, _) => Due::Events(left),
            (Rate::PerSecond(rate), Some(started)) => {
                // Reckoned from the start each time: whatever comes late is made up for.
                let now = started.elapsed();
                let due = (now.as_secs_f64() * rate) as u64 + 1;
                let window = self.window.min(left).max(1);
                let due = due.saturating_sub(self.made).min(left);
                let due = due - due % window;
                if due > 0 || !self.extras.is_empty() {
                    return Due::Events(due);
                }
                let mut next = Duration::from_secs_f64((self.made + window - 1) as f64 / rate);
                if rate > SINGLE_RATE {
                    next = next.max(now + TICK);
                }
                Due::Later(Wait::Until(started + next))
            }
        }
    }

    fn make_and_hand_out(&mut self, limit: u64) {
        let before = self.made;
        let batch = Arc::new(self.make(limit));
        let (pending, settled) = match &self.ledger {
            Some(_) => {
                let (pending, settled) = Pending::new();
                (Some(pending), Some(settled))
            }
            None => (None, None),
        };
        self.audience.deliver(&batch, pending.as_ref());
        drop(pending);
        if let Some(settled) = settled {
            self.enter(Entry { batch, settled });
        }
        if self.made > before && self.at_multiple_of(self.faults.expire) {
            self.expire();
        }
    }

    /// Hands a batch to the ledger. While that has no room the oldest batch is not settled, and it
    /// may be this thread that has to find somebody for it, or that keeps it, to send it again.
    fn enter(&mut self, mut entry: Entry) {
        let Some(ledger) = self.ledger.clone() else { return };
        loop {
            entry = match ledger.try_send(entry) {
                Err(TrySendError::Full(entry)) => entry,
                // When the ledger is gone the simulator is stopping because of it.
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            };
            match self.hub.gather(Wait::Until(Instant::now() + TICK)) {
                Some(news) => self.audience.take(news),
                None => {
                    // Nothing will be sent any more, so nothing is kept for anybody.
                    self.audience = Audience::new(&self.faults);
                    let _ = ledger.send(entry);
                    return;
                }
            }
            self.audience.tidy();
            self.audience.forget_oldest();
        }
    }

    /// Makes a batch of at most so many events. It ends where a connection has to be closed, so
    /// that nothing is made that it would have got.
    fn make(&mut self, limit: u64) -> Batch {
        let frames = self.audience.frames_left().unwrap_or(u64::MAX);
        let expire = self.faults.expire.map_or(u64::MAX, |n| n.get() - self.made % n.get());
        let until = self.made + limit.min(expire);
        let mut bytes = Vec::with_capacity(BATCH_BYTES + 2 * 1_024);
        let mut marks = Vec::with_capacity(256);
        while bytes.len() < BATCH_BYTES && (marks.len() as u64) < frames {
            let kind = if let Some(opcode) = self.extras.pop_front() {
                self.push_extra(&mut bytes, opcode);
                EXTRA
            } else if self.made < until {
                self.push_event(&mut bytes)
            } else {
                break;
            };
            marks.push(Mark { end: bytes.len() as u32, kind });
        }
        Batch::new(bytes, marks, self.counted)
    }

    fn push_event(&mut self, bytes: &mut Vec<u8>) -> u8 {
        let bits = self.envelopes.bits(self.made);
        self.now.advance(self.made, bits);
        self.payload.clear();
        let kind = self.feed.next(&self.now, &mut self.payload);
        self.envelopes.push(bytes, kind, bits, &self.now, &self.payload);
        self.made += 1;
        if self.at_multiple_of(self.faults.garbage) {
            self.extras.push_back(Opcode::Binary);
        }
        if self.at_multiple_of(self.faults.text) {
            self.extras.push_back(Opcode::Text);
        }
        kind as u8
    }

    fn at_multiple_of(&self, n: Option<std::num::NonZeroU64>) -> bool {
        n.is_some_and(|n| self.made > 0 && self.made.is_multiple_of(n.get()))
    }

    fn push_extra(&mut self, bytes: &mut Vec<u8>, opcode: Opcode) {
        if opcode == Opcode::Text {
            let text = b"keepalive";
            push_header(bytes, opcode, text.len());
            bytes.extend_from_slice(text);
            return;
        }
        // A field number that never ends: no protobuf reader takes it.
        let start = [0xff; MAX_HEADER + 2];
        let random = [(); 4].map(|()| self.noise.any().to_le_bytes());
        push_header(bytes, opcode, start.len() + random.as_flattened().len());
        bytes.extend_from_slice(&start);
        bytes.extend_from_slice(random.as_flattened());
    }

    /// Kills all tokens. The stream's own connections are told in the order of events; those of
    /// other streams see it at once.
    fn expire(&mut self) {
        let (news, revocation) = self.hub.revoke(&self.tokens, self.index);
        self.audience.take(news);
        self.audience.expire(revocation.living);
    }
}

/// What a clock has to do now.
#[derive(Debug)]
enum Due {
    /// Make this many events.
    Events(u64),
    /// Wait.
    Later(Wait),
}
