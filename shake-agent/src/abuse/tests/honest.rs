//! Phones that mean no harm, however badly they fare.

use super::*;

/// What an honest phone of the worst sort does in a minute: it obeys nothing, its network is bad, its cookie's key is
/// retired, and it is refused all it asks.
#[derive(Clone, Debug)]
struct Phone {
    shakes: u32,
    is_refused: bool,
    connects: u32,
    asks: u32,
    forged: u32,
}

fn phone() -> impl Strategy<Value = Phone> {
    (0_u32..=300, any::<bool>(), 0_u32..=20, 0_u32..=600, 0_u32..=4).prop_map(
        |(shakes, is_refused, connects, asks, forged)| Phone {
            shakes,
            is_refused,
            connects,
            asks,
            forged,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn honest_phones_are_never_blocked_also_all_behind_one_prefix(
        phones in proptest::collection::vec(phone(), 1..150),
        failures in 0_u32..30,
    ) {
        let mut play = Play::new(rules());
        for _minute in 0..30 {
            for (index, phone) in phones.iter().enumerate() {
                let user = index as u64 + 1;
                let counts = Counts {
                    shakes: if phone.is_refused { 0 } else { phone.shakes },
                    refused: if phone.is_refused { phone.shakes } else { 0 },
                    wins: u32::from(phone.shakes > 280),
                    requests: phone.asks,
                    forged: phone.forged,
                    ..Counts::default()
                };
                prop_assert_eq!(play.take(&conduct(user, user, false, counts)), []);
                for _ in 0..phone.connects {
                    prop_assert_eq!(play.take(&conduct(user, user, true, Counts::default())), []);
                }
            }
            // Some apps are ended between connection and Hello.
            prop_assert_eq!(play.take(&strangers("10.0.0.0/24", 0, failures)), []);
            play.pass(60_000);
        }
        prop_assert_eq!(play.analysis.blocks.holding(play.now).count(), 0);
    }
}
