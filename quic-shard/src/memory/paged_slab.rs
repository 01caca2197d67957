//! A slab in pages: values are found by index, never move once they are in, and growing by a page never copies
//! what is there.
//!
//! A page is one large block, which the kernel is asked to back by huge pages: a session is some six kilobytes, and
//! with small pages nearly every packet misses the translation cache. Allocated one by one, sessions would fall into a
//! class of blocks 15 % larger than they are.

use super::huge_pages::{self, HUGE, Prefaulter};

/// Bytes of a page: sixteen huge pages. Of the last one only what is used is resident and the step after it, in steps of a
/// huge page.
const PAGE_BYTES: usize = 32 << 20;

/// Values by index, in pages of so many bytes.
pub struct PagedSlab<T, const BYTES: usize = PAGE_BYTES> {
    /// Each has room for [`Self::PAGE`] values from the beginning; only what was used once is touched. The last is
    /// added a step before it is needed.
    pages: Vec<Vec<Option<T>>>,
    prefaulter: Prefaulter,
    /// Indices that were used and are free again; the last is taken next.
    free: Vec<u32>,
    /// Indices from here on were never used.
    used: usize,
}

impl<T, const BYTES: usize> PagedSlab<T, BYTES> {
    /// Values that fit into a huge page, or into a page that is smaller than that.
    const STEP: usize = {
        let bytes = if BYTES < HUGE { BYTES } else { HUGE };
        let fitting = bytes / size_of::<Option<T>>();
        if fitting == 0 { 1 } else { fitting }
    };
    /// Values of a page.
    const PAGE: usize = Self::STEP * if BYTES < HUGE { 1 } else { BYTES / HUGE };

    /// None yet. `ahead` is asked for room before it is needed.
    pub fn new(prefaulter: Prefaulter) -> Self {
        Self {
            pages: Vec::new(),
            prefaulter,
            free: Vec::new(),
            used: 0,
        }
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.used - self.free.len()
    }

    /// Puts a value in; gives its index.
    pub fn insert(&mut self, value: T) -> usize {
        if let Some(index) = self.free.pop() {
            let index = index as usize;
            self.pages[index / Self::PAGE][index % Self::PAGE] = Some(value);
            return index;
        }
        let index = self.used;
        if index == 0 {
            self.add_page();
        }
        if index.is_multiple_of(Self::STEP) {
            self.make_ahead(index + Self::STEP);
        }
        self.pages[index / Self::PAGE].push(Some(value));
        self.used += 1;
        index
    }

    /// Has the step that begins with this index made, while the one before it is filled.
    fn make_ahead(&mut self, begin: usize) {
        if begin.is_multiple_of(Self::PAGE) {
            self.add_page();
        }
        let slot = begin % Self::PAGE;
        self.prefaulter
            .make(&self.pages[begin / Self::PAGE], slot..slot + Self::STEP);
    }

    fn add_page(&mut self) {
        let page = Vec::with_capacity(Self::PAGE);
        huge_pages::want(&page);
        self.pages.push(page);
    }

    /// One more than the highest index that was ever used.
    pub fn capacity(&self) -> usize {
        self.used
    }

    /// The value of an index.
    pub fn get(&self, index: usize) -> Option<&T> {
        let page = self.pages.get(index / Self::PAGE)?;
        page.get(index % Self::PAGE)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages
            .get_mut(index / Self::PAGE)?
            .get_mut(index % Self::PAGE)?
            .as_mut()
    }

    /// Asks the processor to fetch a value that is about to be used. With hundreds of thousands of sessions each packet
    /// finds its own outside of the caches, and waits for some thirty lines one after the other; asked for beforehand
    /// they come side by side.
    pub fn prefetch(&self, index: usize) {
        self.prefetch_begin(index, size_of::<Option<T>>());
    }

    /// The same for the first bytes of it. Whether there is a value is not looked at: that would wait for them.
    pub fn prefetch_begin(&self, index: usize, bytes: usize) {
        let slot = self
            .pages
            .get(index / Self::PAGE)
            .and_then(|page| page.get(index % Self::PAGE));
        if let Some(slot) = slot {
            prefetch_lines(std::ptr::from_ref(slot).cast(), bytes);
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let value = self
            .pages
            .get_mut(index / Self::PAGE)?
            .get_mut(index % Self::PAGE)?
            .take()?;
        self.free.push(index as u32);
        Some(value)
    }

    /// Indices of all values.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.pages.iter().enumerate().flat_map(|(page, slots)| {
            let taken = slots.iter().enumerate().filter(|(_, slot)| slot.is_some());
            taken.map(move |(slot, _)| page * Self::PAGE + slot)
        })
    }
}

/// Of the caches of x86-64 and most others.
pub const LINE_BYTES: usize = 64;

/// Asks for each cache line of so many bytes.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub fn prefetch_lines(begin: *const u8, bytes: usize) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    for at in (0..bytes).step_by(LINE_BYTES) {
        // SAFETY: a prefetch reads nothing that the program sees, and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(begin.wrapping_add(at).cast()) };
    }
}

/// Elsewhere the processor is left to itself.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub fn prefetch_lines(_begin: *const u8, _bytes: usize) {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Eight to a page, so that a test fills many.
    type Small = PagedSlab<u64, 128>;

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((0_usize..300, 0..4), 0..400)) {
            let (mut pages, mut map) = (Small::new(Prefaulter::new().0), BTreeMap::new());
            for (number, (index, what)) in steps.into_iter().enumerate() {
                if what > 0 {
                    let index = pages.insert(number as u64);
                    prop_assert!(map.insert(index, number as u64).is_none(), "index {} was taken", index);
                } else {
                    prop_assert_eq!(pages.remove(index), map.remove(&index));
                }
                prop_assert_eq!(pages.len(), map.len());
                prop_assert_eq!(pages.get_mut(index).copied(), map.get(&index).copied());
                prop_assert!(map.keys().all(|index| *index < pages.capacity()));
            }
            prop_assert!(pages.indices().eq(map.keys().copied()));
        }
    }

    /// What the pages are for: less than one in a hundred bytes of a page of sessions is nobody's.
    #[test]
    fn sessions_fill_their_pages() {
        type Bed = std::mem::MaybeUninit<crate::session::Session<[u64; 10]>>;
        let bytes = PagedSlab::<Bed>::PAGE * size_of::<Option<Bed>>();
        assert!(bytes > PAGE_BYTES / 100 * 99, "{bytes}");
    }
}
