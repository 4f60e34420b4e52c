//! The window in which duplicates are found. An event that two connections of a stream bring, byte
//! for byte, is one event; within one connection nothing is ever a duplicate. Pure. Key type:
//! [`Window`].
//!
//! An entry is two keyed hashes, 16 bytes. While all entries are of the connection that brings the
//! next one, nothing needs to be looked up; so an index is made only when another connection comes,
//! and let go when the last entry of the ones before has left the window. The index is 8 bytes per
//! entry: the places of entries, sorted by the first bits of their hash.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::quality::RandomState;

use crate::decode::identity;

/// What a frame is to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Not seen before, or without an id.
    New,
    /// Another connection brought the same bytes.
    Duplicate,
    /// Another connection brought its id with other bytes.
    Conflict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// Of source and id.
    id: u64,
    /// Of the whole frame.
    bytes: u64,
}

/// What the connections of one stream brought last.
#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    capacity: usize,
    /// The connection that reads now, and where its entries begin, counted from the first entry ever.
    current: Option<(u64, u64)>,
    /// How many entries have left the window.
    gone: u64,
    index: Option<Index>,
    hasher: RandomState,
    /// An event that a later connection brought first, until the one that reads now brings it too.
    awaited: Option<Entry>,
}

impl Window {
    /// A window of so many events.
    pub fn new(capacity: usize) -> Self {
        Window {
            entries: VecDeque::new(),
            capacity: capacity.max(1),
            current: None,
            gone: 0,
            index: None,
            // Seeded anew: nobody outside can foresee a hash.
            hasher: RandomState::default(),
            awaited: None,
        }
    }

    /// Changes how many events it holds; the oldest leave.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity.max(1);
        while self.entries.len() > self.capacity {
            self.leave();
        }
        self.entries.shrink_to(self.capacity);
    }

    /// Notes a frame of a connection. Connections come one after the other, never mixed.
    pub fn note(&mut self, connection: u64, frame: &[u8]) -> Seen {
        let Some(entry) = self.entry(frame) else { return Seen::New };
        self.begin(connection);
        let seen = self.look_up(&entry);
        if seen != Seen::Duplicate {
            self.push(entry);
        }
        if self.awaited == Some(entry) {
            self.awaited = None;
        }
        seen
    }

    /// Begins to wait for an event that a connection brought whose turn has not come: once the one
    /// that reads now has brought it too, the two overlap. False if it has no id, and cannot be known
    /// again.
    pub fn await_same(&mut self, frame: &[u8]) -> bool {
        let Some(entry) = self.entry(frame) else { return false };
        self.awaited = Some(entry).filter(|entry| !self.entries.contains(entry));
        true
    }

    /// Whether an event is waited for.
    pub fn is_awaiting(&self) -> bool {
        self.awaited.is_some()
    }

    fn entry(&self, frame: &[u8]) -> Option<Entry> {
        let identity = identity(frame)?;
        let mut hasher = self.hasher.build_hasher();
        hasher.write(identity.source);
        hasher.write(identity.id);
        Some(Entry { id: hasher.finish(), bytes: self.hasher.hash_one(frame) })
    }

    fn begin(&mut self, connection: u64) {
        if self.current.is_some_and(|(current, _)| current == connection) {
            return;
        }
        self.current = Some((connection, self.gone + self.entries.len() as u64));
        if !self.entries.is_empty() {
            self.index = Some(Index::new(&self.entries, self.gone));
        }
    }

    fn look_up(&mut self, entry: &Entry) -> Seen {
        let Some(index) = &self.index else { return Seen::New };
        match index.find(entry.id, &self.entries, self.gone) {
            Some(bytes) if bytes == entry.bytes => Seen::Duplicate,
            Some(_) => Seen::Conflict,
            None => Seen::New,
        }
    }

    fn push(&mut self, entry: Entry) {
        while self.entries.len() >= self.capacity {
            self.leave();
        }
        if self.entries.len() == self.entries.capacity() {
            // Doubled, but never beyond what it may hold.
            let (len, most) = (self.entries.len(), self.capacity);
            self.entries.reserve_exact(len.clamp(16, 1 << 20).min(most - len));
        }
        self.entries.push_back(entry);
    }

    /// The oldest entry leaves.
    fn leave(&mut self) {
        if self.entries.pop_front().is_none() {
            return;
        }
        self.gone += 1;
        let begun = self.current.map_or(0, |(_, begun)| begun);
        if self.index.is_some() && self.gone >= begun {
            // All that is left is of the connection that reads now.
            self.index = None;
        }
    }
}

/// The entries of earlier connections by their ids. Never changes: those that have left are passed over.
#[derive(Debug)]
struct Index {
    /// How many entries had left the window when it was made.
    base: u64,
    /// How many bits of a hash are left over after those that choose a bucket.
    shift: u32,
    /// Where each bucket ends in `places`.
    ends: Vec<u32>,
    /// Places of entries, counted from `base`: bucket by bucket, the oldest first.
    places: Vec<u32>,
}

impl Index {
    fn new(entries: &VecDeque<Entry>, base: u64) -> Self {
        let bits = entries.len().max(2).ilog2();
        let shift = u64::BITS - bits;
        let bucket = |entry: &Entry| (entry.id >> shift) as usize;
        let mut ends = vec![0_u32; 1 << bits];
        entries.iter().for_each(|entry| ends[bucket(entry)] += 1);
        let mut sum = 0;
        for end in &mut ends {
            // Where it begins, until its entries are in their places.
            sum += std::mem::replace(end, sum);
        }
        let mut places = vec![0; entries.len()];
        for (entry, place) in entries.iter().zip(0..) {
            let end = &mut ends[bucket(entry)];
            places[*end as usize] = place;
            *end += 1;
        }
        Index { base, shift, ends, places }
    }

    /// The bytes that an id came with the last time, if it is still in the window.
    fn find(&self, id: u64, entries: &VecDeque<Entry>, gone: u64) -> Option<u64> {
        let bucket = (id >> self.shift) as usize;
        let begin = bucket.checked_sub(1).map_or(0, |before| self.ends[before]);
        let places = &self.places[begin as usize..self.ends[bucket] as usize];
        places.iter().rev().find_map(|place| {
            let place = (self.base + u64::from(*place)).checked_sub(gone)?;
            let entry = entries.get(place as usize)?;
            (entry.id == id).then_some(entry.bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: &str, rest: &str) -> Vec<u8> {
        let mut frame = vec![0x0a, id.len() as u8];
        frame.extend(id.as_bytes());
        frame.extend([0x12, 1, b's', 0x3a, rest.len() as u8]);
        frame.extend(rest.as_bytes());
        frame
    }

    #[test]
    fn only_another_connection_brings_duplicates() {
        let mut window = Window::new(100);
        for _ in 0..2 {
            assert_eq!(window.note(1, &frame("a", "x")), Seen::New);
        }
        assert_eq!(window.note(1, &frame("b", "x")), Seen::New);
        assert_eq!(window.note(2, &frame("a", "x")), Seen::Duplicate);
        assert_eq!(window.note(2, &frame("b", "y")), Seen::Conflict, "kept, for its bytes differ");
        assert_eq!(window.note(2, &frame("c", "x")), Seen::New);
        assert_eq!(window.note(2, &frame("c", "x")), Seen::New);
        assert_eq!(window.note(3, &frame("c", "x")), Seen::Duplicate);
        assert_eq!(window.note(3, &frame("b", "y")), Seen::Duplicate);
    }

    #[test]
    fn two_connections_overlap_once_both_have_brought_the_same() {
        let mut window = Window::new(100);
        window.note(1, &frame("a", "x"));
        assert!(window.await_same(&frame("a", "x")) && !window.is_awaiting(), "brought before");
        assert!(window.await_same(&frame("b", "x")) && window.is_awaiting());
        window.note(1, &frame("b", "other"));
        assert!(window.is_awaiting());
        window.note(1, &frame("b", "x"));
        assert!(!window.is_awaiting());
        assert!(!window.await_same(&frame("", "x")));
    }

    #[test]
    fn without_an_id_nothing_is_a_duplicate() {
        let mut window = Window::new(100);
        assert_eq!(window.note(1, &frame("", "x")), Seen::New);
        assert_eq!(window.note(2, &frame("", "x")), Seen::New);
        assert_eq!(window.note(2, b"garbage"), Seen::New);
    }

    #[test]
    fn the_window_is_bounded_and_its_index_does_not_stay() {
        let mut window = Window::new(10);
        for number in 0..25 {
            assert_eq!(window.note(1, &frame(&number.to_string(), "")), Seen::New);
        }
        assert_eq!(window.entries.len(), 10);
        assert_eq!(window.note(2, &frame("14", "")), Seen::New, "too long ago");
        assert_eq!(window.note(2, &frame("16", "")), Seen::Duplicate);
        for number in 100..120 {
            assert_eq!(window.note(2, &frame(&number.to_string(), "")), Seen::New);
        }
        assert!(window.index.is_none());
        assert_eq!(window.entries.len(), 10);
        window.resize(4);
        assert_eq!(window.note(3, &frame("115", "")), Seen::New, "gone");
        assert_eq!(window.note(3, &frame("119", "")), Seen::Duplicate);
    }

    /// What docs say of memory: 24 bytes for each event.
    #[test]
    fn a_million_events_take_24_bytes_each() {
        let mut window = Window::new(100_000);
        for number in 0..250_000_u32 {
            window.note(1, &frame(&number.to_string(), ""));
        }
        window.note(2, &frame("new", ""));
        let index = window.index.as_ref().unwrap();
        let bytes = window.entries.capacity() * size_of::<Entry>()
            + (index.ends.capacity() + index.places.capacity()) * size_of::<u32>();
        assert!(bytes <= 24 * 100_000, "{bytes}");
        for number in 150_100..250_000_u32 {
            assert_eq!(window.note(2, &frame(&number.to_string(), "")), Seen::Duplicate);
        }
    }
}
