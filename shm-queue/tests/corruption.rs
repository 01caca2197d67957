//! Bytes that something else wrote: each damage has its named error, and no damage anywhere makes a panic, a hang or
//! a record that was never pushed.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use common::{Place, geometry, payload};
use proptest::prelude::*;
use shm_queue::{CorruptSlot, Error, Mapping, PushError, ReadError, Side, SlotFault};

const SLOTS: u32 = 8;
const PAYLOAD: u32 = 24;

/// Offsets of the drawing in `layout.rs`, for one bell and one sleeper.
const CONTROL: u64 = 4096;
const RING_0: u64 = CONTROL + 4 * 128;
const HEAD: u64 = RING_0;
const TAIL: u64 = RING_0 + 128;
const SLOT: u64 = 16 + PAYLOAD as u64;

fn slot(index: u64) -> u64 {
    RING_0 + 256 + index * SLOT
}

fn length_of(position: u64) -> usize {
    (position % 25) as usize
}

/// A mapping with records in both rings, some of them committed and the first slots in their second lap.
fn filled() -> Place {
    let place = Place::new();
    let mapping = place.create(&geometry(SLOTS, PAYLOAD));
    let front = mapping.attach(Side::Front, 1).unwrap();
    let back = mapping.attach(Side::Back, 1).unwrap();
    for (ring, from, to) in [(0, &front, &back), (1, &back, &front)] {
        let (mut producer, mut consumer) = (from.producer(ring).unwrap(), to.consumer(ring).unwrap());
        for position in 0..11 {
            producer.push(&payload(position, length_of(position))).unwrap();
            if position == 6 {
                assert_eq!(consumer.read_batch(5, |_, _| ()).unwrap(), 5);
                consumer.commit(5).unwrap();
            }
        }
    }
    place
}

fn raw(place: &Place) -> File {
    OpenOptions::new().read(true).write(true).open(&place.path).unwrap()
}

fn write(place: &Place, at: u64, bytes: &[u8]) {
    raw(place).write_all_at(bytes, at).unwrap();
}

#[test]
fn each_damage_of_the_header_has_its_error() {
    let check = |damage: &dyn Fn(&Place), expected: fn(&Error) -> bool| {
        let place = filled();
        damage(&place);
        let error = Mapping::open(&place.path).unwrap_err();
        assert!(expected(&error), "{error:?}");
    };
    check(&|place| write(place, 0, b"x"), |error| {
        matches!(error, Error::Magic { .. })
    });
    check(&|place| write(place, 8, &[9]), |error| {
        matches!(
            error,
            Error::Version {
                found: 9,
                supported: 3,
                ..
            }
        )
    });
    check(&|place| write(place, 12, &[3]), |error| {
        matches!(error, Error::HeaderChecksum { .. })
    });
    check(&|place| write(place, 14, &[3]), |error| {
        matches!(error, Error::Geometry(_))
    });
    check(&|place| write(place, 24, b"other"), |error| {
        matches!(error, Error::HeaderChecksum { .. })
    });
    check(&|place| write(place, 64, &[16]), |error| {
        matches!(error, Error::HeaderChecksum { .. })
    });
    check(&|place| write(place, 2000, &[1]), |error| {
        matches!(error, Error::HeaderChecksum { .. })
    });
    for length in [0, 7, 63] {
        check(&|place| raw(place).set_len(length).unwrap(), |error| {
            matches!(error, Error::Size { expected: 64, .. })
        });
    }
    for length in [64, 4095] {
        check(&|place| raw(place).set_len(length).unwrap(), |error| {
            matches!(error, Error::Size { expected: 4096, .. })
        });
    }
    for length in [4096, 8191, 8193, 1 << 20] {
        check(&|place| raw(place).set_len(length).unwrap(), |error| {
            matches!(error, Error::Size { expected: 8192, .. })
        });
    }
}

#[test]
fn each_damage_of_a_slot_is_named_and_can_be_passed_over() {
    let check = |at: u64, bytes: &[u8], expected: fn(SlotFault) -> bool| {
        let place = filled();
        // Position 9 lies in slot 1.
        write(&place, slot(1) + at, bytes);
        let back = place.open().attach(Side::Back, 2).unwrap();
        let mut consumer = back.consumer(0).unwrap();
        let mut seen = Vec::new();
        assert_eq!(consumer.skip_corrupt().unwrap(), None);
        assert_eq!(consumer.read_batch(100, |position, _| seen.push(position)), Ok(4));
        let Err(ReadError::Slot(corrupt)) = consumer.read_batch(100, |_, _| ()) else {
            panic!("a corrupt slot")
        };
        assert!(corrupt.position == 9 && expected(corrupt.fault), "{corrupt}");
        assert_eq!(consumer.peek(), Err(ReadError::Slot(corrupt)));
        assert_eq!(consumer.read_position(), 9);
        assert_eq!(
            consumer.skip_corrupt().unwrap(),
            Some(CorruptSlot {
                position: 9,
                fault: corrupt.fault
            })
        );
        assert_eq!(consumer.read_batch(100, |position, _| seen.push(position)), Ok(1));
        assert_eq!(consumer.skip_corrupt().unwrap(), None);
        assert_eq!(seen, [5, 6, 7, 8, 10]);
        consumer.commit(11).unwrap();
    };
    check(0, &1_u64.to_ne_bytes(), |fault| {
        fault == SlotFault::Position { found: 1 }
    });
    check(8, &25_u32.to_ne_bytes(), |fault| {
        fault == SlotFault::Length { found: 25, max: 24 }
    });
    check(8, &u32::MAX.to_ne_bytes(), |fault| {
        matches!(fault, SlotFault::Length { .. })
    });
    check(8, &8_u32.to_ne_bytes(), |fault| {
        matches!(fault, SlotFault::Check { .. })
    });
    check(12, &[0; 4], |fault| matches!(fault, SlotFault::Check { found: 0, .. }));
    check(16, &[0xff], |fault| matches!(fault, SlotFault::Check { .. }));
    // The padding after the nine bytes of position 9 is checked too.
    check(16 + 9, &[1], |fault| matches!(fault, SlotFault::Check { .. }));
    check(0, &[0; 40], |fault| fault == SlotFault::Position { found: 0 });
}

#[test]
fn impossible_cursors_are_refused_at_both_ends() {
    for (head, tail) in [(5, 14), (12, 11), (u64::MAX, 11), (5, u64::MAX), (0, 11)] {
        let place = filled();
        let mapping = place.open();
        let (front, back) = (
            mapping.attach(Side::Front, 2).unwrap(),
            mapping.attach(Side::Back, 2).unwrap(),
        );
        write(&place, HEAD, &u64::to_ne_bytes(head));
        write(&place, TAIL, &u64::to_ne_bytes(tail));
        assert!(
            matches!(front.producer(0), Err(Error::Corrupt { ring: 0, .. })),
            "{head} {tail}"
        );
        assert!(
            matches!(back.consumer(0), Err(Error::Corrupt { ring: 0, .. })),
            "{head} {tail}"
        );
        // The other ring is none the worse.
        front.consumer(1).unwrap();
    }
}

#[test]
fn a_cursor_that_goes_astray_later_is_refused() {
    for (head, tail) in [(4, 10), (12, 14), (u64::MAX, u64::MAX), (0, 0)] {
        let place = filled();
        let mapping = place.open();
        let (front, back) = (
            mapping.attach(Side::Front, 2).unwrap(),
            mapping.attach(Side::Back, 2).unwrap(),
        );
        let (mut producer, mut consumer) = (front.producer(0).unwrap(), back.consumer(0).unwrap());
        while producer.push(&[1]).is_ok() {}
        write(&place, HEAD, &u64::to_ne_bytes(head));
        if !(5..=13).contains(&head) {
            assert!(matches!(
                producer.push(&[2]),
                Err(PushError::Corrupt { payload: [2], .. })
            ));
            assert_eq!((producer.free(), producer.consumed()), (0, 5));
        }
        write(&place, TAIL, &u64::to_ne_bytes(tail));
        assert!(matches!(
            consumer.read_batch(100, |_, _| ()),
            Err(ReadError::Cursors(_))
        ));
        assert_eq!((consumer.available(), consumer.position()), (0, 5));
        assert!(consumer.commit(14).is_err());
    }
}

/// Whatever the file holds: opens it if that is possible, and uses everything. Each record that comes out was pushed.
fn use_everything(place: &Place, damage_when_attached: &[(u64, u8)]) {
    let Ok(mapping) = Mapping::open(&place.path) else {
        return;
    };
    let (front, back) = (
        mapping.attach(Side::Front, 2).unwrap(),
        mapping.attach(Side::Back, 2).unwrap(),
    );
    for (ring, from, to) in [(0, &front, &back), (1, &back, &front)] {
        let (Ok(mut producer), Ok(mut consumer)) = (from.producer(ring), to.consumer(ring)) else {
            continue;
        };
        flip(place, damage_when_attached);
        for _ in 0..4 * SLOTS {
            let position = producer.position();
            let _ = producer.push(&payload(position, length_of(position)));
            let mut read_to = consumer.read_position();
            let outcome = consumer.read_batch(3, |position, bytes| {
                assert_eq!(bytes, payload(position, length_of(position)));
                read_to = position.wrapping_add(1);
            });
            if matches!(outcome, Err(ReadError::Slot(_))) {
                consumer.skip_corrupt().unwrap().unwrap();
            }
            let _ = consumer.commit(read_to);
        }
    }
    let bell = front.bell(0).unwrap();
    bell.arm();
    back.bell(0).unwrap().ring();
    bell.disarm_and_drain();
    let sleeper = back.sleeper(0).unwrap();
    sleeper.prepare();
    front.sleeper(0).unwrap().notify();
    sleeper.wait(std::time::Duration::from_millis(1));
}

/// Changes the bytes at these offsets (modulo the file's length).
fn flip(place: &Place, damage: &[(u64, u8)]) {
    let file = raw(place);
    let length = file.metadata().unwrap().len();
    for (at, mask) in damage {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at % length).unwrap();
        file.write_all_at(&[byte[0] ^ mask], at % length).unwrap();
    }
}

proptest! {
    #[test]
    fn no_damage_is_undefined(
        before in prop::collection::vec((CONTROL..CONTROL + 2 * 1024, 1..=255_u8), 0..6),
        anywhere in prop::collection::vec((any::<u64>(), 1..=255_u8), 0..2),
        attached in prop::collection::vec((CONTROL..CONTROL + 2 * 1024, 1..=255_u8), 0..6),
    ) {
        let place = filled();
        flip(&place, &before);
        flip(&place, &anywhere);
        use_everything(&place, &attached);
    }
}
