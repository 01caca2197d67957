//! What holds for one turn, of all that limits go by.

use rand::Rng;
use rand::rngs::StdRng;
use rate_limit::Limit;
use shake_rules::grade::Grade;
use shake_rules::throttle::GradeRules;
use shake_rules::throttle::pace::{UserLimit, spread_ms};

/// Moments of a user's limits are this long, in milliseconds, so that 32 bits last for 497 days.
pub(super) const MOMENT_MS: u32 = 10;

/// What holds for one turn.
pub struct Present {
    pub(super) grade: Grade,
    /// Nanoseconds since the shard began.
    pub(super) now_ns: u64,
    /// The pace that is told now, before spreading; zero for the show's.
    pub(super) pace_ms: u32,
    /// Shakes of one user.
    pub(super) user: UserLimit,
}

impl Present {
    pub(super) fn new() -> Self {
        Self {
            grade: Grade::default(),
            now_ns: 0,
            pace_ms: 0,
            user: UserLimit::Rules(unlimited()),
        }
    }

    /// The grade of this turn.
    pub fn grade(&self) -> Grade {
        self.grade
    }

    /// The pace to tell a user: the show's at grade 0, else the grade's, spread.
    pub fn pace_ms(&self, show_pace_ms: u32, rng: &mut StdRng) -> u32 {
        if self.pace_ms == 0 {
            show_pace_ms
        } else {
            spread_ms(self.pace_ms, rng.next_u32())
        }
    }

    pub(super) fn moment(&self) -> u32 {
        u32::try_from(self.now_ns / (u64::from(MOMENT_MS) * 1_000_000)).unwrap_or(u32::MAX)
    }
}

/// When who was refused may ask again: a random time within the grade's bounds.
pub fn retry_ms(rules: &GradeRules, rng: &mut StdRng) -> u32 {
    let [min, max] = rules.retry_ms;
    min + ((u64::from(max - min) * u64::from(rng.next_u32())) >> 32) as u32
}

pub(super) fn unlimited() -> Limit {
    Limit::new(f64::INFINITY, 1)
}
