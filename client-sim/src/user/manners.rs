//! When a phone may shake, and how long it waits before it tries again: what the gateway tells, what silence means, and
//! what those do who obey nothing.
//!
//! The offered rate is the schedule's, and never more. An obeying phone whose time has not come waits with one intended
//! shake, and sends it as soon as it may, as a person would; those intended meanwhile are left out. So a phone that is
//! held back shakes just at the pace. From the moment at which it may shake on, the waiting one is intended, whether the
//! engine has come round to it or not: what is measured stays open-loop.

use crate::backoff::{self, Backoff, Jitter};
use crate::schedule::Micros;

/// How long a selfish phone waits before it tries again, whatever it was told: about as fast as a thumb taps.
const SELFISH_WAIT: Micros = Micros::from_ms(100);
/// How many times more tries it takes, because they cost it nothing: it does not go away sooner than the others.
const SELFISH_TRIES: u32 = 10;

/// What one phone was told and has met, as far as it says when to shake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    obeys: bool,
    /// Unanswered shakes in a row, of those sent after the silence before.
    silences: u8,
    pace_ms: u32,
    /// When the last shake was meant to be sent; zero before the first, for a run begins with its connections.
    last_due: Micros,
    /// Nothing before this, by a slow down or by a silence.
    quiet_until: Micros,
    /// When the last silence was noticed.
    silent_since: Micros,
}

impl Manners {
    pub(super) fn new(obeys: bool) -> Self {
        Self {
            obeys,
            silences: 0,
            pace_ms: 0,
            last_due: Micros::ZERO,
            quiet_until: Micros::ZERO,
            silent_since: Micros::ZERO,
        }
    }

    // ---- shakes ----------------------------------------------------------------------------------------------

    /// Whether a shake intended for `due` is sent. Intended times are compared, not those at which a busy engine came
    /// round to it. Those who do not obey always send.
    pub(super) fn may_shake(&self, due: Micros) -> bool {
        !self.obeys || due >= self.allowed_at()
    }

    /// When an obeying phone may shake next, as far as it knows now.
    pub(super) fn allowed_at(&self) -> Micros {
        let paced = match self.last_due {
            Micros::ZERO => Micros::ZERO,
            last => last.plus(Micros::from_ms(self.pace_ms.into())),
        };
        paced.max(self.quiet_until)
    }

    /// A shake intended for `due` was sent.
    pub(super) fn on_sent(&mut self, due: Micros) {
        self.last_due = due;
    }

    /// An answer came, with the pace from now on: the silence is over.
    pub(super) fn on_answer(&mut self, pace_ms: u32) {
        self.pace_ms = pace_ms;
        self.silences = 0;
    }

    /// The gateway said when to come again.
    pub(super) fn on_slow_down(&mut self, now: Micros, retry_after_ms: u32, jitter: &mut Jitter) {
        let wait = backoff::told(retry_after_ms, jitter);
        self.quiet_until = self.quiet_until.max(now.plus(wait));
    }

    /// A shake sent at `due` stayed unanswered. Shakes that were under way when the silence before was noticed are part
    /// of that one: a phone that has five of them out met one silence, not five. Says whether it is another silence.
    pub(super) fn on_silence(&mut self, now: Micros, due: Micros, silence: &Backoff, jitter: &mut Jitter) -> bool {
        if self.silences > 0 && due < self.silent_since {
            return false;
        }
        self.silences = self.silences.saturating_add(1);
        self.silent_since = now;
        let wait = silence.full_wait(self.silences.into(), jitter);
        self.quiet_until = self.quiet_until.max(now.plus(wait));
        true
    }

    // ---- tries -----------------------------------------------------------------------------------------------

    /// How many tries this phone takes where others take so many.
    pub(super) fn tries_max(&self, others: u32) -> u32 {
        if self.obeys {
            others
        } else {
            others.saturating_mul(SELFISH_TRIES)
        }
    }

    /// The wait after so many tries in a row that failed.
    pub(super) fn wait_after(&self, failed_tries: u32, backoff: &Backoff, jitter: &mut Jitter) -> Micros {
        if self.obeys {
            backoff.wait(failed_tries, jitter)
        } else {
            SELFISH_WAIT
        }
    }

    /// The wait before asking again, as told.
    pub(super) fn wait_told(&self, retry_after_ms: u32, jitter: &mut Jitter) -> Micros {
        if self.obeys {
            backoff::told(retry_after_ms, jitter)
        } else {
            SELFISH_WAIT
        }
    }

    /// The wait between a gateway that is silent and another: spread, because all its phones meet the same silence.
    pub(super) fn wait_to_move(&self, silence: &Backoff, jitter: &mut Jitter) -> Micros {
        if self.obeys {
            silence.full_wait(1, jitter)
        } else {
            Micros::ZERO
        }
    }

    /// The wait before connecting anew, as told by a gateway that goes away. Those who do not obey leave at once.
    pub(super) fn wait_to_reconnect(&self, reconnect_after_ms: u32, jitter: &mut Jitter) -> Micros {
        if self.obeys {
            backoff::told_to_reconnect(reconnect_after_ms, jitter)
        } else {
            Micros::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SILENCE: Backoff = Backoff {
        first_ms: 1_000,
        max_ms: 8_000,
    };

    fn ms(ms: u64) -> Micros {
        Micros::from_ms(ms)
    }

    /// What happens to a phone: an intended shake and its answer.
    #[derive(Clone, Copy, Debug)]
    enum Answer {
        Pace(u32),
        SlowDown(u32),
        Silence,
    }

    fn answers() -> impl Strategy<Value = Vec<(u64, Answer)>> {
        let answer = prop_oneof![
            (0_u32..5_000).prop_map(Answer::Pace),
            (0_u32..5_000).prop_map(Answer::SlowDown),
            Just(Answer::Silence),
        ];
        proptest::collection::vec((0_u64..3_000, answer), 1..100)
    }

    proptest! {
        /// However the gateway answers: no two shakes of an obeying phone are closer than the pace told in between, and
        /// none falls into a time that it was told to be quiet in. A selfish phone sends all.
        #[test]
        fn what_is_told_is_kept(events in answers(), seed: u64) {
            let mut jitter = Jitter::new(seed, 0);
            let (mut good, mut selfish) = (Manners::new(true), Manners::new(false));
            let mut due = ms(1);
            let mut pace = 0;
            let mut quiet_until = ms(0);
            let mut last: Option<Micros> = None;
            for (gap, answer) in events {
                due = due.plus(ms(gap));
                prop_assert!(selfish.may_shake(due));
                selfish.on_sent(due);
                if !good.may_shake(due) {
                    continue;
                }
                prop_assert!(due >= quiet_until);
                prop_assert!(last.is_none_or(|last| due >= last.plus(ms(pace))));
                good.on_sent(due);
                last = Some(due);
                for manners in [&mut good, &mut selfish] {
                    match answer {
                        Answer::Pace(told) => manners.on_answer(told),
                        Answer::SlowDown(after) => manners.on_slow_down(due, after, &mut jitter),
                        Answer::Silence => {
                            manners.on_silence(due.plus(ms(5)), due, &SILENCE, &mut jitter);
                        }
                    }
                }
                match answer {
                    Answer::Pace(told) => pace = told.into(),
                    Answer::SlowDown(after) => quiet_until = quiet_until.max(due.plus(ms(after.into()))),
                    Answer::Silence => {}
                }
            }
        }

        /// The n-th silence in a row keeps a phone quiet for no longer than the doubled bound, and the cap holds; one
        /// answer ends it.
        #[test]
        fn silence_backs_off_within_its_bounds(seed: u64, silences in 1_u64..20) {
            let mut jitter = Jitter::new(seed, 0);
            let mut manners = Manners::new(true);
            let mut now = ms(1);
            for silence in 1..=silences {
                now = manners.allowed_at().max(now).plus(ms(1));
                manners.on_sent(now);
                manners.on_silence(now.plus(ms(1)), now, &SILENCE, &mut jitter);
                let bound = ms((1_000_u64 << (silence - 1).min(10)).min(8_000));
                prop_assert!(manners.quiet_until <= now.plus(ms(1)).plus(bound));
            }
            manners.on_answer(0);
            manners.on_silence(now, now, &SILENCE, &mut jitter);
            prop_assert_eq!(manners.silences, 1);
        }
    }

    #[test]
    fn shakes_under_way_together_are_one_silence() {
        let mut jitter = Jitter::new(1, 1);
        let mut manners = Manners::new(true);
        for due in 0..5 {
            manners.on_silence(ms(5_000 + due), ms(due), &SILENCE, &mut jitter);
        }
        assert_eq!(manners.silences, 1);
        manners.on_silence(ms(12_000), ms(6_000), &SILENCE, &mut jitter);
        assert_eq!(manners.silences, 2);
    }

    #[test]
    fn full_jitter_uses_the_whole_range() {
        let mut jitter = Jitter::new(5, 1);
        let waits: Vec<u64> = (0..1_000)
            .map(|_| {
                let mut manners = Manners::new(true);
                manners.on_silence(ms(0), ms(0), &SILENCE, &mut jitter);
                manners.quiet_until.0
            })
            .collect();
        let quarters: Vec<usize> = (0..4)
            .map(|quarter| waits.iter().filter(|&&wait| wait / 250_000 == quarter).count())
            .collect();
        assert!(
            quarters.iter().all(|&count| (150..350).contains(&count)),
            "{quarters:?}"
        );
    }

    #[test]
    fn the_selfish_retry_at_once_and_longer() {
        let mut jitter = Jitter::new(2, 2);
        let backoff = Backoff {
            first_ms: 4_000,
            max_ms: 60_000,
        };
        let (good, selfish) = (Manners::new(true), Manners::new(false));
        assert_eq!((good.tries_max(4), selfish.tries_max(4)), (4, 40));
        assert_eq!(selfish.wait_after(9, &backoff, &mut jitter), SELFISH_WAIT);
        assert_eq!(selfish.wait_told(60_000, &mut jitter), SELFISH_WAIT);
        assert_eq!(selfish.wait_to_reconnect(60_000, &mut jitter), Micros::ZERO);
        assert!(good.wait_after(1, &backoff, &mut jitter) >= ms(2_000));
        assert!(good.wait_told(60_000, &mut jitter) >= ms(60_000));
        assert!(good.wait_to_reconnect(60_000, &mut jitter) >= ms(60_000));
    }
}
