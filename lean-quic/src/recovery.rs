//! Round-trip times, probe timeouts and the congestion window of a connection (RFC 9002).
//!
//! It holds numbers only; what was sent stands in the packet number spaces.

use super::DATAGRAM_BYTES;
use crate::Micros;

/// RFC 9002, section 6.2.2.
const INITIAL_RTT_US: u32 = 333_000;
/// RFC 9002, section 6.1.2.
const GRANULARITY_US: u32 = 1_000;
/// RFC 9002, section 7.2.
const INITIAL_WINDOW_BYTES: u32 = 10 * DATAGRAM_BYTES as u32;
/// RFC 9002, section 7.2.
const WINDOW_BYTES_MIN: u32 = 2 * DATAGRAM_BYTES as u32;
/// No phone sends more at a time.
const WINDOW_BYTES_MAX: u32 = 64 * DATAGRAM_BYTES as u32;
/// Back-off stops doubling here; the idle timeout ends a connection long before.
const BACKOFF_MAX: u8 = 16;
/// Probes without an answer after which the window collapses. RFC 9002, section 7.6, would have two lost packets so
/// far apart; this is never later, and needs nothing remembered.
const PERSISTENT_PROBES: u8 = 3;
/// A round trip of more than an hour is as good as none.
const RTT_US_MAX: u64 = 3_600_000_000;

#[derive(Debug)]
pub(super) struct Recovery {
    /// 0 before the first sample.
    latest_us: u32,
    min_us: u32,
    smoothed_us: u32,
    variation_us: u32,
    window: u32,
    threshold: u32,
    in_flight: u32,
    probes: u8,
    /// Losses of packets sent before belong to a reduction already made (RFC 9002, section 7.3.2).
    reduced_at: Option<Micros>,
}

impl Recovery {
    pub(super) fn new() -> Self {
        Self {
            latest_us: 0,
            min_us: 0,
            smoothed_us: INITIAL_RTT_US,
            variation_us: INITIAL_RTT_US / 2,
            window: INITIAL_WINDOW_BYTES,
            threshold: u32::MAX,
            in_flight: 0,
            probes: 0,
            reduced_at: None,
        }
    }

    /// A sample, with the time for which the server says it held its acknowledgement back (RFC 9002, section 5.3).
    pub(super) fn on_rtt(&mut self, sample: Micros, held_back: Micros) {
        let sample = sample.0.clamp(1, RTT_US_MAX) as u32;
        let first = self.latest_us == 0;
        self.latest_us = sample;
        if first {
            (self.min_us, self.smoothed_us, self.variation_us) = (sample, sample, sample / 2);
            return;
        }
        self.min_us = self.min_us.min(sample);
        let held_back = held_back.0.min(RTT_US_MAX) as u32;
        let adjusted = match sample.checked_sub(held_back) {
            Some(adjusted) if adjusted >= self.min_us => adjusted,
            _ => sample,
        };
        let off = self.smoothed_us.abs_diff(adjusted);
        self.variation_us = weigh(self.variation_us, off, 4);
        self.smoothed_us = weigh(self.smoothed_us, adjusted, 8);
    }

    /// How long after its sending a packet is lost, once a later one was acknowledged (RFC 9002, section 6.1.2).
    pub(super) fn loss_delay(&self) -> Micros {
        let rtt = u64::from(self.latest_us.max(self.smoothed_us));
        Micros((rtt * 9 / 8).max(GRANULARITY_US.into()))
    }

    /// The probe timeout (RFC 9002, section 6.2.1) without back-off; `ack_delay` is the server's, or zero in the
    /// handshake.
    pub(super) fn probe_timeout(&self, ack_delay: Micros) -> Micros {
        let variation = (u64::from(self.variation_us) * 4).max(GRANULARITY_US.into());
        Micros(u64::from(self.smoothed_us) + variation).plus(ack_delay)
    }

    /// The same, with back-off.
    pub(super) fn backed_off_timeout(&self, ack_delay: Micros) -> Micros {
        Micros(self.probe_timeout(ack_delay).0 << self.probes.min(BACKOFF_MAX))
    }

    pub(super) fn on_probe(&mut self) {
        self.probes = self.probes.saturating_add(1);
        if self.probes >= PERSISTENT_PROBES {
            self.window = WINDOW_BYTES_MIN;
        }
    }

    /// The server answers (RFC 9002, section 6.2.1).
    pub(super) fn reset_probes(&mut self) {
        self.probes = 0;
    }

    pub(super) fn on_sent(&mut self, bytes: u16) {
        self.in_flight += u32::from(bytes);
    }

    /// Packets left flight without a word on congestion: their keys are gone (RFC 9002, section 6.4).
    pub(super) fn forget(&mut self, bytes: u16) {
        self.in_flight = self.in_flight.saturating_sub(bytes.into());
    }

    /// RFC 9002, sections 7.3 and 7.8: grows only when the window was in use.
    pub(super) fn on_acknowledged(&mut self, bytes: u16, sent_at: Micros) {
        let in_use = self.in_flight >= self.window / 2;
        self.forget(bytes);
        if !in_use || self.reduced_at.is_some_and(|at| sent_at <= at) {
            return;
        }
        let bytes = u32::from(bytes);
        self.window += if self.window < self.threshold {
            bytes
        } else {
            DATAGRAM_BYTES as u32 * bytes / self.window
        };
        self.window = self.window.min(WINDOW_BYTES_MAX);
    }

    /// RFC 9002, section 7.3.2: half the window, once for each round trip.
    pub(super) fn on_lost(&mut self, now: Micros, bytes: u16, sent_at: Micros) {
        self.forget(bytes);
        if self.reduced_at.is_none_or(|at| sent_at > at) {
            self.reduced_at = Some(now);
            self.window = (self.window / 2).max(WINDOW_BYTES_MIN);
            self.threshold = self.window;
        }
    }

    /// Whether another packet may go out (RFC 9002, section 7).
    pub(super) fn has_window(&self) -> bool {
        self.in_flight + DATAGRAM_BYTES as u32 <= self.window
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

/// The average in which the new value weighs one part in `parts`.
fn weigh(average: u32, value: u32, parts: u64) -> u32 {
    ((u64::from(average) * (parts - 1) + u64::from(value)) / parts) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_follow_the_samples_and_back_off() {
        let mut recovery = Recovery::new();
        assert_eq!(recovery.probe_timeout(Micros::ZERO), Micros(333_000 + 4 * 166_500));
        recovery.on_rtt(Micros::from_ms(100), Micros::ZERO);
        assert_eq!(recovery.probe_timeout(Micros::ZERO), Micros::from_ms(300));
        recovery.on_rtt(Micros::from_ms(120), Micros::from_ms(20));
        assert_eq!(recovery.smoothed_us, 100_000);
        assert_eq!(recovery.loss_delay(), Micros::from_ms(135));
        let before = recovery.probe_timeout(Micros::from_ms(25));
        recovery.on_probe();
        assert_eq!(recovery.backed_off_timeout(Micros::from_ms(25)), Micros(before.0 * 2));
    }

    #[test]
    fn the_window_halves_once_a_round_trip_and_stays_above_its_least() {
        let mut recovery = Recovery::new();
        for _ in 0..10 {
            recovery.on_sent(1_200);
        }
        assert!(!recovery.has_window());
        recovery.on_lost(Micros(50), 1_200, Micros(10));
        recovery.on_lost(Micros(50), 1_200, Micros(20));
        assert_eq!(recovery.window, INITIAL_WINDOW_BYTES / 2);
        for at in 60..80 {
            recovery.on_lost(Micros(at), 0, Micros(at));
        }
        assert_eq!(recovery.window, WINDOW_BYTES_MIN);
    }
}
