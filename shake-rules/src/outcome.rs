//! What a shake turns into, drawn by the weights of the phase.

use enum_map::{Enum, EnumMap};
use strum::{EnumString, IntoStaticStr, VariantNames};

/// What a shake turned into, before it is known whether a packet is in hand. Show files name it as metrics do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// Nothing this time.
    Nothing,
    /// A greeting from a star.
    Greeting,
    /// A family photo frame.
    FamilyPhoto,
    /// The card of a friend who shakes too.
    FriendCard,
    /// The page between two phases.
    RestPage,
    /// The page that says, tongue in cheek, that the server hangs.
    ServerHang,
    /// A money packet.
    RedPacket,
}

impl Outcome {
    /// The name in show files, metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The weights of a phase, ready to draw from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    cumulative: EnumMap<Outcome, u64>,
}

impl Weights {
    /// Only the weights' ratios matter. `None` when all are zero.
    #[must_use]
    pub fn new(weights: EnumMap<Outcome, u32>) -> Option<Self> {
        let mut total = 0_u64;
        let cumulative = weights.map(|_, weight| {
            total += u64::from(weight);
            total
        });
        (total > 0).then_some(Self { cumulative })
    }

    /// The outcome for 64 random bits. Multiply-and-shift instead of a remainder: with weights that sum to less
    /// than 2^35 the bias is below 2^-29 (D. Lemire, "Fast Random Integer Generation in an Interval", 2019).
    #[must_use]
    pub fn draw(&self, random: u64) -> Outcome {
        let bounds = self.cumulative.as_slice();
        let total = bounds[bounds.len() - 1];
        let point = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        let index = bounds.iter().position(|&bound| point < bound);
        Outcome::from_usize(index.expect("the point is below the total, which is the last bound"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_round_trip() {
        for name in Outcome::VARIANTS {
            assert_eq!(name.parse().map(Outcome::name), Ok(*name));
        }
        assert_eq!(Outcome::FamilyPhoto.name(), "family_photo");
        assert!(Weights::new(EnumMap::default()).is_none());
    }

    proptest! {
        #[test]
        fn zero_weights_are_never_drawn(weights: [u32; 7], random: u64) {
            let weights = EnumMap::from_array(weights);
            if let Some(drawer) = Weights::new(weights) {
                prop_assert!(weights[drawer.draw(random)] > 0);
            }
        }

        /// An even sweep of the random space meets each outcome in proportion to its weight.
        #[test]
        fn frequencies_follow_the_weights(weights in proptest::array::uniform7(0_u32..50)) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let drawer = Weights::new(EnumMap::from_array(weights)).expect("a positive total");
            let draws = u64::from(total) * 64;
            let mut counts = EnumMap::<Outcome, u64>::default();
            for index in 0..draws {
                let random = ((u128::from(index) << 64) / u128::from(draws)) as u64;
                counts[drawer.draw(random)] += 1;
            }
            for (count, weight) in counts.values().zip(weights) {
                prop_assert!(count.abs_diff(u64::from(weight) * 64) <= 1, "{:?} {:?}", counts, weights);
            }
        }
    }
}
