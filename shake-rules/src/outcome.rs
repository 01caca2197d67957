//! What a shake turns into, drawn by the weights of the phase.

/// What a shake turned into, before it is known whether a packet is in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// All outcomes, in the order of the weights.
    pub const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Greeting,
        Self::FamilyPhoto,
        Self::FriendCard,
        Self::RestPage,
        Self::ServerHang,
        Self::RedPacket,
    ];

    /// The name in show files, metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Greeting => "greeting",
            Self::FamilyPhoto => "family_photo",
            Self::FriendCard => "friend_card",
            Self::RestPage => "rest_page",
            Self::ServerHang => "server_hang",
            Self::RedPacket => "red_packet",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// The weights of a phase, ready to draw from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    cumulative: [u64; Outcome::ALL.len()],
}

impl Weights {
    /// Weights in the order of [`Outcome::ALL`]; only their ratios matter. `None` when all are zero.
    #[must_use]
    pub fn new(weights: [u32; Outcome::ALL.len()]) -> Option<Self> {
        let mut total = 0_u64;
        let cumulative = weights.map(|weight| {
            total += u64::from(weight);
            total
        });
        (total > 0).then_some(Self { cumulative })
    }

    /// The outcome for 64 random bits. Multiply-and-shift instead of a remainder: with weights that sum to less
    /// than 2^35 the bias is below 2^-29 (D. Lemire, "Fast Random Integer Generation in an Interval", 2019).
    #[must_use]
    pub fn draw(&self, random: u64) -> Outcome {
        let total = self.cumulative[self.cumulative.len() - 1];
        let point = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        let index = self.cumulative.iter().position(|&bound| point < bound);
        Outcome::ALL[index.expect("the point is below the total, which is the last bound")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_round_trip() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
        }
        assert!(Weights::new([0; 7]).is_none());
    }

    proptest! {
        #[test]
        fn zero_weights_are_never_drawn(weights: [u32; 7], random: u64) {
            if let Some(drawer) = Weights::new(weights) {
                let outcome = drawer.draw(random);
                let at = Outcome::ALL.iter().position(|o| *o == outcome).expect("one of ALL");
                prop_assert!(weights[at] > 0);
            }
        }

        /// An even sweep of the random space meets each outcome in proportion to its weight.
        #[test]
        fn frequencies_follow_the_weights(weights in proptest::array::uniform7(0_u32..50)) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let drawer = Weights::new(weights).expect("a positive total");
            let draws = u64::from(total) * 64;
            let mut counts = [0_u64; 7];
            for index in 0..draws {
                let random = ((u128::from(index) << 64) / u128::from(draws)) as u64;
                let outcome = drawer.draw(random);
                counts[Outcome::ALL.iter().position(|o| *o == outcome).expect("one of ALL")] += 1;
            }
            for (count, weight) in counts.iter().zip(weights) {
                prop_assert!(count.abs_diff(u64::from(weight) * 64) <= 1, "{:?} {:?}", counts, weights);
            }
        }
    }
}
