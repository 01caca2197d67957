//! A slab in pages: values are found by index, never move once they are in, and growing by a page never copies
//! what is there.
//!
//! A page is as many values as fit a size that the allocator gives whole. Allocated one by one, sessions would fall
//! into a class of blocks 15 % larger than they are.

/// Bytes of a page: a power of two from which mimalloc rounds up by whole slices of 64 KiB, if at all.
const PAGE_BYTES: usize = 1 << 20;

/// Values by index, in pages of about a mebibyte.
pub struct Pages<T> {
    /// Each has room for [`Self::PAGE`] values from the beginning; only what was used once is touched.
    pages: Vec<Vec<Option<T>>>,
    /// Indices that were used and are free again; the last is taken next.
    free: Vec<u32>,
    /// Indices from here on were never used.
    used: usize,
}

impl<T> Pages<T> {
    /// Values of a page.
    const PAGE: usize = {
        let fitting = PAGE_BYTES / size_of::<Option<T>>();
        if fitting == 0 { 1 } else { fitting }
    };

    pub fn new() -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
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
        if index.is_multiple_of(Self::PAGE) {
            self.pages.push(Vec::with_capacity(Self::PAGE));
        }
        self.pages[index / Self::PAGE].push(Some(value));
        self.used += 1;
        index
    }

    /// One more than the highest index that was ever used.
    pub fn capacity(&self) -> usize {
        self.used
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages
            .get_mut(index / Self::PAGE)?
            .get_mut(index % Self::PAGE)?
            .as_mut()
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Some hundred to a page, so that a test fills more than one.
    type Large = [u64; 1_000];

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((0_usize..300, 0..4), 0..400)) {
            let (mut pages, mut map) = (Pages::<Large>::new(), BTreeMap::new());
            for (number, (index, what)) in steps.into_iter().enumerate() {
                if what > 0 {
                    let index = pages.insert([number as u64; 1_000]);
                    prop_assert!(map.insert(index, number as u64).is_none(), "index {} was taken", index);
                } else {
                    prop_assert_eq!(pages.remove(index).map(|value| value[999]), map.remove(&index));
                }
                prop_assert_eq!(pages.len(), map.len());
                prop_assert_eq!(pages.get_mut(index).map(|value| value[0]), map.get(&index).copied());
                prop_assert!(map.keys().all(|index| *index < pages.capacity()));
            }
            prop_assert!(pages.indices().eq(map.keys().copied()));
        }
    }

    /// What the pages are for: less than one in a hundred bytes of a page of sessions is nobody's.
    #[test]
    fn sessions_fill_their_pages() {
        type Sessions = Pages<crate::shard::session::Session>;
        let bytes = Sessions::PAGE * size_of::<Option<crate::shard::session::Session>>();
        assert!(bytes > PAGE_BYTES / 100 * 99, "{bytes}");
    }
}
