//! Telling all sessions of a shard something, at a pace: a new phase, or to go away. Half a million packets in one turn
//! would be a burst that delays every shake behind it, so a sweep walks over the sessions a few at a time.

use super::Shard;
use super::io::Io;
use crate::broadcasts::{CLOSE_FROM, go_away, phase_changed};
use bytes::Bytes;
use shake_proto::code::Code;
use std::time::Duration;

/// Sessions told of a new phase each second: with about 10 µs a notice, a fifth of a core for at most 25 s when a
/// shard holds half a million.
const PHASE_PER_SECOND: f64 = 20_000.0;
/// The most slots that a turn looks at, also after a pause.
const SLOTS_PER_TURN: usize = 256;
/// The part of a drain's window in which sessions are told to go.
const TELL_UNTIL: f64 = 0.5;

/// What a sweep does with each session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Errand {
    TellPhase,
    SayGoAway,
    Close,
}

/// One walk over all slots, which need not begin at the first.
pub struct Sweep {
    errand: Errand,
    began_ns: u64,
    takes_ns: u64,
    slots: usize,
    done: usize,
}

/// The sweeps of a shard.
#[derive(Default)]
pub struct Sweeps {
    now: Option<Sweep>,
    /// Where the walk stands. It goes on from here, so that a change during a sweep does not keep the last from hearing.
    cursor: usize,
    /// The drain of which sessions were told, and of which they are closed, by its number; 0 before the first.
    told: u64,
    closed: u64,
}

impl Sweeps {
    /// Whether a turn is due soon although nothing arrives.
    pub fn is_under_way(&self) -> bool {
        self.now.is_some()
    }

    fn begin(&mut self, errand: Errand, slots: usize, now_ns: u64, takes: Duration) {
        self.now = Some(Sweep {
            errand,
            began_ns: now_ns,
            takes_ns: takes.as_nanos() as u64,
            slots,
            done: 0,
        });
    }
}

impl Sweep {
    /// How many slots are due.
    fn due(&self, now_ns: u64) -> usize {
        let share = (now_ns.saturating_sub(self.began_ns)) as f64 / self.takes_ns.max(1) as f64;
        let target = (share.min(1.0) * self.slots as f64).ceil() as usize;
        target.saturating_sub(self.done).min(SLOTS_PER_TURN)
    }
}

impl<I: Io> Shard<I> {
    /// Begins the sweeps that are due, and goes on with the one under way.
    pub(super) fn sweep(&mut self) {
        self.begin_sweeps();
        let now_ns = self.app.conditions.now.elapsed_ns;
        let Some(mut sweep) = self.sweeps.now.take() else {
            return;
        };
        // What they are all told alike.
        let notice = match sweep.errand {
            Errand::TellPhase => phase_changed(&self.app.conditions),
            Errand::SayGoAway | Errand::Close => Bytes::new(),
        };
        for _ in 0..sweep.due(now_ns) {
            self.sweeps.cursor = (self.sweeps.cursor + 1) % sweep.slots.max(1);
            self.visit(sweep.errand, self.sweeps.cursor, &notice);
            sweep.done += 1;
        }
        if sweep.done < sweep.slots {
            self.sweeps.now = Some(sweep);
        }
    }

    fn begin_sweeps(&mut self) {
        let is_new_phase = std::mem::take(&mut self.app.is_new_phase);
        let (slots, now_ns) = (self.sessions.capacity(), self.app.conditions.now.elapsed_ns);
        let drain = self.app.shared.current.drain();
        if drain.is_none() {
            // Who was told before a drain was cancelled goes; nobody else hears of it.
            self.sweeps.now.take_if(|sweep| sweep.errand != Errand::TellPhase);
        }
        if let Some(drain) = drain {
            let window = drain.ends_at - drain.began;
            let elapsed = self.app.conditions.now.instant.saturating_duration_since(drain.began);
            if std::mem::replace(&mut self.sweeps.told, drain.number) != drain.number {
                let takes = window.mul_f64(TELL_UNTIL).saturating_sub(elapsed);
                self.sweeps.begin(Errand::SayGoAway, slots, now_ns, takes);
            }
            if elapsed >= window.mul_f64(CLOSE_FROM)
                && std::mem::replace(&mut self.sweeps.closed, drain.number) != drain.number
            {
                // A tenth is left for what is late.
                let takes = window.mul_f64(0.9).saturating_sub(elapsed);
                self.sweeps.begin(Errand::Close, slots, now_ns, takes);
            }
        } else if is_new_phase && slots > 0 {
            let takes = Duration::from_secs_f64(slots as f64 / PHASE_PER_SECOND);
            self.sweeps.begin(Errand::TellPhase, slots, now_ns, takes);
        }
    }

    fn visit(&mut self, errand: Errand, index: usize, notice: &Bytes) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let now = self.app.conditions.now.instant;
        match errand {
            Errand::Close if session.connection.is_closed() => return,
            Errand::Close => session.close(now, Code::GoingAway),
            // Who takes no notices learns by the close, and has until then to finish.
            Errand::TellPhase | Errand::SayGoAway if !session.takes_notices => return,
            Errand::TellPhase | Errand::SayGoAway => {
                let bytes = match errand {
                    Errand::SayGoAway => {
                        let drain = self.app.shared.current.drain();
                        go_away(drain.as_deref(), now, &mut self.app.seals.rng)
                    }
                    _ => notice.clone(),
                };
                if session.notify(bytes) {
                    self.app.counters.notices.inc();
                } else {
                    self.app.counters.notices_missed.inc();
                }
            }
        }
        self.touch(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_even_bounded_and_whole() {
        let mut sweeps = Sweeps::default();
        sweeps.begin(Errand::TellPhase, 1_000, 5, Duration::from_millis(100));
        let sweep = sweeps.now.as_mut().expect("begun");
        assert_eq!(sweep.due(5), 0);
        assert_eq!(sweep.due(5 + 10_000_000), 100);
        sweep.done = 100;
        assert_eq!(sweep.due(5 + 10_000_000), 0);
        assert_eq!(sweep.due(u64::MAX), SLOTS_PER_TURN);
        sweep.done = 990;
        assert_eq!(sweep.due(u64::MAX), 10);
    }
}
