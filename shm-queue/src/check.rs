//! The check of a slot: what tells a whole record from a torn, stale or overwritten one. Pure arithmetic.

/// The check of a slot, fed word by word while the words are copied anyway.
///
/// Two lanes take turns, so that the multiplications of neighbouring words overlap. For fixed other words each step is a
/// bijection of the word, and so is the end up to its last shift: any change inside one word changes 64 bits of state,
/// of which 32 are kept. It finds accidents, not forgers: who can write a slot can write its check.
#[derive(Clone, Copy)]
pub(crate) struct Check(u64, u64);

impl Check {
    /// 2^64 divided by the golden ratio, odd (Knuth, TAOCP vol. 3, 6.4: multiplicative hashing).
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

    #[inline]
    pub(crate) fn new(position: u64, length: u32) -> Check {
        Check(
            position ^ Self::MULTIPLIER,
            u64::from(length).wrapping_add(1).wrapping_mul(Self::MULTIPLIER),
        )
    }

    #[inline]
    pub(crate) fn word(self, word: u64) -> Check {
        Check(self.1, (self.0 ^ word).wrapping_mul(Self::MULTIPLIER).rotate_left(29))
    }

    #[inline]
    pub(crate) fn finish(self) -> u32 {
        ((self.0 ^ self.1.rotate_left(23)).wrapping_mul(Self::MULTIPLIER) >> 32) as u32
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Check;

    fn check(position: u64, length: u32, words: &[u64]) -> u32 {
        words
            .iter()
            .fold(Check::new(position, length), |check, word| check.word(*word))
            .finish()
    }

    #[test]
    fn a_slot_that_was_never_written_is_not_sound() {
        for words in 0..8 {
            assert_ne!(check(0, words * 8, &vec![0; words as usize]), 0);
        }
    }

    #[test]
    fn every_single_bit_matters() {
        let words: Vec<u64> = (1..=9_u64).map(|at| at.wrapping_mul(0x0123_4567_89ab_cdef)).collect();
        for count in 0..=words.len() {
            let length = count as u32 * 8;
            let sound = check(77, length, &words[..count]);
            for bit in 0..64 {
                assert_ne!(
                    check(77 ^ 1 << bit, length, &words[..count]),
                    sound,
                    "position, bit {bit}"
                );
                for at in 0..count {
                    let mut changed = words[..count].to_vec();
                    changed[at] ^= 1 << bit;
                    assert_ne!(check(77, length, &changed), sound, "word {at} of {count}, bit {bit}");
                }
            }
            for bit in 0..32 {
                assert_ne!(
                    check(77, length ^ 1 << bit, &words[..count]),
                    sound,
                    "length, bit {bit}"
                );
            }
        }
    }

    #[test]
    fn the_order_of_words_matters() {
        let (first, second, third) = (0x1111, 0x2222, 0x3333);
        let sound = check(5, 24, &[first, second, third]);
        for other in [[second, first, third], [third, second, first], [first, third, second]] {
            assert_ne!(check(5, 24, &other), sound);
        }
    }
}
