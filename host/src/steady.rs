//! Which time it is, whatever the wall clock does for a moment. Pure: the clocks' readings are arguments.
//!
//! ```text
//!   steady time = CLOCK_BOOTTIME + offset        the offset is taken at the start
//!
//!   wall − boot ─────────────┐ 5 min ┌────────────────┐  −1 h, for good
//!                            └───────┘                └──────────────────
//!   offset      ──────────────────────────────────────────────┐
//!                 a jump changes nothing             10 s ────▶└─────────
//! ```
//! CLOCK_BOOTTIME never steps, is steered as the wall clock is, and runs on while the machine is suspended. A wall clock
//! that shows another time and keeps to it for ten seconds has been corrected: its offset is taken then, in one step.

/// How far a wall clock may be off the offset that it is held against and still agree with it, in milliseconds.
pub const WITHIN_MS: u64 = 250;
/// How long it must keep another offset until that is taken, in milliseconds.
pub const KEPT_FOR_MS: u64 = 10_000;
/// Looks that lie further apart than this show nothing of the time between them, in milliseconds.
const UNSEEN_MS_MAX: u64 = 2_000;

/// An offset to CLOCK_BOOTTIME, and what the wall clock says against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steady {
    offset_ms: i64,
    other: Option<Other>,
}

/// Another offset that the wall clock keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Other {
    offset_ms: i64,
    since_ms: u64,
    looked_ms: u64,
}

impl Steady {
    /// By the wall clock of this moment.
    #[must_use]
    pub fn start(boot_ms: u64, wall_ms: u64) -> Self {
        Self::by(between(boot_ms, wall_ms))
    }

    /// By this offset, in milliseconds: that of a process which runs already.
    #[must_use]
    pub fn by(offset_ms: i64) -> Self {
        Self { offset_ms, other: None }
    }

    /// Milliseconds to add to CLOCK_BOOTTIME.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    /// The time, in milliseconds since 1970.
    #[must_use]
    pub fn at(&self, boot_ms: u64) -> u64 {
        boot_ms.saturating_add_signed(self.offset_ms)
    }

    /// Goes by another's offset from now on. Gives the step in milliseconds, when there is one.
    pub fn follow(&mut self, offset_ms: i64) -> Option<i64> {
        let step_ms = offset_ms - self.offset_ms;
        if step_ms == 0 {
            return None;
        }
        *self = Self::by(offset_ms);
        Some(step_ms)
    }

    /// Looks at the clocks; to be called some times a second. Gives the step in milliseconds when another offset is taken.
    pub fn look(&mut self, boot_ms: u64, wall_ms: u64) -> Option<i64> {
        let found_ms = between(boot_ms, wall_ms);
        if found_ms.abs_diff(self.offset_ms) <= WITHIN_MS {
            self.other = None;
            return None;
        }
        let kept = self.other.as_mut().filter(|other| {
            found_ms.abs_diff(other.offset_ms) <= WITHIN_MS && boot_ms.saturating_sub(other.looked_ms) <= UNSEEN_MS_MAX
        });
        let Some(other) = kept else {
            self.other = Some(Other {
                offset_ms: found_ms,
                since_ms: boot_ms,
                looked_ms: boot_ms,
            });
            return None;
        };
        other.looked_ms = boot_ms;
        if boot_ms.saturating_sub(other.since_ms) < KEPT_FOR_MS {
            return None;
        }
        self.follow(found_ms)
    }
}

fn between(boot_ms: u64, wall_ms: u64) -> i64 {
    wall_ms.cast_signed().wrapping_sub(boot_ms.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOOT: u64 = 5_000_000;
    const WALL: u64 = 1_800_000_000_000;
    const LOOK_MS: u64 = 100;

    /// A steady clock that is looked at ten times a second while the wall clock is off by so much.
    struct Play {
        steady: Steady,
        boot_ms: u64,
        off_ms: i64,
    }

    impl Play {
        fn new() -> Self {
            Self {
                steady: Steady::start(BOOT, WALL),
                boot_ms: BOOT,
                off_ms: 0,
            }
        }

        fn look(&mut self) -> Option<i64> {
            let wall_ms = (self.boot_ms + WALL - BOOT).saturating_add_signed(self.off_ms);
            self.steady.look(self.boot_ms, wall_ms)
        }

        /// So much time passes with the wall clock off by so much; the sum of the steps that were taken.
        fn pass(&mut self, ms: u64, off_ms: i64) -> i64 {
            self.off_ms = off_ms;
            let mut steps = 0;
            for _ in 0..ms / LOOK_MS {
                self.boot_ms += LOOK_MS;
                steps += self.look().unwrap_or(0);
            }
            steps
        }

        fn is_true(&self) -> bool {
            self.steady.at(self.boot_ms) == self.boot_ms - BOOT + WALL
        }
    }

    #[test]
    fn a_clock_that_is_ahead_for_a_moment_changes_nothing() {
        let mut play = Play::new();
        assert_eq!(play.pass(3_000, 300_000), 0, "five minutes ahead for three seconds");
        assert_eq!(play.pass(60_000, 0), 0);
        assert!(play.is_true());
    }

    #[test]
    fn a_clock_that_was_set_right_is_followed_after_ten_seconds() {
        for step_ms in [-3_600_000, -300, 300, 3_600_000] {
            let mut play = Play::new();
            assert_eq!(play.pass(KEPT_FOR_MS, step_ms), 0, "{step_ms}");
            assert!(play.is_true());
            assert_eq!(play.pass(LOOK_MS, step_ms), step_ms);
            assert_eq!(play.pass(60_000, step_ms), 0, "once");
        }
    }

    /// What is seen before and after a pause of the process says nothing of the time between.
    #[test]
    fn ten_seconds_must_be_seen() {
        let mut play = Play::new();
        play.pass(1_000, 7_000);
        play.boot_ms += 60_000;
        assert_eq!(play.look(), None, "it may have been right meanwhile");
        assert_eq!(play.pass(KEPT_FOR_MS, 7_000), 7_000);
    }

    /// The machine is suspended for an hour: both clocks have gone on.
    #[test]
    fn suspension_is_no_step() {
        let mut play = Play::new();
        play.boot_ms += 3_600_000;
        assert_eq!(play.look(), None);
        assert_eq!(play.pass(60_000, 0), 0);
        assert!(play.is_true());
    }

    #[test]
    fn whoever_starts_beside_another_agrees_with_it() {
        let mut first = Play::new();
        first.pass(5_000, 300_000);
        let second = Steady::by(first.steady.offset_ms());
        assert_eq!(second.at(first.boot_ms), first.steady.at(first.boot_ms));
        let mut third = Steady::start(first.boot_ms, first.boot_ms);
        assert!(third.follow(second.offset_ms()).is_some());
        assert_eq!(third.follow(second.offset_ms()), None);
        assert_eq!(third, second);
    }

    proptest! {
        /// However the wall clock jumps about, as long as it keeps no other time for ten seconds nothing changes.
        #[test]
        fn jumps_that_do_not_last_change_nothing(
            jumps in prop::collection::vec((-10_000_000_i64..10_000_000, 1..KEPT_FOR_MS), 1..40),
        ) {
            let mut play = Play::new();
            for (off_ms, ms) in jumps {
                prop_assert_eq!(play.pass(ms, off_ms), 0);
                play.pass(LOOK_MS, 0);
                prop_assert!(play.is_true());
            }
        }

        /// Steering that CLOCK_BOOTTIME does not share is followed in small steps, and the time is never far off.
        #[test]
        fn slow_steering_is_followed(ppm in -5_000_i64..5_000, seconds in 1_u64..4_000) {
            let mut play = Play::new();
            for second in 0..seconds as i64 {
                play.pass(1_000, second * ppm / 1_000);
                let off_ms = play.steady.offset_ms() - (WALL - BOOT) as i64 - play.off_ms;
                // What agrees, and what ten seconds more bring.
                prop_assert!(off_ms.unsigned_abs() <= 2 * WITHIN_MS + 100, "{} ms off", off_ms);
            }
        }

        /// Wherever the wall clock ends up, the steady one is there ten seconds later; and it goes back only by a step
        /// that it tells.
        #[test]
        fn whatever_is_kept_is_reached(offs in prop::collection::vec((-10_000_000_i64..10_000_000, 0_u64..30_000), 1..12)) {
            let mut play = Play::new();
            let mut last = play.steady.at(play.boot_ms);
            for (off_ms, ms) in offs {
                for _ in 0..ms / LOOK_MS {
                    let step = play.pass(LOOK_MS, off_ms);
                    let now = play.steady.at(play.boot_ms);
                    prop_assert_eq!(now as i64, last as i64 + LOOK_MS as i64 + step);
                    last = now;
                }
            }
            let off_ms = play.off_ms;
            play.pass(KEPT_FOR_MS + LOOK_MS, off_ms);
            let error = play.steady.offset_ms() - (WALL - BOOT) as i64 - off_ms;
            prop_assert!(error.unsigned_abs() <= WITHIN_MS);
        }
    }
}
