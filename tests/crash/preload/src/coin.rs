//! Chance that can be repeated (SplitMix64). Key type: [`Coin`].

/// A sequence of random numbers that follows from its seed.
#[derive(Debug)]
pub struct Coin(u64);

impl Coin {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Coin(seed)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// Heads.
    pub fn flip(&mut self) -> bool {
        self.below(2) == 0
    }
}
