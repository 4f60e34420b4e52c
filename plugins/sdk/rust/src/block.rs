//! Sixty-four bytes of text at once, asked where a byte stands in them: the answer is a mask with a
//! bit per byte, the lowest for the first. With WebAssembly's vector instructions where the plugin is
//! built with them (`-C target-feature=+simd128`), else eight bytes at a time. Key type: [`Block`].

use lanes::Lanes;

/// Up to 64 bytes of a text.
pub(crate) struct Block {
    lanes: Lanes,
    /// How many bytes in front belong to what was asked before.
    skip: u32,
}

impl Block {
    /// How many bytes it holds, but for the last one of a text.
    pub(crate) const SIZE: usize = 64;

    /// The bytes of a text from `at` on, which must lie in it.
    #[inline]
    pub(crate) fn at(text: &[u8], at: usize) -> Self {
        if let Some(bytes) = text.get(at..).and_then(|rest| rest.first_chunk()) {
            return Self { lanes: Lanes::load(bytes), skip: 0 };
        }
        // The end of the text: the last 64 bytes, of which some were seen before.
        if let Some(bytes) = text.last_chunk() {
            let skip = (Self::SIZE + at - text.len()).min(Self::SIZE - 1) as u32;
            return Self { lanes: Lanes::load(bytes), skip };
        }
        let bytes = std::array::from_fn(|place| text.get(at + place).copied().unwrap_or(0));
        Self { lanes: Lanes::load(&bytes), skip: 0 }
    }

    /// Where a byte stands, which is not zero.
    #[inline]
    pub(crate) fn equal(&self, byte: u8) -> u64 {
        self.lanes.equal(byte) >> self.skip
    }

    /// Where a byte stands or one that differs from it in bit 5 only, which is set in `byte`: `{`
    /// for `{` and `[`.
    #[inline]
    pub(crate) fn equal_folded(&self, byte: u8) -> u64 {
        self.lanes.equal_folded(byte) >> self.skip
    }

    /// Whether a byte stands anywhere. It may be one that was seen before.
    #[inline]
    pub(crate) fn may_have(&self, byte: u8) -> bool {
        self.lanes.have(byte)
    }
}

/// What a first look at 64 bytes shows.
pub(crate) enum Look {
    /// Nothing of interest.
    Nothing,
    /// There is a backslash, so more than a first look is needed.
    Backslash,
    /// Quotes at these places that may open the name.
    Maybe(u64),
}

/// Looks for a quote, a name of some length and a quote, by the two quotes and the first byte (the
/// closing quote, if the name is empty). `None` where the text is too short for that.
#[inline]
pub(crate) fn look(text: &[u8], at: usize, length: usize, first: u8) -> Option<Look> {
    let text = text.get(at..at.checked_add(length)?.checked_add(Block::SIZE + 1)?)?;
    let load = |offset: usize| Some(Lanes::load(text.get(offset..)?.first_chunk()?));
    Some(Lanes::look(&load(0)?, &load(1)?, &load(length + 1)?, first))
}

/// How far it is from `at` to the next quote or backslash; to the end if there is none.
#[inline]
pub(crate) fn to_special(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let (chunks, tail) = rest.as_chunks();
    for (place, chunk) in chunks.iter().enumerate() {
        let found = lanes::first_special(chunk);
        if found < chunk.len() {
            return place * chunk.len() + found;
        }
    }
    let found = tail.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    rest.len() - tail.len() + found.unwrap_or(tail.len())
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod lanes {
    use core::arch::wasm32::{
        u8x16_bitmask, u8x16_eq, u8x16_splat, u64x2, v128, v128_and, v128_any_true, v128_or,
    };

    use super::Look;

    /// Four vectors.
    pub(super) struct Lanes([v128; 4]);

    impl Lanes {
        #[inline]
        pub(super) fn load(bytes: &[u8; 64]) -> Self {
            let (words, _) = bytes.as_chunks();
            Self([0, 2, 4, 6].map(|word| vector(words[word], words[word + 1])))
        }

        #[inline]
        pub(super) fn equal(&self, byte: u8) -> u64 {
            let byte = u8x16_splat(byte);
            mask(self.0.map(|lane| u8x16_eq(lane, byte)))
        }

        #[inline]
        pub(super) fn equal_folded(&self, byte: u8) -> u64 {
            let (byte, fold) = (u8x16_splat(byte), u8x16_splat(0x20));
            mask(self.0.map(|lane| u8x16_eq(v128_or(lane, fold), byte)))
        }

        #[inline]
        pub(super) fn have(&self, byte: u8) -> bool {
            let byte = u8x16_splat(byte);
            v128_any_true(any(self.0.map(|lane| u8x16_eq(lane, byte))))
        }
    }

    impl Lanes {
        #[inline]
        pub(super) fn look(opening: &Self, firsts: &Self, closing: &Self, first: u8) -> Look {
            let (quote, first) = (u8x16_splat(b'"'), u8x16_splat(first));
            let hits = [0, 1, 2, 3].map(|lane| {
                let quotes =
                    v128_and(u8x16_eq(opening.0[lane], quote), u8x16_eq(closing.0[lane], quote));
                v128_and(quotes, u8x16_eq(firsts.0[lane], first))
            });
            let backslash = u8x16_splat(b'\\');
            let backslashes = any(opening.0.map(|lane| u8x16_eq(lane, backslash)));
            if !v128_any_true(v128_or(any(hits), backslashes)) {
                Look::Nothing
            } else if v128_any_true(backslashes) {
                Look::Backslash
            } else {
                Look::Maybe(mask(hits))
            }
        }
    }

    #[inline]
    fn any([a, b, c, d]: [v128; 4]) -> v128 {
        v128_or(v128_or(a, b), v128_or(c, d))
    }

    /// Becomes one load.
    #[inline]
    fn vector(low: [u8; 8], high: [u8; 8]) -> v128 {
        u64x2(u64::from_le_bytes(low), u64::from_le_bytes(high))
    }

    #[inline]
    fn mask(lanes: [v128; 4]) -> u64 {
        let [a, b, c, d] = lanes.map(|lane| u64::from(u8x16_bitmask(lane)));
        a | b << 16 | c << 32 | d << 48
    }

    /// The place of the first quote or backslash, 16 if there is none.
    #[inline]
    pub(super) fn first_special(bytes: &[u8; 16]) -> usize {
        let (words, _) = bytes.as_chunks();
        let lane = vector(words[0], words[1]);
        let quotes = u8x16_eq(lane, u8x16_splat(b'"'));
        let backslashes = u8x16_eq(lane, u8x16_splat(b'\\'));
        (u32::from(u8x16_bitmask(v128_or(quotes, backslashes))) | 1 << 16).trailing_zeros() as usize
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod lanes {
    use super::Look;

    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);

    /// Eight words.
    pub(super) struct Lanes([u64; 8]);

    impl Lanes {
        #[inline]
        pub(super) fn load(bytes: &[u8; 64]) -> Self {
            let (words, _) = bytes.as_chunks();
            let mut lanes = [0; 8];
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = u64::from_le_bytes(*word);
            }
            Self(lanes)
        }

        #[inline]
        pub(super) fn equal(&self, byte: u8) -> u64 {
            self.mask(|lane| zeros(lane ^ (ONES * u64::from(byte))))
        }

        #[inline]
        pub(super) fn equal_folded(&self, byte: u8) -> u64 {
            self.mask(|lane| zeros((lane | (ONES * 0x20)) ^ (ONES * u64::from(byte))))
        }

        #[inline]
        pub(super) fn have(&self, byte: u8) -> bool {
            self.0.iter().any(|lane| zeros(lane ^ (ONES * u64::from(byte))) != 0)
        }

        #[inline]
        pub(super) fn look(opening: &Self, firsts: &Self, closing: &Self, first: u8) -> Look {
            if opening.have(b'\\') {
                return Look::Backslash;
            }
            let hits = opening.equal(b'"') & closing.equal(b'"') & firsts.equal(first);
            if hits == 0 { Look::Nothing } else { Look::Maybe(hits) }
        }

        #[inline]
        fn mask(&self, hits: impl Fn(u64) -> u64) -> u64 {
            let eight = |lane: &u64| (hits(*lane) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            self.0.iter().rev().fold(0, |mask, lane| mask << 8 | eight(lane))
        }
    }

    /// The highest bit of each byte that is zero.
    #[inline]
    fn zeros(bytes: u64) -> u64 {
        !((bytes & !HIGHS).wrapping_add(!HIGHS) | bytes) & HIGHS
    }

    /// The place of the first quote or backslash, 8 if there is none.
    #[inline]
    pub(super) fn first_special(bytes: &[u8; 8]) -> usize {
        let word = u64::from_le_bytes(*bytes);
        let found =
            zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        (found.trailing_zeros() / 8) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_a_bit_for_each_place() {
        for length in 1..200 {
            let text: Vec<u8> =
                (0..length).map(|at| b"\"{[\\}]a\xff\xdb\x80!"[at * at % 11]).collect();
            for at in 0..length {
                let block = Block::at(&text, at);
                let end = length.min(at + Block::SIZE);
                let want = |is: &dyn Fn(u8) -> bool| {
                    let hits = text[at..end].iter().enumerate().filter(|(_, byte)| is(**byte));
                    hits.fold(0, |mask, (place, _)| mask | 1 << place)
                };
                for byte in [b'"', b'\\', b'a', 0xff, 0x80] {
                    assert_eq!(block.equal(byte), want(&|found| found == byte), "{at} {length}");
                    assert!(block.may_have(byte) || block.equal(byte) == 0);
                }
                assert_eq!(block.equal_folded(b'{'), want(&|found| b"[{".contains(&found)));
                assert_eq!(block.equal_folded(b'}'), want(&|found| b"]}".contains(&found)));
            }
        }
    }

    #[test]
    fn the_next_quote_or_backslash_is_found_at_any_distance() {
        for length in 0..80 {
            for special in ["", "\"", "\\"] {
                let text =
                    format!("{}{special}é\"", "é".repeat(length / 2) + &"!".repeat(length % 2));
                let want = text.find(['"', '\\']).unwrap();
                assert_eq!(to_special(text.as_bytes(), 0), want);
                assert_eq!(to_special(&text.as_bytes()[..want], 0), want, "none");
                assert_eq!(to_special(text.as_bytes(), text.len()), 0);
            }
        }
    }
}
