//! Draws packet amounts that sum to a budget exactly.

use crate::Cents;
use thiserror::Error;

/// Why a budget cannot be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AmountsError {
    /// The range is empty, or starts below one cent.
    #[error("the amount range {min}..{max} cents is empty or starts below one cent")]
    Range {
        /// Smallest amount asked for.
        min: Cents,
        /// Largest amount asked for.
        max: Cents,
    },
    /// The budget is outside of what so many packets of such amounts can sum to.
    #[error("{count} packets sum to between {least} and {most} cents, and the budget is {budget}")]
    Budget {
        /// Packets asked for.
        count: u64,
        /// The sum if each had the smallest amount.
        least: u128,
        /// The sum if each had the largest amount.
        most: u128,
        /// What was asked for.
        budget: Cents,
    },
}

/// `count` amounts within `min..=max` that sum to `budget` exactly.
///
/// Each is first drawn uniformly (`random` gives 64 random bits a call); then the distances to the bound that
/// lies in the direction of the error are scaled by one factor, and the cents lost to rounding go to random
/// packets that have room. So every amount stays in range, and their order carries no pattern.
///
/// # Errors
/// When no such amounts exist.
pub fn draw(
    budget: Cents,
    count: u64,
    min: Cents,
    max: Cents,
    mut random: impl FnMut() -> u64,
) -> Result<Vec<Cents>, AmountsError> {
    if min.0 == 0 || min > max {
        return Err(AmountsError::Range { min, max });
    }
    let least = u128::from(min.0) * u128::from(count);
    let most = u128::from(max.0) * u128::from(count);
    let target = u128::from(budget.0);
    if target < least || target > most {
        return Err(AmountsError::Budget {
            count,
            least,
            most,
            budget,
        });
    }
    let width = max.0 - min.0;
    let mut above_min: Vec<u64> = (0..count)
        .map(|_| scale(random(), u128::from(width) + 1, 1 << 64))
        .collect();
    let wanted = target - least;
    let drawn: u128 = above_min.iter().map(|&x| u128::from(x)).sum();
    if drawn > wanted {
        for x in &mut above_min {
            *x = scale(*x, wanted, drawn);
        }
    } else if drawn < wanted {
        let room = u128::from(width) * u128::from(count);
        // Rounding up the shrunken room rounds the amount down, so the rest is again what is missing.
        for x in &mut above_min {
            *x = width - div_ceil(u128::from(width - *x) * (room - wanted), room - drawn);
        }
    }
    let scaled: u128 = above_min.iter().map(|&x| u128::from(x)).sum();
    let mut missing = wanted - scaled;
    let mut at = if count > 0 { random() % count } else { 0 };
    while missing > 0 {
        let x = &mut above_min[at as usize];
        if *x < width {
            *x += 1;
            missing -= 1;
        }
        at = (at + 1) % count;
    }
    Ok(above_min.into_iter().map(|x| Cents(min.0 + x)).collect())
}

/// `x * numerator / denominator`, rounded down.
fn scale(x: u64, numerator: u128, denominator: u128) -> u64 {
    (u128::from(x) * numerator / denominator) as u64
}

fn div_ceil(numerator: u128, denominator: u128) -> u64 {
    numerator.div_ceil(denominator) as u64
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
    fn impossible_budgets_are_named() {
        let draw = |budget, count, min, max| draw(Cents(budget), count, Cents(min), Cents(max), || 0);
        assert!(matches!(draw(10, 3, 0, 5), Err(AmountsError::Range { .. })));
        assert!(matches!(draw(10, 3, 6, 5), Err(AmountsError::Range { .. })));
        assert!(matches!(draw(2, 3, 1, 5), Err(AmountsError::Budget { .. })));
        assert!(matches!(draw(16, 3, 1, 5), Err(AmountsError::Budget { .. })));
        assert_eq!(draw(0, 0, 1, 5), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn sums_exactly_and_stays_in_range(count in 1_u64..300, min in 1_u64..1_000, width in 0_u64..100_000, share in 0.0_f64..=1.0, seed: u64) {
            let max = min + width;
            let budget = min * count + ((width * count) as f64 * share) as u64;
            let mut state = seed;
            let amounts = draw(Cents(budget), count, Cents(min), Cents(max), || splitmix(&mut state)).expect("possible");
            prop_assert_eq!(amounts.iter().map(|c| c.0).sum::<u64>(), budget);
            prop_assert!(amounts.iter().all(|c| (min..=max).contains(&c.0)));
        }
    }
}
