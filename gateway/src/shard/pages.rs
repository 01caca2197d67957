//! A slab in pages: values are found by index, never move once they are in, and growing by a page never copies
//! what is there. Indices come from outside (quinn-proto hands out dense ones).

const PAGE: usize = 64;

/// Values by index, in pages of 64.
pub struct Pages<T> {
    pages: Vec<Box<[Option<T>]>>,
    len: usize,
}

impl<T> Pages<T> {
    pub fn new() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts a value at a free index.
    pub fn insert(&mut self, index: usize, value: T) {
        while self.pages.len() <= index / PAGE {
            self.pages.push((0..PAGE).map(|_| None).collect());
        }
        let slot = &mut self.pages[index / PAGE][index % PAGE];
        debug_assert!(slot.is_none(), "index {index} is taken");
        *slot = Some(value);
        self.len += 1;
    }

    /// One more than the highest index that there is room for.
    pub fn capacity(&self) -> usize {
        self.pages.len() * PAGE
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages.get_mut(index / PAGE)?[index % PAGE].as_mut()
    }

    pub fn remove(&mut self, index: usize) -> Option<T> {
        let value = self.pages.get_mut(index / PAGE)?[index % PAGE].take()?;
        self.len -= 1;
        Some(value)
    }

    /// Indices of all values.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.pages.iter().enumerate().flat_map(|(page, slots)| {
            let taken = slots.iter().enumerate().filter(|(_, slot)| slot.is_some());
            taken.map(move |(slot, _)| page * PAGE + slot)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((0_usize..300, any::<bool>()), 0..200)) {
            let (mut pages, mut map) = (Pages::new(), BTreeMap::new());
            for (index, put) in steps {
                if put {
                    if map.insert(index, index * 2).is_none() {
                        pages.insert(index, index * 2);
                    }
                } else {
                    prop_assert_eq!(pages.remove(index), map.remove(&index));
                }
                prop_assert_eq!(pages.len(), map.len());
                prop_assert_eq!(pages.get_mut(index).copied(), map.get(&index).copied());
            }
            prop_assert!(pages.indices().eq(map.keys().copied()));
        }
    }
}
