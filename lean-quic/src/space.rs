//! A packet number space (RFC 9000, section 12.3): numbers to give out, packets under way, packets received.
//!
//! Loss detection is that of RFC 9002, section 6. Packets stand here only while under way, and each remembers what it
//! carried by reference, so that what is lost is sent anew and never as the same packet (RFC 9000, section 13.3).

use super::error::TransportError;
use super::frame::Ack;
use super::received::{NEVER, Received};
use crate::Micros;
use std::ops::Range;

/// RFC 9002, section 6.1.1.
const PACKET_THRESHOLD: u64 = 3;

/// What a packet carried that must arrive. A DATAGRAM is not among it (RFC 9221, section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Crypto(Range<u32>),
    Stream { stream: u64, range: Range<u32> },
    ResetStream { stream: u64 },
    StopSending { stream: u64 },
    MaxData,
    MaxStreams,
    DataBlocked,
    StreamDataBlocked { stream: u64 },
    StreamsBlocked,
    RetireConnectionId { sequence: u64 },
}

/// A packet under way that asks for an acknowledgement.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) at: Micros,
    pub(super) bytes: u16,
    pub(super) contents: Vec<Content>,
}

#[derive(Debug)]
pub(super) struct Space {
    pub(super) received: Received,
    next_number: u64,
    /// In the order of their numbers.
    sent: Vec<Sent>,
    largest_acknowledged: Option<u64>,
    /// When the oldest packet counts as lost by time.
    loss_at: Micros,
    last_sent_at: Micros,
    /// A probe is wanted, whatever the congestion window says (RFC 9002, section 7.5).
    pub(super) wants_probe: bool,
}

/// What an acknowledgement says.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    pub(super) packets: Vec<Sent>,
    /// The round trip of the largest, when it is new (RFC 9002, section 5.1).
    pub(super) rtt: Option<Micros>,
}

impl Space {
    /// What asks for it is acknowledged within `ack_delay`.
    pub(super) fn new(ack_delay: Micros) -> Self {
        Self {
            received: Received::new(ack_delay),
            next_number: 0,
            sent: Vec::new(),
            largest_acknowledged: None,
            loss_at: NEVER,
            last_sent_at: Micros::ZERO,
            wants_probe: false,
        }
    }

    /// The number of the next packet.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The next packet goes out, and nobody waits for its acknowledgement.
    pub(super) fn on_sent_unasked(&mut self) {
        self.next_number += 1;
    }

    /// The next packet goes out.
    pub(super) fn on_sent(&mut self, at: Micros, bytes: u16, contents: Vec<Content>) {
        let number = self.next_number;
        self.next_number += 1;
        self.last_sent_at = at;
        self.wants_probe = false;
        self.sent.push(Sent {
            number,
            at,
            bytes,
            contents,
        });
    }

    /// Takes what is acknowledged out of flight.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION when it was never sent (RFC 9000, section 13.1).
    pub(super) fn on_ack(&mut self, now: Micros, ack: &Ack<'_>) -> Result<Acknowledged, TransportError> {
        if ack.largest >= self.next_number {
            return Err(TransportError::violation("ACK of a packet that was not sent"));
        }
        self.largest_acknowledged = self.largest_acknowledged.max(Some(ack.largest));
        let mut news = Acknowledged::default();
        for (least, largest) in ack.ranges() {
            if self.sent.is_empty() {
                break;
            }
            let from = self.sent.partition_point(|sent| sent.number < least);
            let to = self.sent.partition_point(|sent| sent.number <= largest);
            let newest = self.sent[from..to].last().filter(|sent| sent.number == ack.largest);
            news.rtt = newest.map(|sent| now.since(sent.at)).or(news.rtt);
            if to - from == self.sent.len() && news.packets.is_empty() {
                // All that is under way, as nearly always: its memory goes along.
                news.packets = std::mem::take(&mut self.sent);
            } else {
                news.packets.extend(self.sent.drain(from..to));
            }
        }
        self.shrink();
        Ok(news)
    }

    /// Takes out what is lost by now (RFC 9002, section 6.1).
    pub(super) fn take_lost(&mut self, now: Micros, loss_delay: Micros) -> Vec<Sent> {
        self.loss_at = NEVER;
        let Some(largest) = self.largest_acknowledged else {
            return Vec::new();
        };
        let mut lost = Vec::new();
        let mut at = 0;
        while let Some(sent) = self.sent.get(at).filter(|sent| sent.number <= largest) {
            let lost_at = sent.at.plus(loss_delay);
            if sent.number + PACKET_THRESHOLD <= largest || lost_at <= now {
                lost.push(self.sent.remove(at));
            } else {
                self.loss_at = self.loss_at.min(lost_at);
                at += 1;
            }
        }
        self.shrink();
        lost
    }

    /// Nothing is kept of an idle session.
    fn shrink(&mut self) {
        if self.sent.is_empty() {
            self.sent = Vec::new();
            self.loss_at = NEVER;
        }
    }

    /// Forgets what is under way, as a Retry makes it void (RFC 9002, section 6.3).
    pub(super) fn take_all(&mut self) -> Vec<Sent> {
        self.loss_at = NEVER;
        std::mem::take(&mut self.sent)
    }

    pub(super) fn loss_at(&self) -> Micros {
        self.loss_at
    }

    /// When the last packet was sent that is still awaited.
    pub(super) fn probe_from(&self) -> Option<Micros> {
        (!self.sent.is_empty()).then_some(self.last_sent_at)
    }

    #[cfg(test)]
    pub(super) fn has_heap(&self) -> bool {
        self.sent.capacity() > 0
    }

    pub(super) fn in_flight(&self) -> &[Sent] {
        &self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{self, Frame, kind};
    use super::super::header::Level;
    use super::super::varint::Reader;
    use super::*;

    fn ack(space: &mut Space, now: Micros, bytes: &[u8]) -> Result<Acknowledged, TransportError> {
        let Ok(Frame::Ack(ack)) = frame::next(Level::Data, &mut Reader::new(bytes)) else {
            panic!("an ACK: {bytes:?}");
        };
        space.on_ack(now, &ack)
    }

    fn numbers(sent: &[Sent]) -> Vec<u64> {
        sent.iter().map(|sent| sent.number).collect()
    }

    #[test]
    fn three_later_or_an_eighth_late_is_lost() {
        let mut space = Space::new(Micros::ZERO);
        for number in 0..6 {
            space.on_sent(Micros(number * 10), 100, vec![]);
        }
        assert!(
            ack(&mut space, Micros(60), &[kind::ACK, 6, 0, 0, 0]).is_err(),
            "never sent"
        );
        let news = ack(&mut space, Micros(70), &[kind::ACK, 4, 0, 0, 0]).expect("sent");
        assert_eq!((numbers(&news.packets), news.rtt), (vec![4], Some(Micros(30))));
        assert_eq!(numbers(&space.take_lost(Micros(70), Micros(1_000))), [0, 1]);
        assert_eq!(space.loss_at(), Micros(1_020));
        assert_eq!(numbers(&space.take_lost(Micros(1_025), Micros(1_000))), [2]);
        assert_eq!(space.loss_at(), Micros(1_030));
        let news = ack(&mut space, Micros(1_026), &[kind::ACK, 5, 0, 0, 5]).expect("sent");
        assert_eq!(numbers(&news.packets), [3, 5]);
        assert_eq!((space.loss_at(), space.probe_from()), (NEVER, None));
    }
}
