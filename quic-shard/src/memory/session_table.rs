//! The sessions of a shard, awake and asleep. A session is a hundred lines of the caches, most of which are the same in
//! all sessions that are quiet; so one that nothing happens to is put to sleep: packed, in a third of the memory. Whoever
//! asks for it wakes it.
//!
//! ```text
//! slots  by index, one for each session: where it lies, and room for it packed
//! beds   those awake, used again and again
//! ```
//! A shard with many sessions puts them to sleep as soon as nothing is under way for them, mostly with the phone's
//! acknowledgement of an answer, while they are in the caches.

use super::huge_pages::Ahead;
use super::packed::{Template, Word};
use super::pages::{Pages, prefetch_lines};
use crate::session::Session;
use std::collections::VecDeque;
use std::mem::{MaybeUninit, offset_of};
use std::time::Instant;

/// A shard with so many sessions or fewer puts none to sleep: it has the memory, and saves the CPU time. Builds that check
/// what they do begin with a few, so that every test has sessions asleep.
const FEW: usize = if cfg!(debug_assertions) { 2 } else { 65_536 };
/// The most that are put to sleep at one time: more than a batch of packets wakes.
const ROUND: usize = 256;
/// So many sessions the template is chosen from.
const CANDIDATES: usize = if cfg!(debug_assertions) { 1 } else { 16 };
/// Room for a packed session in its slot: so that a slot is 40 lines of the caches. Most take 240 to 290 words.
const ROOM: usize = 315;

/// The sessions of a shard by index.
pub struct SessionTable<S> {
    slots: Pages<Slot>,
    beds: Pages<MaybeUninit<Session<S>>>,
    /// Beds without a session. The last is taken next.
    empty: Vec<u32>,
    /// Indices of sessions that are awake and may have nothing more to do.
    tired: VecDeque<u32>,
    /// Made before the first is put to sleep, and never again: what sleeps was packed against it.
    template: Option<Template<Session<S>>>,
    asleep: usize,
}

/// In this order: where the session lies is in the line that its packed words begin in.
#[repr(C, align(64))]
struct Slot {
    lies: Lies,
    room: [Word; ROOM],
}

const _: () = assert!(size_of::<Option<Slot>>() == 40 * 64, "lines of the caches");

/// Where a session lies; of one that sleeps also when it is to be woken at the latest.
enum Lies {
    /// Awake in this bed.
    InBed(u32),
    /// Packed in its slot, in so many words.
    InSlot(Instant, u16),
    /// Packed in a block of its own, because its slot has not the room.
    Outside(Instant, Box<[Word]>),
}

impl<S> SessionTable<S> {
    /// None yet.
    pub fn new(ahead: &Ahead) -> Self {
        Self {
            slots: Pages::new(ahead.clone()),
            beds: Pages::new(ahead.clone()),
            empty: Vec::new(),
            tired: VecDeque::new(),
            template: None,
            asleep: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many of them are packed.
    pub fn asleep(&self) -> usize {
        self.asleep
    }

    /// One more than the highest index that was ever used.
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Indices of all sessions.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        self.slots.indices()
    }

    /// Puts a session in, awake; gives its index.
    pub fn insert(&mut self, session: Session<S>) -> usize {
        let bed = self.empty_bed();
        let index = self.slots.insert(Slot {
            lies: Lies::InBed(bed as u32),
            room: [Word::uninit(); ROOM],
        });
        if let Some(place) = self.beds.get_mut(bed) {
            place.write(session);
        }
        index
    }

    /// A bed to put a session into.
    fn empty_bed(&mut self) -> usize {
        match self.empty.pop() {
            Some(bed) => bed as usize,
            None => self.beds.insert(MaybeUninit::uninit()),
        }
    }

    /// For now nothing is under way for a session.
    pub fn may_sleep(&mut self, index: usize) {
        if self.len() > FEW {
            self.tired.push_back(index as u32);
        }
    }

    /// The session, woken if it sleeps.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Session<S>> {
        let bed = match self.slots.get(index)?.lies {
            Lies::InBed(bed) => bed as usize,
            _ => self.wake(index)?,
        };
        let place = self.beds.get_mut(bed)?;
        // SAFETY: its slot says that it lies there.
        Some(unsafe { place.assume_init_mut() })
    }

    /// Moves a session that sleeps into a bed.
    fn wake(&mut self, index: usize) -> Option<usize> {
        let bed = self.empty_bed();
        let slot = self.slots.get_mut(index)?;
        let place = self.beds.get_mut(bed)?;
        let template = self.template.as_ref()?;
        let lies = std::mem::replace(&mut slot.lies, Lies::InBed(bed as u32));
        let packed = match &lies {
            Lies::InSlot(_, words) => &slot.room[..usize::from(*words)],
            Lies::Outside(_, words) => words,
            Lies::InBed(_) => return None,
        };
        // SAFETY: there is only the one template, and from here on the session lies in the bed.
        unsafe { template.unpack(packed, place) };
        self.tired.push_back(index as u32);
        self.asleep -= 1;
        Some(bed)
    }

    /// Takes a session out.
    pub fn remove(&mut self, index: usize) -> Option<Session<S>> {
        self.get_mut(index)?;
        let slot = self.slots.remove(index)?;
        let Lies::InBed(bed) = slot.lies else {
            return None;
        };
        self.empty.push(bed);
        let place = self.beds.get_mut(bed as usize)?;
        // SAFETY: it lies there, and with its slot gone and its bed empty nobody finds it again.
        Some(unsafe { place.assume_init_read() })
    }

    /// When a session that sleeps is to be woken; nothing for one that is awake.
    pub fn sleeps_until(&self, index: usize) -> Option<Instant> {
        match self.slots.get(index)?.lies {
            Lies::InBed(_) => None,
            Lies::InSlot(deadline, _) | Lies::Outside(deadline, _) => Some(deadline),
        }
    }

    /// Asks the processor for what [`Self::prefetch`] and [`Self::sleeps_until`] look at.
    pub fn prefetch_slot(&self, index: usize) {
        self.slots.prefetch_begin(index, 1);
    }

    /// Asks the processor for a session that is about to be needed.
    pub fn prefetch(&self, index: usize) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        match &slot.lies {
            Lies::InBed(bed) => self.beds.prefetch(*bed as usize),
            Lies::InSlot(_, words) => {
                let end = offset_of!(Slot, room) + usize::from(*words) * size_of::<Word>();
                self.slots.prefetch_begin(index, end);
            }
            Lies::Outside(_, words) => prefetch_lines(words.as_ptr().cast(), size_of_val(&**words)),
        }
    }

    /// Puts those to sleep that have nothing more to do.
    pub fn rest(&mut self, now: Instant) {
        if self.template.is_none() {
            if self.tired.len() < CANDIDATES {
                return;
            }
            self.template = self.choose_template();
        }
        for _ in 0..self.tired.len().min(ROUND) {
            if let Some(index) = self.tired.pop_front() {
                self.put_to_sleep(index as usize, now);
            }
        }
    }

    /// Of some sessions the one that the others differ from the least.
    fn choose_template(&self) -> Option<Template<Session<S>>> {
        let place = |index: &u32| match self.slots.get(*index as usize)?.lies {
            Lies::InBed(bed) => self.beds.get(bed as usize),
            _ => None,
        };
        let candidates: Vec<&MaybeUninit<Session<S>>> = self.tired.iter().filter_map(place).take(CANDIDATES).collect();
        let templates = candidates.iter().map(|place| Template::of(place));
        templates.min_by_key(|template| candidates.iter().map(|place| template.distance(place)).sum::<usize>())
    }

    fn put_to_sleep(&mut self, index: usize, now: Instant) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Lies::InBed(bed) = slot.lies else {
            return;
        };
        let Some(place) = self.beds.get_mut(bed as usize) else {
            return;
        };
        // SAFETY: its slot says that it lies there.
        let session = unsafe { place.assume_init_mut() };
        let transport = &mut session.transport;
        let Some(deadline) = transport
            .deadline()
            .filter(|deadline| transport.is_quiet(now, *deadline))
        else {
            return;
        };
        let Some(template) = &self.template else {
            return;
        };
        // SAFETY: it is initialised, and once it was moved its slot no longer says that it lies there.
        slot.lies = match unsafe { template.pack(place, &mut slot.room) } {
            Some(words) => Lies::InSlot(deadline, words as u16),
            // SAFETY: the same; it was not moved yet.
            None => Lies::Outside(deadline, unsafe { template.pack_outside(place) }),
        };
        self.empty.push(bed);
        self.asleep += 1;
    }
}

impl<S> Drop for SessionTable<S> {
    /// Those asleep are woken one by one, and those awake dropped: neither beds nor slots do that.
    fn drop(&mut self) {
        let all: Vec<usize> = self.indices().collect();
        for index in all {
            self.remove(index);
        }
    }
}
