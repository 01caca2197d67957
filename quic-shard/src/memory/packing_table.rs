//! Values by index, of which those that are idle are packed. A session is a hundred lines of the caches, most of which are the
//! same in all sessions that are quiet, so one that nothing happens to takes a third of the memory. Whoever asks for it has it
//! unpacked.
//!
//! ```text
//! slots   by index, one for each value: where it lies, and room for it packed
//! active  those that are not packed, in places that are used again and again
//! ```
//! With many sessions they are packed as soon as nothing is under way for them, mostly with the phone's acknowledgement of an
//! answer, while they are in the caches.

use super::delta::{DeltaBase, Word};
use super::huge_pages::Prefaulter;
use super::packable::Packable;
use super::paged_slab::{PagedSlab, prefetch_lines};
use std::collections::VecDeque;
use std::mem::{MaybeUninit, offset_of};
use std::sync::Arc;
use std::time::Instant;

/// The most that are packed at one time: more than a batch of packets has unpacked.
const ROUND: usize = 256;
/// Words of a packed value that have room in its slot: so that a slot is 39 lines of the caches. Most sessions take 230 to 300.
const ROOM: usize = 307;

/// When values are packed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Not before there are more than so many.
    pub above: usize,
    /// So many idle ones the base is chosen from, two at least.
    pub candidates: usize,
}

/// Values by index.
pub struct PackingTable<T: Packable> {
    rules: Rules,
    slots: PagedSlab<Slot>,
    active: PagedSlab<MaybeUninit<T>>,
    /// Places of `active` without a value. The last is taken next.
    vacant: Vec<u32>,
    /// Indices of values that are active and may have nothing more to do.
    idle_queue: VecDeque<u32>,
    /// Made before the first is packed, and never again: what is packed was packed against it.
    base: Option<DeltaBase<T>>,
    /// What the values share that the base was made of: alive as long as it is.
    shared: Vec<Arc<T::Shared>>,
    packed: usize,
}

/// In this order: where the value lies is in the line that its packed words begin in.
#[repr(C, align(64))]
struct Slot {
    residency: Residency,
    room: [Word; ROOM],
}

const _: () = assert!(size_of::<Option<Slot>>() == 39 * 64, "lines of the caches");

/// Where a value lies; of one that is packed also when it is needed by the clock.
enum Residency {
    /// In this place of those that are not packed.
    Active(u32),
    /// Packed in its slot, in so many words.
    Inline(Instant, u16),
    /// Packed in a block of its own, because its slot has not the room.
    Boxed(Instant, Box<[Word]>),
}

impl<T: Packable> PackingTable<T> {
    /// None yet.
    pub fn new(prefaulter: &Prefaulter, rules: Rules) -> Self {
        Self {
            rules,
            slots: PagedSlab::new(prefaulter.clone()),
            active: PagedSlab::new(prefaulter.clone()),
            vacant: Vec::new(),
            idle_queue: VecDeque::new(),
            base: None,
            shared: Vec::new(),
            packed: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many of them are packed.
    pub fn packed(&self) -> usize {
        self.packed
    }

    /// One more than the highest index that was ever used.
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Indices of all values.
    pub fn indices(&self) -> Vec<usize> {
        self.slots.indices().collect()
    }

    /// Puts a value in, and what it shares with others; gives its index.
    pub fn insert(&mut self, value: T, shared: &Arc<T::Shared>) -> usize {
        if self.base.is_none() && !self.shared.iter().any(|kept| Arc::ptr_eq(kept, shared)) {
            // What nobody else has any more, no value shares.
            self.shared.retain(|kept| Arc::strong_count(kept) > 1);
            self.shared.push(Arc::clone(shared));
        }
        let place = self.vacant_place();
        let index = self.slots.insert(Slot {
            residency: Residency::Active(place as u32),
            room: [Word::uninit(); ROOM],
        });
        if let Some(place) = self.active.get_mut(place) {
            place.write(value);
        }
        index
    }

    /// A place to put a value into.
    fn vacant_place(&mut self) -> usize {
        match self.vacant.pop() {
            Some(place) => place as usize,
            None => self.active.insert(MaybeUninit::uninit()),
        }
    }

    /// For now nothing is under way for a value.
    pub fn mark_idle(&mut self, index: usize) {
        if self.len() > self.rules.above {
            self.idle_queue.push_back(index as u32);
        }
    }

    /// The value, unpacked.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let place = match self.slots.get(index)?.residency {
            Residency::Active(place) => place as usize,
            _ => self.unpack(index)?,
        };
        let place = self.active.get_mut(place)?;
        // SAFETY: its slot says that it lies there.
        Some(unsafe { place.assume_init_mut() })
    }

    /// Moves a value that is packed into a place of those that are not.
    fn unpack(&mut self, index: usize) -> Option<usize> {
        let number = self.vacant_place();
        let slot = self.slots.get_mut(index)?;
        let place = self.active.get_mut(number)?;
        let base = self.base.as_ref()?;
        let residency = std::mem::replace(&mut slot.residency, Residency::Active(number as u32));
        let packed = match &residency {
            Residency::Inline(_, words) => &slot.room[..usize::from(*words)],
            Residency::Boxed(_, words) => words,
            Residency::Active(_) => return None,
        };
        // SAFETY: there is only the one base, and from here on the value lies in that place.
        unsafe { base.unpack(packed, place) };
        self.idle_queue.push_back(index as u32);
        self.packed -= 1;
        Some(number)
    }

    /// Takes a value out.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        self.get_mut(index)?;
        let slot = self.slots.remove(index)?;
        let Residency::Active(place) = slot.residency else {
            return None;
        };
        self.vacant.push(place);
        let place = self.active.get_mut(place as usize)?;
        // SAFETY: it lies there, and with its slot gone and its place vacant nobody finds it again.
        Some(unsafe { place.assume_init_read() })
    }

    /// When a value that is packed is needed by the clock; nothing for one that is not.
    pub fn packed_until(&self, index: usize) -> Option<Instant> {
        match self.slots.get(index)?.residency {
            Residency::Active(_) => None,
            Residency::Inline(deadline, _) | Residency::Boxed(deadline, _) => Some(deadline),
        }
    }

    /// Asks the processor for what [`Self::prefetch`] and [`Self::packed_until`] look at.
    pub fn prefetch_slot(&self, index: usize) {
        self.slots.prefetch_begin(index, 1);
    }

    /// Asks the processor for a value that is about to be needed.
    pub fn prefetch(&self, index: usize) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        match &slot.residency {
            Residency::Active(place) => self.active.prefetch(*place as usize),
            Residency::Inline(_, words) => {
                let end = offset_of!(Slot, room) + usize::from(*words) * size_of::<Word>();
                self.slots.prefetch_begin(index, end);
            }
            Residency::Boxed(_, words) => prefetch_lines(words.as_ptr().cast(), size_of_val(&**words)),
        }
    }

    /// Packs those that have nothing more to do.
    pub fn pack_idle(&mut self, now: Instant) {
        if self.base.is_none() {
            self.choose_base();
        }
        if self.base.is_some() {
            for _ in 0..self.idle_queue.len().min(ROUND) {
                if let Some(index) = self.idle_queue.pop_front() {
                    self.pack(index as usize, now);
                }
            }
        }
    }

    /// Makes the base, once there are enough candidates. A value may be in the queue more than once.
    fn choose_base(&mut self) {
        let wanted = self.rules.candidates;
        if self.idle_queue.len() < wanted {
            return;
        }
        let mut indices: Vec<u32> = self.idle_queue.drain(..).collect();
        indices.sort_unstable();
        indices.dedup();
        indices.retain(|index| self.slots.get(*index as usize).is_some());
        self.idle_queue.extend(indices);
        let place = |index: &u32| match self.slots.get(*index as usize)?.residency {
            Residency::Active(place) => self.active.get(place as usize),
            _ => None,
        };
        let candidates: Vec<&MaybeUninit<T>> = self.idle_queue.iter().filter_map(place).take(wanted).collect();
        if candidates.len() == wanted {
            // SAFETY: their slots say that they lie there, each index was taken once, and what they share is kept in `shared`
            // since they were put in.
            self.base = unsafe { DeltaBase::choose(&candidates, &T::SHARING) };
        }
    }

    fn pack(&mut self, index: usize, now: Instant) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Residency::Active(number) = slot.residency else {
            return;
        };
        let Some(place) = self.active.get_mut(number as usize) else {
            return;
        };
        // SAFETY: its slot says that it lies there.
        let value = unsafe { place.assume_init_mut() };
        let (Some(deadline), Some(base)) = (value.idle_until(now), &self.base) else {
            return;
        };
        // SAFETY: it is initialised, and once it was moved its slot no longer says that it lies there.
        slot.residency = match unsafe { base.pack(place, &mut slot.room) } {
            Some(words) => Residency::Inline(deadline, words as u16),
            // SAFETY: the same; it was not moved yet.
            None => Residency::Boxed(deadline, unsafe { base.pack_boxed(place) }),
        };
        self.vacant.push(number);
        self.packed += 1;
    }
}

impl<T: Packable> Drop for PackingTable<T> {
    /// Those packed are unpacked one by one, and those active dropped: neither places nor slots do that.
    fn drop(&mut self) {
        for index in self.indices() {
            self.remove(index);
        }
    }
}
