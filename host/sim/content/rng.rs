//! Seeded numbers that stay the same for ever: no library's generator, whose output may change with
//! its version. Pure. Key type: [`Rng`].

/// SplitMix64: small, fast, and each state gives a different number.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Rng(u64);

impl Rng {
    /// The generator of one use (`label`) under one seed.
    pub fn new(seed: u64, label: &str) -> Self {
        Rng(key(seed, label))
    }

    /// Any 64 bits.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.any()) * u128::from(limit)) >> 64) as u64
    }

    /// An index into something of this length.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(u64::from(high.saturating_sub(low)) + 1) as u32
    }

    /// True so many times in a thousand.
    pub fn per_mille(&mut self, times: u64) -> bool {
        self.below(1_000) < times
    }

    /// The value moved by at most `step` either way, kept within `low` and `high`.
    pub fn walk(&mut self, value: i64, step: i64, low: i64, high: i64) -> i64 {
        let moved = value + self.below(2 * step as u64 + 1) as i64 - step;
        moved.clamp(low, high)
    }
}

/// A key for one use under one seed.
pub(in crate::sim) fn key(seed: u64, label: &str) -> u64 {
    // FNV-1a over the label, from the seed.
    label.bytes().fold(mix(seed ^ 0xcbf2_9ce4_8422_2325), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finalizer of SplitMix64: one to one, so different inputs give different outputs.
pub(in crate::sim) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_never_change() {
        let mut rng = Rng::new(1, "a");
        assert_eq!((rng.any(), rng.any()), (9_655_136_353_575_525_583, 5_305_768_645_274_400_967));
    }

    #[test]
    fn stays_within_its_limits() {
        let mut rng = Rng::new(7, "limits");
        for _ in 0..1_000 {
            assert!(rng.below(3) < 3);
            assert!((2..=4).contains(&rng.between(2, 4)));
            assert!((0..=10).contains(&rng.walk(9, 5, 0, 10)));
        }
        assert_eq!(rng.below(0), 0);
    }
}
