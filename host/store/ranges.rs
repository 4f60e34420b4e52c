//! Stretches of a file, merged where they touch. Pure. Key type: [`Ranges`].

/// Stretches, ascending, none touching another: offsets of the first byte and of the one after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds a stretch.
    pub fn insert(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        // Those before end before it begins.
        let first = self.0.partition_point(|(_, end)| *end < from);
        let after = self.0.partition_point(|(begin, _)| *begin <= to);
        let (mut from, mut to) = (from, to);
        if first < after {
            from = from.min(self.0[first].0);
            to = to.max(self.0[after - 1].1);
        }
        self.0.splice(first..after, [(from, to)]);
    }

    /// The stretches.
    pub fn parts(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// What of a stretch is not in it, ascending.
    pub fn missing(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut next = from;
        for (begin, end) in self.0.iter().filter(|(begin, end)| from < *end && *begin < to) {
            if next < *begin {
                missing.push((next, *begin));
            }
            next = *end;
        }
        if next < to {
            missing.push((next, to));
        }
        missing
    }

    /// How far it goes without a hole from the beginning on.
    pub fn prefix(&self) -> u64 {
        self.0.first().filter(|(from, _)| *from == 0).map_or(0, |(_, to)| *to)
    }

    /// Where the last one ends.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |(_, to)| *to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_merge_where_they_touch() {
        let mut ranges = Ranges::default();
        for (from, to) in [(10, 20), (30, 40), (5, 5), (20, 25), (0, 3), (24, 31)] {
            ranges.insert(from, to);
        }
        assert_eq!(ranges.parts(), [(0, 3), (10, 40)]);
        assert_eq!((ranges.prefix(), ranges.end()), (3, 40));
        assert_eq!(ranges.missing(2, 50), [(3, 10), (40, 50)]);
        assert_eq!(ranges.missing(3, 10), [(3, 10)]);
        assert_eq!((ranges.missing(10, 40), ranges.missing(4, 4)), (vec![], vec![]));
        ranges.insert(3, 10);
        assert_eq!((ranges.parts(), ranges.prefix()), (&[(0, 40)][..], 40));
        ranges.insert(100, 200);
        ranges.insert(0, 300);
        assert_eq!(ranges.parts(), [(0, 300)]);
    }
}
