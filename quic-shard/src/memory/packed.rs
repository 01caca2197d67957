//! A value in less memory: only those of its words that differ from a template's, and a bitmap of which those are.
//!
//! To pack a value is to move it, and so is to unpack it: every word comes back as it was, in another place, which Rust
//! allows of any value. So nothing needs to be known of the type, not even of one with private fields from another
//! crate. While it is packed nobody can look at it.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// What a value is made of. Some words are padding, in whole or in part, and hold nothing; others are pointers.
pub type Word = MaybeUninit<usize>;

/// Words that one word of the bitmap tells of.
const BLOCK: usize = usize::BITS as usize;

/// The words that values of a type are held against: those of one of them.
pub struct Template<T> {
    words: Box<[Word]>,
    of: PhantomData<fn(T)>,
}

impl<T> Template<T> {
    const WORDS: usize = size_of::<T>() / size_of::<usize>();
    const BITMAP: usize = Self::WORDS.div_ceil(BLOCK);

    /// Takes a copy of the words of a value.
    pub fn of(value: &MaybeUninit<T>) -> Self {
        Self {
            words: words(value).into(),
            of: PhantomData,
        }
    }

    /// In how many words a value differs.
    pub fn distance(&self, value: &MaybeUninit<T>) -> usize {
        let blocks = words(value).chunks(BLOCK).zip(self.words.chunks(BLOCK));
        blocks
            .map(|(own, others)| differences(own, others).count_ones() as usize)
            .sum()
    }

    /// Moves a value out of its place: first its bitmap, then the words that differ, in their order. Says how many words
    /// that took; nothing, and nothing was moved, when there is no room for them.
    ///
    /// # Safety
    /// The value is initialised. When it was moved its place is as after any other move.
    pub unsafe fn pack(&self, value: &MaybeUninit<T>, into: &mut [Word]) -> Option<usize> {
        let words = words(value);
        let (bitmap, rest) = into.split_at_mut_checked(Self::BITMAP)?;
        let mut used = 0;
        for (place, (own, others)) in bitmap.iter_mut().zip(words.chunks(BLOCK).zip(self.words.chunks(BLOCK))) {
            let bits = differences(own, others);
            place.write(bits);
            for (place, at) in rest
                .get_mut(used..used + bits.count_ones() as usize)?
                .iter_mut()
                .zip(ones(bits))
            {
                *place = own[at];
            }
            used += bits.count_ones() as usize;
        }
        Some(Self::BITMAP + used)
    }

    /// The same into a block of its own.
    ///
    /// # Safety
    /// The value is initialised. From here on its place is as after any other move.
    pub unsafe fn pack_outside(&self, value: &MaybeUninit<T>) -> Box<[Word]> {
        let mut block = vec![Word::uninit(); Self::BITMAP + Self::WORDS];
        // SAFETY: what is asked of our caller.
        let used = unsafe { self.pack(value, &mut block) };
        block.truncate(used.expect("room for all"));
        block.into()
    }

    /// Moves a packed value into a place.
    ///
    /// # Safety
    /// It was packed against this template, and is not moved out of there again.
    pub unsafe fn unpack(&self, packed: &[Word], into: &mut MaybeUninit<T>) {
        // SAFETY: the words lie within the place, are aligned as it is, and may hold anything.
        let words = unsafe { std::slice::from_raw_parts_mut(into.as_mut_ptr().cast::<Word>(), Self::WORDS) };
        words.copy_from_slice(&self.words);
        let (bitmap, mut rest) = packed.split_at(Self::BITMAP);
        for (bits, words) in bitmap.iter().zip(words.chunks_mut(BLOCK)) {
            // SAFETY: `pack` wrote the whole bitmap.
            let bits = unsafe { bits.assume_init() };
            for (at, own) in ones(bits).zip(rest) {
                words[at] = *own;
            }
            rest = &rest[bits.count_ones() as usize..];
        }
    }
}

fn words<T>(value: &MaybeUninit<T>) -> &[Word] {
    const {
        assert!(size_of::<T>().is_multiple_of(size_of::<usize>()));
        assert!(align_of::<T>() >= align_of::<usize>());
    }
    // SAFETY: the words lie within the value, are aligned as it is, and may hold anything.
    unsafe { std::slice::from_raw_parts(value.as_ptr().cast(), size_of::<T>() / size_of::<usize>()) }
}

/// Which bits are set, from the lowest on.
fn ones(mut bits: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lowest
    })
}

/// Which of up to [`BLOCK`] words differ, the first in the lowest bit. Padding holds nothing for Rust, but something for the
/// processor; so it is the processor that is asked: four words at a time where it can, which takes 0.25 us for a session, or
/// one, 0.80 us (in the caches, AMD Zen 4).
#[cfg(target_arch = "x86_64")]
fn differences(own: &[Word], others: &[Word]) -> usize {
    let mut bits = 0;
    let left = own.len().min(others.len()).min(BLOCK);
    if left == BLOCK && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: reads that many words of both, four at a time and the last first.
        unsafe {
            std::arch::asm!(
                "2:",
                "vmovdqu ymm0, [{own} + 8 * {left} - 32]",
                "vpcmpeqq ymm0, ymm0, [{others} + 8 * {left} - 32]",
                "vmovmskpd {four:e}, ymm0",
                "shl {same}, 4",
                "or {same}, {four}",
                "sub {left}, 4",
                "jnz 2b",
                "vzeroupper",
                four = out(reg) _,
                same = inout(reg) bits,
                left = inout(reg) left => _,
                own = in(reg) own.as_ptr(),
                others = in(reg) others.as_ptr(),
                out("xmm0") _,
                options(pure, readonly, nostack)
            );
        }
        bits = !bits;
    } else if left > 0 {
        // SAFETY: reads as many words of both as there are, the last first. To negate a word that is not zero sets the
        // carry, and the addition doubles the bits and adds it.
        unsafe {
            std::arch::asm!(
                "2:",
                "mov {word}, [{own} + 8 * {left} - 8]",
                "xor {word}, [{others} + 8 * {left} - 8]",
                "neg {word}",
                "adc {bits}, {bits}",
                "dec {left}",
                "jnz 2b",
                word = out(reg) _,
                bits = inout(reg) bits,
                left = inout(reg) left => _,
                own = in(reg) own.as_ptr(),
                others = in(reg) others.as_ptr(),
                options(pure, readonly, nostack)
            );
        }
    }
    bits
}

/// Elsewhere no two words are known to be the same.
#[cfg(not(target_arch = "x86_64"))]
fn differences(own: &[Word], _others: &[Word]) -> usize {
    usize::MAX >> (BLOCK - own.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// Something of all that a session has: padding, pointers, enums, what is shared.
    #[derive(Debug, Clone, PartialEq)]
    struct Value {
        small: u8,
        large: u64,
        text: String,
        shared: Arc<str>,
        map: BTreeMap<u16, String>,
        choice: Option<(u8, u64)>,
        many: [u64; 100],
    }

    fn values() -> impl Strategy<Value = Value> {
        let map = proptest::collection::btree_map(any::<u16>(), ".*", 0..20);
        let many = proptest::collection::vec((0..100_usize, 0..3_u64), 0..100);
        (any::<u8>(), 0..3_u64, ".*", map, any::<Option<(u8, u64)>>(), many).prop_map(
            |(small, large, text, map, choice, different)| {
                let mut many = [0; 100];
                different.into_iter().for_each(|(at, number)| many[at] = number);
                let shared = text.as_str().into();
                Value {
                    small,
                    large,
                    text,
                    shared,
                    map,
                    choice,
                    many,
                }
            },
        )
    }

    proptest! {
        /// Each comes back as it was, can be changed and packed again, and is dropped once.
        #[test]
        fn what_is_unpacked_is_what_was_packed(values in proptest::collection::vec(values(), 1..10)) {
            let mut first = MaybeUninit::new(values[0].clone());
            let template = Template::of(&first);
            // SAFETY: it holds a value, and is not used again.
            unsafe { first.assume_init_drop() };
            for value in &values {
                let mut expected = value.clone();
                let mut place = MaybeUninit::new(value.clone());
                for _ in 0..3 {
                    // SAFETY: `place` holds a value before, and again after.
                    let back = unsafe {
                        let packed = template.pack_outside(&place);
                        place = MaybeUninit::uninit();
                        template.unpack(&packed, &mut place);
                        place.assume_init_mut()
                    };
                    prop_assert_eq!(&*back, &expected);
                    for value in [back, &mut expected] {
                        value.large += 1;
                        value.text.push('x');
                    }
                }
                prop_assert_eq!(Arc::strong_count(&value.shared), 3);
                // SAFETY: it holds a value, and is not used again.
                drop(unsafe { place.assume_init() });
                prop_assert_eq!(Arc::strong_count(&value.shared), 2);
            }
        }
    }

    #[test]
    fn only_what_differs_takes_room() {
        let template = Template::of(&MaybeUninit::new([7_u64; 100]));
        let mut value = [7; 100];
        value[3] = 1;
        value[64] = 2;
        value[99] = 3;
        let place = MaybeUninit::new(value);
        let mut room = [Word::uninit(); 5];
        // SAFETY: the value can be moved as often as one likes.
        unsafe {
            assert_eq!(
                template.pack(&place, &mut room[..4]),
                None,
                "two for the bitmap, three that differ"
            );
            assert_eq!(template.pack(&place, &mut room), Some(5));
            let mut place = MaybeUninit::uninit();
            template.unpack(&room, &mut place);
            assert_eq!(place.assume_init(), value);
        }
    }
}
