//! Draws the packets of a seed: amounts that sum to the budget, sponsors by weight, and which packets are split.
//!
//! Holds no file and writes none; `seed_generate` and `seed_fleet` do.

use shake_rules::amounts::{self, AmountsError};
use shake_rules::seed::PacketKind;
use shake_rules::split::SHARES_MAX;
use shake_rules::{Cents, EventId, SponsorId};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use thiserror::Error;

/// Least shares of a split packet: the winner's and one more.
pub const SHARES_MIN: u16 = 2;

/// What to make.
#[derive(Clone, Debug)]
pub struct Request {
    /// The event.
    pub event: EventId,
    /// The sum of all packets.
    pub budget: Cents,
    /// How many packets.
    pub count: u64,
    /// Sponsors with the weight of their part in the packets' number; a weight is at least 1.
    pub sponsors: BTreeMap<SponsorId, u32>,
    /// The smallest amount.
    pub min: Cents,
    /// The largest amount.
    pub max: Cents,
    /// Which of them are split packets.
    pub splits: Splits,
}

/// How many of the packets are split, and into what. The default is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// How many packets are split packets; they are picked at random.
    pub packets: u64,
    /// Shares of each, drawn at random, within [`SHARES_MIN`] and [`SHARES_MAX`]; never more shares than cents.
    pub shares: RangeInclusive<u16>,
}

impl Default for Splits {
    fn default() -> Self {
        Self {
            packets: 0,
            shares: SHARES_MIN..=SHARES_MAX,
        }
    }
}

/// Why there can be no such packets.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DrawError {
    /// No such amounts exist.
    #[error("{0}; change the budget, the count or the range")]
    Amounts(#[from] AmountsError),
    /// No sponsor, or one of weight zero.
    #[error("every packet needs a sponsor; give at least one, each with a weight of 1 or more")]
    Sponsors,
    /// The range of shares is empty or goes beyond the limits.
    #[error("{least}..{most} shares are not possible; a split packet has {SHARES_MIN} to {SHARES_MAX}")]
    Shares {
        /// Least shares asked for.
        least: u16,
        /// Most shares asked for.
        most: u16,
    },
    /// Too few packets have a cent for each share.
    #[error(
        "{wanted} packets are to be split into {least} shares or more, and only {possible} packets have a cent for each; \
         ask for fewer split packets or fewer shares, or raise the smallest amount"
    )]
    TooSmall {
        /// Split packets asked for.
        wanted: u64,
        /// Packets that have at least so many cents.
        possible: u64,
        /// Least shares asked for.
        least: u16,
    },
}

/// The packets of a seed, in the order in which they are released.
#[derive(Clone, Debug)]
pub struct Packets {
    amounts: Vec<Cents>,
    sponsors: Vec<SponsorId>,
    /// Shares of each; one for a plain packet.
    shares: Vec<u16>,
}

impl Packets {
    /// Draws them. `random` gives 64 random bits a call.
    ///
    /// # Errors
    /// [`DrawError`].
    pub fn draw(request: &Request, mut random: impl FnMut() -> u64) -> Result<Self, DrawError> {
        if request.sponsors.is_empty() || request.sponsors.values().any(|&weight| weight == 0) {
            return Err(DrawError::Sponsors);
        }
        let amounts = amounts::draw(request.budget, request.count, request.min, request.max, &mut random)?;
        let sponsors = shuffled_sponsors(&request.sponsors, request.count, &mut random);
        let shares = draw_shares(&amounts, &request.splits, &mut random)?;
        Ok(Self {
            amounts,
            sponsors,
            shares,
        })
    }

    /// Amount, sponsor and kind of the packets from `start` on, `count` of them.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn range(&self, start: u64, count: u64) -> impl Iterator<Item = (Cents, SponsorId, PacketKind)> + Clone {
        (start as usize..(start + count) as usize).map(|at| {
            let kind = match self.shares[at] {
                1 => PacketKind::Plain,
                shares => PacketKind::Split { shares },
            };
            (self.amounts[at], self.sponsors[at], kind)
        })
    }
}

/// A number below `bound`, uniform but for 2^-32 at the most.
fn below(bound: u64, random: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

/// Shares of each packet; one for those that are not split. Picks exactly as many as asked for, each set of packets with
/// enough cents being as likely as any other (selection sampling: D. E. Knuth, The Art of Computer Programming, vol. 2,
/// algorithm 3.4.2 S).
fn draw_shares(amounts: &[Cents], splits: &Splits, random: &mut impl FnMut() -> u64) -> Result<Vec<u16>, DrawError> {
    if splits.packets == 0 {
        return Ok(vec![1; amounts.len()]);
    }
    let (least, most) = (*splits.shares.start(), *splits.shares.end());
    if least < SHARES_MIN || most > SHARES_MAX || least > most {
        return Err(DrawError::Shares { least, most });
    }
    let is_enough = |amount: Cents| amount.0 >= u64::from(least);
    let mut possible = amounts.iter().filter(|&&amount| is_enough(amount)).count() as u64;
    let mut wanted = splits.packets;
    if wanted > possible {
        return Err(DrawError::TooSmall {
            wanted,
            possible,
            least,
        });
    }
    let shares = amounts.iter().map(|&amount| {
        if !is_enough(amount) {
            return 1;
        }
        let picked = below(possible, random()) < wanted;
        possible -= 1;
        if !picked {
            return 1;
        }
        wanted -= 1;
        let most = amount.0.min(most.into());
        least + below(most - u64::from(least) + 1, random()) as u16
    });
    Ok(shares.collect())
}

/// One sponsor per packet, in random order; each sponsor's number is its weight's share of `count`, rounded so that all
/// numbers sum to `count` (the largest remainders go up).
fn shuffled_sponsors(
    weights: &BTreeMap<SponsorId, u32>,
    count: u64,
    random: &mut impl FnMut() -> u64,
) -> Vec<SponsorId> {
    let total: u128 = weights.values().map(|&weight| u128::from(weight)).sum();
    let mut parts: Vec<(SponsorId, u64, u128)> = weights
        .iter()
        .map(|(&sponsor, &weight)| {
            let exact = u128::from(count) * u128::from(weight);
            (sponsor, (exact / total) as u64, exact % total)
        })
        .collect();
    let missing = count - parts.iter().map(|part| part.1).sum::<u64>();
    parts.sort_by_key(|part| std::cmp::Reverse(part.2));
    for part in parts.iter_mut().take(missing as usize) {
        part.1 += 1;
    }
    let mut sponsors: Vec<SponsorId> = parts
        .into_iter()
        .flat_map(|(sponsor, count, _)| std::iter::repeat_n(sponsor, count as usize))
        .collect();
    // Fisher and Yates, in Durstenfeld's form.
    for last in (1..sponsors.len()).rev() {
        sponsors.swap(below(last as u64 + 1, random()) as usize, last);
    }
    sponsors
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn splitmix(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    }

    #[test]
    fn impossible_splits_are_named() {
        let amounts = [Cents(1), Cents(5), Cents(9)];
        let draw = |packets, shares| draw_shares(&amounts, &Splits { packets, shares }, &mut || u64::MAX);
        assert!(matches!(draw(1, 1..=5), Err(DrawError::Shares { .. })));
        assert!(matches!(draw(1, 2..=101), Err(DrawError::Shares { .. })));
        #[allow(clippy::reversed_empty_ranges, reason = "the mistake that is refused")]
        let reversed = 6..=5;
        assert!(matches!(draw(1, reversed), Err(DrawError::Shares { .. })));
        assert!(matches!(draw(2, 6..=7), Err(DrawError::TooSmall { possible: 1, .. })));
        assert_eq!(draw(0, 1..=500), Ok(vec![1; 3]));
        assert_eq!(draw(2, 3..=7), Ok(vec![1, 5, 7]));
    }

    proptest! {
        #[test]
        fn as_many_are_split_as_asked_for(amounts in proptest::collection::vec(1_u64..200, 0..200), part in 0.0_f64..=1.0, least in 2_u16..=100, width in 0_u16..50, seed: u64) {
            let amounts: Vec<_> = amounts.into_iter().map(Cents).collect();
            let possible = amounts.iter().filter(|amount| amount.0 >= u64::from(least)).count();
            let packets = (possible as f64 * part) as u64;
            let most = (least + width).min(SHARES_MAX);
            let mut state = seed;
            let shares = draw_shares(&amounts, &Splits { packets, shares: least..=most }, &mut || splitmix(&mut state)).expect("possible");
            prop_assert_eq!(shares.iter().filter(|&&shares| shares > 1).count() as u64, packets);
            for (amount, shares) in amounts.iter().zip(shares) {
                prop_assert!(shares == 1 || ((least..=most).contains(&shares) && amount.0 >= u64::from(shares)));
            }
        }

        #[test]
        fn sponsors_get_their_share(weights in proptest::collection::vec(1_u32..50, 1..8), count in 0_u64..500, seed: u64) {
            let weights: BTreeMap<_, _> = (0..).map(SponsorId).zip(weights).collect();
            let mut state = seed;
            let sponsors = shuffled_sponsors(&weights, count, &mut || splitmix(&mut state));
            prop_assert_eq!(sponsors.len() as u64, count);
            let total: u64 = weights.values().map(|&weight| u64::from(weight)).sum();
            for (sponsor, weight) in weights {
                let found = sponsors.iter().filter(|&&s| s == sponsor).count() as u64;
                let exact = count * u64::from(weight);
                prop_assert!(found == exact / total || found == exact / total + 1);
            }
        }
    }
}
