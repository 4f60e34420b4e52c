//! From the connections of a stream to its pipelines: one connection after the other, however many
//! are open, and without what two of them brought alike. Key types: [`Outlet`], [`Lane`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::memory::{Memory, id_of};
use super::window::Seen;
use crate::frame::{Chunk, Frame, Kind, Origin};
use crate::pipeline::{Input, Outputs};
use crate::source::SharedStatus;
use crate::timestamp::now_micros;

/// Most that a connection may hold before its turn comes; then it stops reading.
const MAX_HELD_EVENTS: usize = 64 << 10;
const MAX_HELD_BYTES: usize = 32 << 20;
/// How often a wait looks at whether the host is stopping.
const LOOK: Duration = Duration::from_millis(100);
/// How long frames that were read may wait for a pipeline once the host is stopping.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How many frames over the limit are remembered, so that they end no connection twice.
const MAX_TOO_LARGE: usize = 64;
/// After how long without room it is written down that nothing is read.
const HELD_BACK: Duration = Duration::from_secs(10);

/// Where the connections of one stream put their frames.
pub(super) struct Outlet {
    origin: Arc<Origin>,
    outputs: Outputs,
    status: SharedStatus,
    runtime: Handle,
    stop: CancellationToken,
    memory: Arc<Memory>,
    turns: Mutex<Turns>,
    turned: Condvar,
    /// Told when a connection whose turn it is and the one after it have brought the same event.
    overlapped: Notify,
    too_large: Mutex<VecDeque<(u64, u64)>>,
}

#[derive(Debug)]
struct Turns {
    /// The number that the next connection gets.
    next: u64,
    /// Whose frames go on now.
    current: u64,
    /// Who ended before its turn came.
    ended: BTreeSet<u64>,
}

impl Outlet {
    /// An outlet to these pipelines for a stream of which this is remembered.
    pub fn new(
        origin: Arc<Origin>,
        outputs: Outputs,
        status: SharedStatus,
        stop: CancellationToken,
        memory: Arc<Memory>,
    ) -> Arc<Self> {
        let first = memory.next_number();
        Arc::new(Outlet {
            origin,
            outputs,
            status,
            runtime: Handle::current(),
            stop,
            memory,
            turns: Mutex::new(Turns { next: first, current: first, ended: BTreeSet::new() }),
            turned: Condvar::new(),
            overlapped: Notify::new(),
            too_large: Mutex::default(),
        })
    }

    /// A lane for one more connection, which comes after all that have one.
    pub fn lane(self: &Arc<Self>) -> Lane {
        // What was told of connections before is of no use any more.
        let _stale = self.overlapped.notified().now_or_never();
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let number = turns.next;
        turns.next += 1;
        let outlet = Arc::clone(self);
        Lane { outlet, number, held: Vec::new(), events: 0, bytes: 0, is_awaited: false }
    }

    /// Waits until the connection whose turn it is has brought an event that the one after it has
    /// brought too: from then on the one after it brings all that there is.
    pub async fn overlapped(&self) {
        self.overlapped.notified().await;
    }

    /// Whether a frame over the limit has come before. It is remembered from now on.
    pub fn knows_too_large(&self, size: u64, head: &[u8]) -> bool {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(head);
        let mut known = self.too_large.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&(size, hash)) {
            return true;
        }
        if known.len() == MAX_TOO_LARGE {
            known.pop_front();
        }
        known.push_back((size, hash));
        false
    }

    /// Whether the host is stopping, and pipelines are waited for no longer than a moment.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    fn is_turn_of(&self, number: u64) -> bool {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).current == number
    }

    /// Waits for a turn; false when the host is stopping and there is no more time.
    fn wait_for_turn(&self, number: u64) -> bool {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let mut give_up = None;
        while turns.current != number {
            if self.stop.is_cancelled() {
                let until = *give_up.get_or_insert_with(|| Instant::now() + LAST_WAIT);
                if Instant::now() >= until {
                    return false;
                }
            }
            let waited = self.turned.wait_timeout(turns, LOOK);
            turns = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn end(&self, number: u64) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.ended.insert(number);
        while {
            let current = turns.current;
            turns.ended.remove(&current)
        } {
            turns.current += 1;
        }
        self.turned.notify_all();
    }

    /// Takes out what an earlier connection brought, and gives the rest to every pipeline.
    fn put(&self, connection: u64, mut chunk: Chunk) {
        let (mut duplicates, mut conflicts) = (0, 0);
        {
            let mut window = self.memory.window();
            let was_awaiting = window.is_awaiting();
            chunk.frames.retain(|frame| {
                let seen = match frame.kind {
                    Kind::Binary => window.note(connection, &frame.bytes),
                    Kind::Text | Kind::TooLarge(_) => Seen::New,
                };
                match seen {
                    Seen::New => {}
                    Seen::Conflict => conflicts += 1,
                    Seen::Duplicate => duplicates += 1,
                }
                seen != Seen::Duplicate
            });
            if was_awaiting && !window.is_awaiting() {
                self.overlapped.notify_one();
            }
        }
        if duplicates + conflicts > 0 {
            self.status.change(|status| {
                status.duplicates += duplicates;
                status.conflicts += conflicts;
            });
        }
        if duplicates > 0 && self.memory.gaps.is_open() {
            self.memory.gaps.note_overlap();
        }
        if !chunk.frames.is_empty() {
            self.send(chunk);
        }
    }

    fn send(&self, chunk: Chunk) {
        let mut events = chunk.frames.iter().filter(|frame| frame.kind != Kind::Text);
        let last = events.next_back().map(|frame| id_of(&frame.bytes));
        let is_open = self.memory.gaps.is_open();
        let first = chunk.frames.iter().find(|frame| is_open && frame.kind != Kind::Text);
        let first = first.map(|frame| id_of(&frame.bytes));
        let outputs = self.outputs.now();
        let Some((output, others)) = outputs.split_last() else { return };
        let mut are_sent = true;
        for output in others {
            are_sent &= self.send_to(output, chunk.clone());
        }
        are_sent &= self.send_to(output, chunk);
        if let Some(last) = last.filter(|_| are_sent) {
            self.memory.gaps.brought(first, &last);
        }
    }

    /// Gives frames to a pipeline, waiting for room. When there is no more time they are counted as
    /// received, and so seen to be in flight: never lost in silence; false then.
    fn send_to(&self, output: &Input, chunk: Chunk) -> bool {
        let Err(chunk) = output.try_send(chunk) else { return true };
        let (origin, count) = (Arc::clone(&chunk.origin), chunk.frames.len() as u64);
        let since = now_micros();
        let notes = async {
            tokio::time::sleep(HELD_BACK).await;
            self.memory.gaps.hold_back(since, output.why_full());
            std::future::pending().await
        };
        let sent = self.runtime.block_on(async {
            tokio::select! {
                sent = output.send(chunk) => sent.is_ok(),
                () = self.out_of_time() => false,
                never = notes => never,
            }
        });
        if !sent {
            output.abandon(&origin, count);
        }
        sent
    }

    async fn out_of_time(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LAST_WAIT).await;
    }
}

/// One connection's way to the pipelines. What it brings before its turn is held.
pub(super) struct Lane {
    outlet: Arc<Outlet>,
    number: u64,
    held: Vec<Chunk>,
    events: usize,
    bytes: usize,
    /// Whether one of the events held is waited for on the connection before.
    is_awaited: bool,
}

impl Lane {
    /// The outlet it leads to.
    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Takes frames; waits while the pipelines have no room, or while too much is held.
    pub fn put(&mut self, frames: Vec<Frame>) {
        let outlet = Arc::clone(&self.outlet);
        let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        outlet.status.change(|status| {
            status.frames += frames.len() as u64;
            status.bytes += bytes as u64;
            status.last_frame = now_micros();
        });
        let chunk = Chunk::new(Arc::clone(&outlet.origin), frames);
        if self.flush() {
            outlet.put(self.number, chunk);
            return;
        }
        self.await_overlap(&chunk);
        self.events += chunk.frames.len();
        self.bytes += chunk.bytes();
        self.held.push(chunk);
        if self.events >= MAX_HELD_EVENTS || self.bytes >= MAX_HELD_BYTES {
            outlet.wait_for_turn(self.number);
            self.flush();
        }
    }

    /// Has the first event it brought, and can be known again, waited for.
    fn await_overlap(&mut self, chunk: &Chunk) {
        if self.is_awaited {
            return;
        }
        let mut window = self.outlet.memory.window();
        let mut events = chunk.frames.iter().filter(|frame| frame.kind == Kind::Binary);
        self.is_awaited = events.any(|frame| window.await_same(&frame.bytes));
        if self.is_awaited && !window.is_awaiting() {
            self.outlet.overlapped.notify_one();
        }
    }

    /// Hands on what is held if the turn has come; says whether it has.
    pub fn flush(&mut self) -> bool {
        if !self.outlet.is_turn_of(self.number) {
            return false;
        }
        for chunk in self.held.drain(..) {
            self.outlet.put(self.number, chunk);
        }
        (self.events, self.bytes) = (0, 0);
        true
    }
}

/// However its connection ended, nothing that is held is lost, and the next one has its turn.
impl Drop for Lane {
    fn drop(&mut self) {
        if !self.held.is_empty() && self.outlet.wait_for_turn(self.number) {
            self.flush();
        }
        for chunk in self.held.drain(..) {
            for output in self.outlet.outputs.now().iter() {
                output.abandon(&chunk.origin, chunk.frames.len() as u64);
            }
        }
        self.outlet.end(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Intake, channel};

    fn frame(id: &str) -> Frame {
        let mut bytes = vec![0x0a, id.len() as u8];
        bytes.extend(id.as_bytes());
        Frame::binary(bytes)
    }

    fn ids(intake: &mut Intake) -> Vec<String> {
        let chunks = intake.take(1_000, 1 << 20).chunks;
        let frames = chunks.iter().flat_map(|chunk| &chunk.frames);
        frames.map(|frame| String::from_utf8_lossy(&frame.bytes[2..]).into_owned()).collect()
    }

    fn outlet() -> (Arc<Outlet>, Intake, SharedStatus) {
        let (input, intake) = channel(Arc::default());
        let origin = Arc::new(Origin { source: "s".into(), stream: "t".into() });
        let status = SharedStatus::new("s", "t");
        let stop = CancellationToken::new();
        let memory = Memory::new(None, "s", "t", 100);
        (Outlet::new(origin, vec![input].into(), status.clone(), stop, memory), intake, status)
    }

    #[tokio::test]
    async fn a_second_connection_waits_for_the_end_of_the_first() {
        let (outlet, mut intake, status) = outlet();
        let (mut first, mut second) = (outlet.lane(), outlet.lane());
        first.put(vec![frame("a"), frame("b")]);
        second.put(vec![frame("b"), frame("c")]);
        first.put(vec![frame("c")]);
        second.put(vec![frame("d")]);
        assert_eq!(ids(&mut intake), ["a", "b", "c"]);
        drop(first);
        second.put(vec![frame("e")]);
        assert_eq!(ids(&mut intake), ["d", "e"]);
        assert_eq!((status.get().frames, status.get().duplicates), (7, 2));
    }

    #[tokio::test]
    async fn an_overlap_is_told_whoever_brings_the_event_first() {
        let (outlet, _intake, _) = outlet();
        let (mut first, mut second) = (outlet.lane(), outlet.lane());
        second.put(vec![frame("b")]);
        first.put(vec![frame("a"), frame("b")]);
        outlet.overlapped().await;
        drop((first, second));
        let (mut third, mut fourth) = (outlet.lane(), outlet.lane());
        third.put(vec![frame("c")]);
        fourth.put(vec![frame("c")]);
        outlet.overlapped().await;
        drop((third, fourth));
    }

    #[tokio::test]
    async fn one_that_ends_before_its_turn_loses_nothing() {
        let (outlet, mut intake, _) = outlet();
        let (mut first, mut second, mut third) = (outlet.lane(), outlet.lane(), outlet.lane());
        second.put(vec![frame("b")]);
        third.put(vec![frame("c")]);
        let ending = std::thread::spawn(move || drop(second));
        first.put(vec![frame("a")]);
        drop(first);
        ending.join().unwrap();
        assert!(third.flush());
        assert_eq!(ids(&mut intake), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_known_when_it_comes_again() {
        let (outlet, ..) = outlet();
        assert!(!outlet.knows_too_large(99, b"head"));
        assert!(outlet.knows_too_large(99, b"head"));
        assert!(!outlet.knows_too_large(98, b"head"));
    }
}
