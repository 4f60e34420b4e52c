//! Dead letters that nobody is done with: of which records they are, and in which they lie by now. Pure.
//! Key type: [`Open`].

use std::collections::{BTreeMap, BTreeSet};

use super::records::Letter;

/// Those of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lying {
    /// The record that they lie in: the one they came with, or a later one that they were carried to.
    pub at: u64,
    /// How many.
    pub count: u32,
    /// Bytes of one, on the average.
    each: u64,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    /// By the record that they came with.
    records: BTreeMap<u64, Lying>,
    /// The same by the record that they lie in.
    places: BTreeSet<(u64, u64)>,
    count: u64,
    bytes: u64,
}

impl Open {
    /// Those of a record lie in this one from now on, and there are no others of it.
    pub fn put<'a>(
        &mut self,
        record: u64,
        at: u64,
        letters: impl ExactSizeIterator<Item = &'a Letter>,
    ) {
        self.remove(record);
        let count = letters.len() as u32;
        if count == 0 {
            return;
        }
        let bytes: u64 = letters.map(|letter| letter.size() as u64).sum();
        let lying = Lying { at, count, each: bytes / u64::from(count) };
        self.records.insert(record, lying);
        self.places.insert((at, record));
        self.count += u64::from(count);
        self.bytes += lying.bytes();
    }

    /// Those of a record are done with.
    pub fn remove(&mut self, record: u64) {
        let Some(lying) = self.records.remove(&record) else { return };
        self.places.remove(&(lying.at, record));
        self.count -= u64::from(lying.count);
        self.bytes -= lying.bytes();
    }

    /// One of a record is done with. True if that was the last one.
    pub fn take_one(&mut self, record: u64) -> bool {
        let Some(lying) = self.records.get_mut(&record) else { return false };
        if lying.count > 1 {
            lying.count -= 1;
            self.count -= 1;
            self.bytes -= lying.each;
            return false;
        }
        self.remove(record);
        true
    }

    /// Only those of these records stay.
    pub fn retain(&mut self, stays: impl Fn(u64) -> bool) {
        let gone: Vec<u64> =
            self.records.keys().copied().filter(|record| !stays(*record)).collect();
        gone.into_iter().for_each(|record| self.remove(record));
    }

    /// Those of a record.
    pub fn get(&self, record: u64) -> Option<&Lying> {
        self.records.get(&record)
    }

    /// All, by the record that they came with.
    pub fn records(&self) -> impl Iterator<Item = (u64, Lying)> {
        self.records.iter().map(|(record, lying)| (*record, *lying))
    }

    /// Where they lie, the oldest place first: that record, and the one that they came with.
    pub fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        self.places.iter().copied()
    }

    /// The first record that must stay for them.
    pub fn first_place(&self) -> Option<u64> {
        self.places.first().map(|(at, _)| *at)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How much they are, bytes, roughly.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Lying {
    fn bytes(self) -> u64 {
        u64::from(self.count) * self.each
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::letter;
    use super::*;

    #[test]
    fn what_is_open_is_counted_wherever_it_lies() {
        let letters = ["a", "b", "c"].map(letter);
        let size = letters[0].size() as u64;
        let mut open = Open::default();
        open.put(4, 4, letters.iter());
        open.put(7, 7, letters[..1].iter());
        assert_eq!((open.first_place(), open.count(), open.bytes()), (Some(4), 4, 4 * size));
        assert!(!open.take_one(4) && !open.take_one(5));
        open.put(4, 9, letters[1..].iter());
        assert_eq!((open.first_place(), open.count(), open.bytes()), (Some(7), 3, 3 * size));
        assert_eq!(open.places().collect::<Vec<_>>(), [(7, 7), (9, 4)]);
        assert!(open.take_one(7) && !open.take_one(4) && open.take_one(4));
        assert_eq!(open, Open::default());
    }
}
