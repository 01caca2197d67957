//! The `[network.NAME]` tables: what stands between a share of the phones and the gateway.

use super::NETWORKS_MAX;
use super::check::Check;
use super::file::{self, At};
use crate::network::{DIRECT, Networks, Profile};
use crate::schedule::Micros;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The longest round trip, jitter or delay of one datagram, in milliseconds.
const DELAY_MS_MAX: u32 = 10_000;
/// The longest that a path is dead, in milliseconds.
const DEAD_MS_MAX: u32 = 600_000;
/// The longest name.
const NAME_BYTES_MAX: usize = 32;
/// What sums of decimal fractions may be off by.
const ROUNDING: f64 = 1e-9;

impl Check<'_> {
    /// The networks, in the order of their names.
    pub(super) fn networks(&mut self, tables: &BTreeMap<String, file::Network>, seed: u64) -> Arc<Networks> {
        let profiles: Vec<_> = tables.iter().map(|(name, table)| self.profile(name, table)).collect();
        let last = tables.values().max_by_key(|table| table.share.span().start);
        let sum: f64 = profiles.iter().map(|profile| profile.share).sum();
        if let Some(last) = last.filter(|_| sum > 1.0 + ROUNDING) {
            let message = format!("the shares of all networks are {sum:.3} together; they must be 1 at the most");
            self.wrong(last.share.span(), message);
        }
        if let Some(last) = last.filter(|_| profiles.len() > NETWORKS_MAX) {
            let message = format!("{} networks; at most {NETWORKS_MAX}", profiles.len());
            self.wrong(last.share.span(), message);
        }
        Arc::new(Networks { profiles, seed })
    }

    fn profile(&mut self, name: &str, table: &file::Network) -> Profile {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name == DIRECT {
            let message = format!(
                "[network.{name:?}] must have a name of 1 to {NAME_BYTES_MAX} bytes other than {DIRECT:?}, which phones without a network have"
            );
            self.wrong(table.share.span(), message);
        }
        let seconds = 0..=86_400;
        let jitter_ms = self.number("jitter_ms", &table.jitter_ms, 0..=DELAY_MS_MAX);
        let rebinds_every_s = self.number("rebinds_every_s", &table.rebinds_every_s, seconds.clone());
        let dies_every_s = self.number("dies_every_s", &table.dies_every_s, seconds);
        Profile {
            name: name.to_owned(),
            share: self.share("share", &table.share),
            round_trip: self.delays("round_trip_ms", &table.round_trip_ms, 0..=DELAY_MS_MAX),
            jitter: Micros::from_ms(jitter_ms.into()),
            loss: self.share("loss", &table.loss),
            reordering: self.share("reordering", &table.reordering),
            reordered_by: self.delays("reordered_by_ms", &table.reordered_by_ms, 1..=DELAY_MS_MAX),
            duplication: self.share("duplication", &table.duplication),
            rebinds_every: Micros::from_s(rebinds_every_s.into()),
            dies_every: Micros::from_s(dies_every_s.into()),
            dead_for: self.delays("dead_ms", &table.dead_ms, 1..=DEAD_MS_MAX),
        }
    }

    fn delays(&mut self, name: &str, value: &At<[u32; 2]>, bounds: RangeInclusive<u32>) -> [Micros; 2] {
        let [low, high] = *value.as_ref();
        if low > high || !bounds.contains(&low) || !bounds.contains(&high) {
            let message = format!(
                "{name} = [{low}, {high}] must be [least, most] between {} and {}",
                bounds.start(),
                bounds.end()
            );
            self.wrong(value.span(), message);
        }
        [low, high].map(|ms| Micros::from_ms(ms.into()))
    }
}
