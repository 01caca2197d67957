//! Which packet numbers have come, and what to acknowledge of them (RFC 9000, section 13.2).
//!
//! A window of 128 numbers below the largest is kept as bits. A packet from before it is dropped as if it were lost,
//! which section 13.2.3 allows; so duplicates are found and acknowledgements bounded in 32 bytes.

use super::frame::{AckRules, kind};
use super::varint::{Writer, varint_bytes};
use crate::Micros;

/// Later than any time.
pub(super) const NEVER: Micros = Micros(u64::MAX);
/// Numbers that are remembered.
const WINDOW: u64 = 128;
/// Ranges in one acknowledgement; the newest are the ones that count.
const RANGES_MAX: usize = 32;
/// The longest ACK frame that is written: type, largest, delay, count, first range; then a gap and a length of two
/// bytes each at the most, as they are below 128.
pub(super) const ACK_BYTES_MAX: usize = 1 + 8 + 8 + 1 + 2 + (RANGES_MAX - 1) * 4;
/// The unit of our acknowledgement delays: 2^3 µs, the default (RFC 9000, section 18.2).
const DELAY_SHIFT: u32 = 3;
/// Until the server asks for more, an acknowledgement goes out with the second packet that asks for one (RFC 9000, section
/// 13.2.2).
const ELICITING_MAX: u8 = 1;

#[derive(Debug)]
pub(super) struct Received {
    /// Bit `n` says whether `largest - n` has come.
    seen: u128,
    /// The largest number, plus one; 0 before any.
    next: u64,
    largest_at: Micros,
    /// When an acknowledgement must go out.
    due: Micros,
    /// Packets since the last acknowledgement that ask for one.
    eliciting: u8,
    /// As many may wait for it.
    eliciting_max: u8,
    /// Those out of order too.
    ignores_order: bool,
    /// For so long, in microseconds.
    delay: u32,
}

impl Received {
    /// What asks for it is acknowledged within `delay`.
    pub(super) fn new(delay: Micros) -> Self {
        Self {
            seen: 0,
            next: 0,
            largest_at: Micros::ZERO,
            due: NEVER,
            eliciting: 0,
            eliciting_max: ELICITING_MAX,
            ignores_order: false,
            delay: micros(delay.0),
        }
    }

    /// The server wants acknowledgements otherwise from now on.
    pub(super) fn follow(&mut self, rules: &AckRules) {
        self.eliciting_max = rules.eliciting_max.min(u64::from(u8::MAX) - 1) as u8;
        self.ignores_order = rules.ignores_order;
        self.delay = micros(rules.delay_us);
    }

    /// The number that comes next if nothing is lost.
    pub(super) fn expected(&self) -> u64 {
        self.next
    }

    /// Whether the number has neither come before nor is too old to tell.
    pub(super) fn is_new(&self, number: u64) -> bool {
        number >= self.next || {
            let age = self.next - 1 - number;
            age < WINDOW && self.seen >> age & 1 == 0
        }
    }

    /// Notes a new packet. It is acknowledged within the delay when it asks for it, and at once when it is one more than
    /// may wait, or out of order (RFC 9000, section 13.2.1).
    pub(super) fn insert(&mut self, now: Micros, number: u64, is_eliciting: bool) {
        let in_order = number == self.next;
        if number >= self.next {
            let step = number - self.next + 1;
            self.seen = if step < WINDOW { self.seen << step | 1 } else { 1 };
            self.next = number + 1;
            self.largest_at = now;
        } else {
            self.seen |= 1 << (self.next - 1 - number);
        }
        if is_eliciting {
            self.eliciting = self.eliciting.saturating_add(1);
            let at_once = self.eliciting > self.eliciting_max || !(in_order || self.ignores_order);
            self.due = self.due.min(if at_once {
                now
            } else {
                now.plus(Micros(self.delay.into()))
            });
        }
    }

    /// The server wants an acknowledgement now.
    pub(super) fn hurry(&mut self, now: Micros) {
        self.due = self.due.min(now);
    }

    /// When an acknowledgement must go out, or [`NEVER`].
    pub(super) fn due(&self) -> Micros {
        self.due
    }

    /// Whether there is something to acknowledge, be it before its time.
    pub(super) fn has_unacknowledged(&self) -> bool {
        self.eliciting > 0
    }

    /// Writes the ACK frame, into at least [`ACK_BYTES_MAX`] bytes.
    pub(super) fn write_ack(&mut self, now: Micros, writer: &mut Writer<'_>) {
        let mut ranges = [(0_u64, 0_u64); RANGES_MAX];
        let mut count = 0;
        let mut rest = self.seen;
        let mut gap = 0;
        while rest != 0 && count < RANGES_MAX {
            let skipped = rest.trailing_zeros();
            rest >>= skipped;
            let length = rest.trailing_ones();
            rest = rest.checked_shr(length).unwrap_or(0);
            ranges[count] = (u64::from(gap + skipped), u64::from(length));
            gap = 0;
            count += 1;
        }
        if count == 0 {
            return;
        }
        debug_assert!(varint_bytes(WINDOW) <= 2, "the bound of a range's fields");
        writer.u8(kind::ACK);
        writer.varint(self.next - 1);
        writer.varint(now.since(self.largest_at).0 >> DELAY_SHIFT);
        writer.varint(count as u64 - 1);
        writer.varint(ranges[0].1 - 1);
        for (gap, length) in &ranges[1..count] {
            writer.varint(gap - 1);
            writer.varint(length - 1);
        }
        self.eliciting = 0;
        self.due = NEVER;
    }
}

/// As long as can be kept: over an hour.
fn micros(us: u64) -> u32 {
    us.min(u32::MAX.into()) as u32
}

#[cfg(test)]
mod tests {
    use super::super::frame::{self, Frame};
    use super::super::header::Level;
    use super::super::varint::Reader;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_second_packet_and_every_gap_is_acknowledged_at_once() {
        let delay = Micros::from_ms(25);
        let mut received = Received::new(delay);
        received.insert(Micros(0), 0, true);
        assert_eq!(received.due(), delay);
        received.insert(Micros(5), 1, true);
        assert_eq!(received.due(), Micros(5));
        received.write_ack(Micros(5), &mut Writer::new(&mut [0; ACK_BYTES_MAX]));
        received.insert(Micros(6), 2, false);
        assert_eq!(received.due(), NEVER);
        received.insert(Micros(7), 4, true);
        assert_eq!(received.due(), Micros(7));
    }

    #[test]
    fn what_the_server_asks_for_holds() {
        let mut received = Received::new(Micros::from_ms(25));
        received.follow(&AckRules {
            eliciting_max: 2,
            delay_us: 500_000,
            ignores_order: true,
        });
        received.insert(Micros(0), 0, true);
        received.insert(Micros(1), 2, true);
        assert_eq!(received.due(), Micros(500_000));
        received.insert(Micros(2), 3, true);
        assert_eq!(received.due(), Micros(2));
        received.write_ack(Micros(2), &mut Writer::new(&mut [0; ACK_BYTES_MAX]));
        received.insert(Micros(3), 4, true);
        received.hurry(Micros(4));
        assert_eq!(received.due(), Micros(4));
    }

    proptest! {
        /// Against a plain set as the oracle.
        #[test]
        fn what_came_is_acknowledged_and_nothing_else(numbers in prop::collection::vec(0_u64..300, 1..100)) {
            let (mut received, mut oracle) = (Received::new(Micros(9)), BTreeSet::new());
            for number in numbers {
                let too_old = oracle.last().is_some_and(|&last| last >= number + WINDOW);
                prop_assert_eq!(received.is_new(number), !oracle.contains(&number) && !too_old);
                if received.is_new(number) {
                    received.insert(Micros(1), number, true);
                    oracle.insert(number);
                }
            }
            let mut buffer = [0; ACK_BYTES_MAX];
            let mut writer = Writer::new(&mut buffer);
            received.write_ack(Micros(1), &mut writer);
            let written = writer.written();
            let Ok(Frame::Ack(ack)) = frame::next(Level::Data, &mut Reader::new(&buffer[..written])) else {
                return Err(TestCaseError::fail("it decodes"));
            };
            let acknowledged: Vec<u64> = ack.ranges().flat_map(|(least, largest)| (least..=largest).rev()).collect();
            let newest: Vec<u64> = oracle.iter().rev().copied().take(acknowledged.len()).collect();
            prop_assert_eq!(&acknowledged, &newest);
            let all = oracle.iter().filter(|&&number| number + WINDOW > *oracle.last().expect("one")).count();
            prop_assert!(acknowledged.len() == all || ack.ranges().count() == RANGES_MAX);
        }
    }
}
