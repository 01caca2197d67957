//! A value in less memory: only those of its words for which a base has no substitute, and a bitmap of which those are (delta
//! encoding).
//!
//! To pack a value is to move it, and so is to unpack it: every word comes back as it was, in another place, which Rust
//! allows of any value. So nothing needs to be known of the type, not even of one with private fields from another
//! crate. While it is packed nobody can look at it.
//!
//! A word of the base must be as good as the value's own, and equal bits are not enough: an address may be that of a block
//! which was freed and allocated anew since the base was made, and an old pointer must not be used for the new block. So the
//! base is made of several values that are alive at one moment, word by word of what is the most frequent there, and stands for
//! two kinds of words only:
//!
//! - numbers below 2^16, where nothing is ever allocated;
//! - words in which most of these values agree. No two values own the same block, so an address there is of something static,
//!   or of something that they share, and whoever has the base keeps that alive. Two would do for that; most, because padding
//!   may have the address of what a value had once, and two may have had the same by chance.
//!
//! All other words are packed even where they are the same.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::without_provenance;

/// What a value is made of. Some words are padding, in whole or in part, and hold nothing. Others are pointers, so all are
/// handled as such: a pointer that is moved as a number would lose its provenance.
pub type Word = MaybeUninit<*const ()>;

/// Bytes within a value.
pub type ByteRange = std::ops::Range<usize>;

/// Words that one word of the bitmap tells of.
const BLOCK: usize = usize::BITS as usize;
/// Nothing is allocated below (`vm.mmap_min_addr` of Linux).
const ADDRESS_MIN: usize = 1 << 16;

/// The words that values of a type are held against.
pub struct DeltaBase<T> {
    words: Box<[Word]>,
    /// By the bits of the bitmap, the words that are packed even where they are the same.
    kept: Box<[usize]>,
    of: PhantomData<fn(T)>,
}

impl<T> DeltaBase<T> {
    const WORDS: usize = size_of::<T>() / size_of::<usize>();
    const BITMAP: usize = Self::WORDS.div_ceil(BLOCK);

    /// Makes one of which these values differ the least; none of fewer than two.
    ///
    /// # Safety
    /// All are initialised, and no two are the same. Where two have the same address within `shared`, it is of something that
    /// lives as long as the base is used.
    pub unsafe fn choose(values: &[&MaybeUninit<T>], shared: &ByteRange) -> Option<Self> {
        if values.len() < 2 {
            return None;
        }
        let mut kept = vec![0; Self::BITMAP];
        let words = (0..Self::WORDS).map(|at| {
            let (word, agreeing) = most_frequent(values.iter().map(|value| frozen(&words(value)[at])));
            if word.addr() < ADDRESS_MIN {
                return Word::new(without_provenance(word.addr()));
            }
            let is_agreed = agreeing > values.len() / 2 && is_within(at, shared);
            kept[at / BLOCK] |= usize::from(!is_agreed) << (at % BLOCK);
            Word::new(word)
        });
        Some(Self {
            words: words.collect(),
            kept: kept.into(),
            of: PhantomData,
        })
    }

    /// Of each block of a value's words those that are packed, as bits.
    fn deltas<'a>(&'a self, value: &'a MaybeUninit<T>) -> impl Iterator<Item = (&'a [Word], usize)> {
        let blocks = words(value).chunks(BLOCK).zip(self.words.chunks(BLOCK));
        let blocks = blocks.zip(&self.kept);
        blocks.map(|((own, base), kept)| (own, differences(own, base) | kept))
    }

    /// Moves a value out of its place: first its bitmap, then its words of which that tells, in their order. Says how many words
    /// that took; nothing, and nothing was moved, when there is no room for them.
    ///
    /// # Safety
    /// The value is initialised. When it was moved its place is as after any other move.
    pub unsafe fn pack(&self, value: &MaybeUninit<T>, into: &mut [Word]) -> Option<usize> {
        let (bitmap, rest) = into.split_at_mut_checked(Self::BITMAP)?;
        let mut used = 0;
        for (place, (own, bits)) in bitmap.iter_mut().zip(self.deltas(value)) {
            place.write(without_provenance(bits));
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
    pub unsafe fn pack_boxed(&self, value: &MaybeUninit<T>) -> Box<[Word]> {
        let mut block = vec![Word::uninit(); Self::BITMAP + Self::WORDS];
        // SAFETY: what is asked of our caller.
        let used = unsafe { self.pack(value, &mut block) };
        block.truncate(used.expect("room for all"));
        block.into()
    }

    /// Moves a packed value into a place.
    ///
    /// # Safety
    /// It was packed against this base, and is not moved out of there again.
    pub unsafe fn unpack(&self, packed: &[Word], into: &mut MaybeUninit<T>) {
        // SAFETY: the words lie within the place, are aligned as it is, and may hold anything.
        let words = unsafe { std::slice::from_raw_parts_mut(into.as_mut_ptr().cast::<Word>(), Self::WORDS) };
        words.copy_from_slice(&self.words);
        let (bitmap, mut rest) = packed.split_at(Self::BITMAP);
        for (bits, words) in bitmap.iter().zip(words.chunks_mut(BLOCK)) {
            // SAFETY: `pack` wrote the whole bitmap.
            let bits = unsafe { bits.assume_init() }.addr();
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

/// The word that is there the most often, and how often; the first of several.
fn most_frequent(words: impl Iterator<Item = *const ()> + Clone) -> (*const (), usize) {
    let count = |word: *const ()| words.clone().filter(|other| other.addr() == word.addr()).count();
    let counted = words.clone().map(|word| (word, count(word)));
    counted
        .reduce(|best, one| if one.1 > best.1 { one } else { best })
        .unwrap_or((std::ptr::null(), 0))
}

/// Whether all of a word lies within these bytes.
fn is_within(word: usize, bytes: &ByteRange) -> bool {
    let begin = word * size_of::<usize>();
    bytes.start <= begin && begin + size_of::<usize>() <= bytes.end
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
/// processor; so it is the processor that is asked: four words at a time where it can, or one.
#[cfg(all(target_arch = "x86_64", not(miri)))]
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

/// What the processor has where a word is, padding or not.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn frozen(word: &Word) -> *const () {
    let read: *const ();
    // SAFETY: reads that word.
    unsafe {
        std::arch::asm!(
            "mov {read}, [{word}]",
            word = in(reg) std::ptr::from_ref(word),
            read = lateout(reg) read,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    read
}

/// Miri knows no assembler, and is given values without padding.
#[cfg(miri)]
fn differences(own: &[Word], others: &[Word]) -> usize {
    let both = own.iter().zip(others).enumerate();
    both.fold(0, |bits, (at, (own, other))| {
        bits | usize::from(frozen(own).addr() != frozen(other).addr()) << at
    })
}

/// The same.
#[cfg(miri)]
fn frozen(word: &Word) -> *const () {
    // SAFETY: it is given values without padding.
    unsafe { word.assume_init() }
}

/// Elsewhere no two words are known to be the same.
#[cfg(not(any(target_arch = "x86_64", miri)))]
fn differences(own: &[Word], _others: &[Word]) -> usize {
    usize::MAX >> (BLOCK - own.len())
}

/// So the base stands for none.
#[cfg(not(any(target_arch = "x86_64", miri)))]
fn frozen(_word: &Word) -> *const () {
    std::ptr::null()
}

#[cfg(test)]
mod tests;
