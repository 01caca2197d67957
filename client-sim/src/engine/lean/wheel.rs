//! Timers of the seats: a wheel of one-millisecond ticks that holds indices, and knows nothing of what they are for.
//!
//! A deadline beyond the wheel stands in its last slot and is armed anew when that comes, so a session that sleeps
//! costs a look every half minute. A seat may stand in several slots; only the one that it says it is armed for counts.

use crate::schedule::Micros;

/// Half a minute of ticks.
const SLOTS: u64 = 1 << 15;
const TICK_US: u64 = 1_000;

/// A tick of the wheel, counted from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u64);

impl Tick {
    /// Never.
    pub(super) const NONE: Self = Self(u64::MAX);
}

pub(super) struct Wheel {
    slots: Vec<Vec<u32>>,
    /// The last tick that was worked off.
    at: u64,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Vec::new(); SLOTS as usize],
            at: 0,
        }
    }

    /// Arms the index for a time that is not before it, unless it is armed for an earlier tick already.
    pub(super) fn arm(&mut self, index: u32, armed: &mut Tick, at: Micros) {
        let tick = at.0.div_ceil(TICK_US).clamp(self.at + 1, self.at + SLOTS - 1);
        if tick < armed.0 {
            *armed = Tick(tick);
            self.slots[(tick % SLOTS) as usize].push(index);
        }
    }

    /// Moves to the next tick that is not after `now`; gives it, with what stands in its slot.
    pub(super) fn next(&mut self, now: Micros) -> Option<(Tick, Vec<u32>)> {
        while self.at < now.0 / TICK_US {
            self.at += 1;
            let slot = &mut self.slots[(self.at % SLOTS) as usize];
            if !slot.is_empty() {
                return Some((Tick(self.at), std::mem::take(slot)));
            }
        }
        None
    }

    /// When something may be due at the earliest, up to `limit`.
    pub(super) fn sleeps_until(&self, limit: Micros) -> Micros {
        let last = limit.0 / TICK_US;
        let busy =
            (self.at + 1..=last.min(self.at + SLOTS - 1)).find(|tick| !self.slots[(tick % SLOTS) as usize].is_empty());
        busy.map_or(limit, |tick| Micros(tick * TICK_US))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_comes_once_at_its_time_and_the_far_ones_early() {
        let mut wheel = Wheel::new();
        let mut armed = [Tick::NONE; 4];
        let times = [Micros(1), Micros::from_ms(7), Micros::from_ms(7), Micros::from_s(100)];
        for (index, at) in times.into_iter().enumerate() {
            wheel.arm(index as u32, &mut armed[index], at);
        }
        wheel.arm(1, &mut armed[1], Micros::from_ms(9));
        wheel.arm(2, &mut armed[2], Micros::from_ms(3));
        assert_eq!(wheel.sleeps_until(Micros::from_ms(50)), Micros::from_ms(1));
        let mut came = Vec::new();
        for ms in 0..40_000 {
            while let Some((tick, indices)) = wheel.next(Micros::from_ms(ms)) {
                let due = indices.into_iter().filter(|index| armed[*index as usize] == tick);
                came.extend(due.map(|index| (ms, index)));
            }
        }
        assert_eq!(came, [(1, 0), (3, 2), (7, 1), (SLOTS - 1, 3)]);
    }
}
