//! What a stream has brought last, and whether a gap of it lasts. Key types: [`Tracker`], [`Recall`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Gap, Ledger, Reason};
use crate::timestamp::now_micros;

/// An event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// When it was handed on, in microseconds since 1970.
    pub time: u64,
    /// Its CloudEvents id; empty if it has none.
    pub id: String,
}

/// What the journal's end says of a stream.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    /// Its last event.
    pub last: Option<Mark>,
    /// Its first event after the gap that lasts, if there is one: then that is over.
    pub after: Option<Mark>,
    /// When the last record of all streams came, in microseconds since 1970; 0 if there is none.
    pub end: u64,
    /// Whether the host was stopped in order.
    pub is_clean: bool,
}

/// The gaps of one stream.
pub struct Tracker {
    /// `None` where nobody keeps one.
    ledger: Option<Arc<Ledger>>,
    source: String,
    stream: String,
    /// Whether a gap lasts: looked at for each read.
    is_open: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Mark,
    open: Option<Open>,
    /// Whether it was ever connected.
    is_known: bool,
    /// Whether the server keeps what comes while it is away, and sends it then.
    is_kept: bool,
}

#[derive(Debug)]
struct Open {
    id: u64,
    is_held_back: bool,
    /// Whether the connection goes on that there was when it began.
    is_same_connection: bool,
    /// Whether a connection began with what an earlier one had brought.
    has_overlap: bool,
}

impl Tracker {
    /// The gaps of a stream, which go into this ledger.
    pub fn new(ledger: Option<Arc<Ledger>>, source: &str, stream: &str) -> Self {
        let is_known = ledger.as_ref().is_some_and(|ledger| ledger.knows(source, stream));
        Tracker {
            ledger,
            source: source.to_owned(),
            stream: stream.to_owned(),
            is_open: AtomicBool::new(false),
            state: Mutex::new(State { is_known, ..State::default() }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server keeps what comes while the stream is away.
    pub fn set_kept(&self, is_kept: bool) {
        self.lock().is_kept = is_kept;
    }

    /// Goes on where an earlier process ended, or the stream before its configuration changed.
    pub fn resume(&self, tail: Tail) {
        let Some(ledger) = &self.ledger else { return };
        let mut state = self.lock();
        state.is_known |= tail.last.is_some();
        let adopted = ledger.adopt(&self.source, &self.stream);
        match (adopted, tail.last) {
            // It was over, and the host ended before that was written.
            (Some((id, _)), Some(last)) if tail.after.is_some() => {
                let after = tail.after.unwrap_or_default();
                ledger.change(id, |gap| (gap.to, gap.first_id) = (Some(after.time), after.id));
                state.last = last;
                self.begin_away(&mut state, tail.is_clean);
            }
            (Some((id, gap)), last) => {
                state.last = Mark { time: gap.from, id: gap.last_id };
                if let Some(last) = last.filter(|last| last.id != state.last.id) {
                    // What was said to be the last one was not durable yet.
                    ledger.change(id, |gap| gap.last_id.clone_from(&last.id));
                    state.last = last;
                }
                self.open(&mut state, id, false);
            }
            (None, Some(last)) => {
                state.last = last;
                self.begin_away(&mut state, tail.is_clean);
            }
            (None, None) if state.is_known && tail.end > 0 => {
                state.last.time = tail.end;
                self.begin_away(&mut state, tail.is_clean);
            }
            (None, None) => {}
        }
    }

    fn begin_away(&self, state: &mut State, is_clean: bool) {
        let (reason, detail) = match is_clean {
            true => (Reason::Restart, "the host was stopped"),
            false => (Reason::Crash, "the host ended in disorder"),
        };
        self.begin_from(state, state.last.time, reason, detail, false);
    }

    /// The stream is connected.
    pub fn up(&self) {
        let Some(ledger) = &self.ledger else { return };
        let mut state = self.lock();
        if !state.is_known {
            state.is_known = true;
            ledger.know(&self.source, &self.stream);
        }
        if state.last.time == 0 {
            // Where nothing came yet, it is from here on that something may be missing.
            state.last.time = now_micros();
        }
        if let Some(open) = &mut state.open {
            open.is_same_connection = false;
            ledger.set_up(open.id, true);
        }
    }

    /// Nobody is connected any more. If a gap lasts already it goes on.
    pub fn begin(&self, reason: Reason, detail: &str) {
        let Some(ledger) = &self.ledger else { return };
        let mut state = self.lock();
        if let Some(open) = &mut state.open {
            open.is_same_connection = false;
            ledger.set_up(open.id, false);
            ledger.change(open.id, |gap| detail.clone_into(&mut gap.detail));
        } else if state.is_known {
            let from = if state.last.time == 0 { now_micros() } else { state.last.time };
            self.begin_from(&mut state, from, reason, detail, false);
        }
    }

    /// Nothing has been read since then, for there is no room.
    pub fn hold_back(&self, since: u64, detail: &str) {
        let Some(ledger) = &self.ledger else { return };
        let mut state = self.lock();
        match &state.open {
            None => self.begin_from(&mut state, since, Reason::HeldBack, detail, true),
            // Connected or not, nothing of it comes any further.
            Some(open) => ledger.set_up(open.id, false),
        }
    }

    /// Why it could not be connected, while a gap lasts.
    pub fn note_failure(&self, detail: &str) {
        if let (Some(ledger), Some(open)) = (&self.ledger, &self.lock().open) {
            ledger.change(open.id, |gap| detail.clone_into(&mut gap.detail));
        }
    }

    /// A connection brought what an earlier one had brought.
    pub fn note_overlap(&self) {
        if let Some(open) = &mut self.lock().open {
            open.has_overlap = true;
        }
    }

    fn begin_from(
        &self,
        state: &mut State,
        from: u64,
        reason: Reason,
        detail: &str,
        is_held_back: bool,
    ) {
        let Some(ledger) = &self.ledger else { return };
        tracing::debug!(
            source = self.source,
            stream = self.stream,
            reason = reason.name(),
            "a gap begins"
        );
        let gap = Gap {
            source: self.source.clone(),
            stream: self.stream.clone(),
            from,
            last_id: state.last.id.clone(),
            detail: detail.to_owned(),
            ..Gap::default()
        };
        let id = ledger.begin(reason, gap);
        self.open(state, id, is_held_back);
    }

    fn open(&self, state: &mut State, id: u64, is_held_back: bool) {
        state.open =
            Some(Open { id, is_held_back, is_same_connection: is_held_back, has_overlap: false });
        self.is_open.store(true, Ordering::Release);
    }

    /// Whether a gap lasts, so that the next event ends it.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Events were handed on; `last` is the id of the last one. `first`, the id of the first one, ends a
    /// gap that had begun before they were read.
    pub fn brought(&self, first: Option<String>, last: &str) {
        let Some(ledger) = &self.ledger else { return };
        let mut state = self.lock();
        let now = now_micros();
        state.last.time = now;
        last.clone_into(&mut state.last.id);
        let Some(open) = &state.open else { return };
        let Some(first_id) = first else {
            if open.is_held_back {
                // What waited is in by now.
                ledger.change(open.id, |gap| last.clone_into(&mut gap.last_id));
            }
            if open.is_same_connection {
                // It is read again; that nothing more comes may be all there is.
                ledger.set_up(open.id, true);
            }
            return;
        };
        let replayed = match (open.is_same_connection, state.is_kept, open.has_overlap) {
            (true, ..) | (_, true, true) => Some(true),
            (_, true, false) | (_, false, true) => None,
            (_, false, false) => Some(false),
        };
        ledger.change(open.id, |gap| {
            // A clock that was set back meanwhile makes no gap end before it began.
            let to = now.max(gap.from + 1);
            (gap.to, gap.first_id, gap.replayed) = (Some(to), first_id, replayed);
        });
        state.open = None;
        self.is_open.store(false, Ordering::Release);
    }

    /// What a look at the journal is to find out.
    pub fn recall(&self) -> Recall {
        let open = self.ledger.as_ref().and_then(|l| l.adopt(&self.source, &self.stream));
        Recall { open: open.map(|(_, gap)| (gap.from, gap.last_id)), ..Recall::default() }
    }
}

/// What the journal says of a stream, record by record.
#[derive(Debug, Default)]
pub struct Recall {
    /// When the gap that lasts began, and the last id before.
    open: Option<(u64, String)>,
    last: Option<(u64, bytes::Bytes)>,
    after: Option<Mark>,
}

impl Recall {
    /// An event as it was received, and when; `id` reads its id.
    pub fn note(&mut self, time: u64, frame: &bytes::Bytes, id: fn(&[u8]) -> String) {
        if self.after.is_none()
            && let Some((from, last_id)) = &self.open
            && time > *from
        {
            let id = id(frame);
            self.after = (id != *last_id).then_some(Mark { time, id });
        }
        self.last = Some((time, frame.clone()));
    }

    /// What came of it.
    pub fn tail(self, end: u64, is_clean: bool, id: fn(&[u8]) -> String) -> Tail {
        let last = self.last.map(|(time, frame)| Mark { time, id: id(&frame) });
        Tail { last, after: self.after, end, is_clean }
    }
}
