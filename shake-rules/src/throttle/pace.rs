//! The pace that clients are told under load. What the gateway can serve is known from what it serves and the CPU time
//! that takes; so much less is invited that the CPU is nearly used and hardly anything waits. What comes out is split
//! over those who shake.
//!
//! The queue only brakes. It fills in a tenth of a second when a tenth too much comes, while clients follow a pace at
//! their next shake: a loop that sought a certain wait would swing between too much and nothing. And once the socket is full
//! each packet costs more, because it has left the caches by the time it is read; so it pays to stay below.

use super::{GradeRules, Rate};
use crate::grade::Grade;
use rate_limit::{Level, Limit, Pace};

/// The share of the CPU from which on the cost of a shake is measured: below it, idle turns count for too much. From
/// there to full, what costs the same whatever is served makes a shake look dearer than it is; so the estimate only rises
/// there.
const BUSY_SHARE: f64 = 0.5;
const FULL_SHARE: f64 = 0.9;
/// Packets for each shake served, at the most, for the cost of a shake to be measured: the shake, an acknowledgement, and
/// as much again. With more, handshakes take the CPU.
const PACKETS_PER_SHAKE_MAX: u64 = 4;
/// What shedding a packet costs, in parts of what serving a shake does. Measured by `cargo xtask bench overload`.
const SHED_COST: f64 = 0.1;
/// Time constant of what is measured, in milliseconds.
const COST_CONSTANT_MS: f64 = 1_500.0;
/// The share of the CPU that the gateway gets when it wants all, before any was measured; and the time constant, in
/// milliseconds, with which what was measured is forgotten when nothing waits.
const CPU_SHARE: f64 = 0.97;
const SHARE_FORGOTTEN_MS: f64 = 30_000.0;
/// The part of that share which is invited to.
const AIM: f64 = 0.98;
/// What waits is to be gone when clients have followed the pace told, which takes about a pace, and measuring takes at
/// least so long, in milliseconds; but no more than this part less is invited for it.
const PERIOD_MS_MIN: f64 = 700.0;
const BRAKE_MAX: f64 = 0.075;
/// When packets wait for more than twice as long as allowed, more comes than is invited: the correction falls so much in
/// a second, and rises again when they do not.
const CORRECTED_PER_SECOND: f64 = 0.004;
const CORRECTION_MIN: f64 = 0.25;

/// What was measured since the look before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// How long ago that was, in milliseconds.
    pub elapsed_ms: u64,
    /// Shakes served.
    pub served: u64,
    /// Packets received and not shed.
    pub packets: u64,
    /// Packets that were shed.
    pub shed: u64,
    /// Packets for which the socket had no room.
    pub overflowed: u64,
    /// CPU time over that of the cores which the process may run on, 0 to 1.
    pub process_cpu: f64,
    /// How long packets waited in the socket, in milliseconds.
    pub queue_wait_ms: f64,
    /// Users who shook lately.
    pub shakers: u64,
}

/// Finds how many shakes per second clients are to be invited to.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    /// What a whole CPU does in a second, in shakes, those included that shedding is worth; zero before it was measured.
    work_per_cpu_second: f64,
    /// The share of the CPU that the gateway gets when it wants all.
    cpu_share: f64,
    /// Packets for each shake served, while none is lost.
    packets_per_shake: f64,
    shed_per_second: f64,
    /// The part of what can be served that is invited to, for what waits now.
    aim: f64,
    /// The same for what has waited long.
    correction: f64,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            work_per_cpu_second: 0.0,
            cpu_share: CPU_SHARE,
            packets_per_shake: 0.0,
            shed_per_second: 0.0,
            aim: AIM,
            correction: 1.0,
        }
    }
}

impl Pacer {
    /// Shakes per second that can be served beside what is shed, as measured while the gateway was busy; zero before it was.
    #[must_use]
    pub fn capacity_per_second(&self) -> f64 {
        let work = self.work_per_cpu_second * self.cpu_share;
        (work - self.shed_per_second * SHED_COST).max(work / 2.0)
    }

    /// Shakes per second that paces are to be made for; zero when nothing is known yet.
    #[must_use]
    pub fn invited_per_second(&self) -> f64 {
        self.capacity_per_second() * self.aim * self.correction
    }

    /// Takes in what was measured while `grade` held, of which `rules` are. `allowed_ms` is how long packets may wait.
    pub fn look(&mut self, look: &Look, allowed_ms: u32, grade: Grade, rules: &GradeRules) {
        let waits = look.queue_wait_ms / f64::from(allowed_ms.max(1));
        self.estimate(look, waits > 1.0);
        if grade == Grade::default() {
            // Nobody is paced, so the queue says nothing about the pace.
            (self.aim, self.correction) = (AIM, 1.0);
            return;
        }
        let pace_ms = fair_pace_ms(rules, 0, look.shakers, self.invited_per_second());
        let period_ms = PERIOD_MS_MIN.max(pace_ms.into());
        self.aim = AIM - (look.queue_wait_ms / period_ms).min(BRAKE_MAX);
        let direction = (2.0 - waits).clamp(-1.0, 1.0);
        let step = direction * CORRECTED_PER_SECOND * look.elapsed_ms as f64 / 1e3;
        self.correction = (self.correction + step).clamp(CORRECTION_MIN, 1.0);
    }

    fn estimate(&mut self, look: &Look, is_queueing: bool) {
        let is_telling = look.process_cpu >= BUSY_SHARE
            && look.served > 0
            && look.elapsed_ms > 0
            && look.packets <= look.served * PACKETS_PER_SHAKE_MAX;
        if !is_telling {
            return;
        }
        let seconds = look.elapsed_ms as f64 / 1e3;
        let weight = |constant_ms: f64| 1.0 - (-(look.elapsed_ms as f64) / constant_ms).exp();
        let lately = weight(COST_CONSTANT_MS);
        self.shed_per_second += (look.shed as f64 / seconds - self.shed_per_second) * lately;
        if is_queueing {
            self.cpu_share += (look.process_cpu - self.cpu_share) * lately;
        } else {
            self.cpu_share += (CPU_SHARE - self.cpu_share) * weight(SHARE_FORGOTTEN_MS);
        }
        let is_first = self.work_per_cpu_second == 0.0;
        let served = if look.overflowed == 0 || is_first {
            let now = look.packets as f64 / look.served as f64;
            self.packets_per_shake += (now - self.packets_per_shake) * if is_first { 1.0 } else { lately };
            look.served as f64
        } else {
            // The socket lost acknowledgements too, so what was served took less than it will.
            (look.packets as f64 / self.packets_per_shake).min(look.served as f64)
        };
        let work = served + look.shed as f64 * SHED_COST;
        let sample = work / seconds / look.process_cpu;
        if is_first {
            self.work_per_cpu_second = sample;
        } else if sample > self.work_per_cpu_second || look.process_cpu >= FULL_SHARE * self.cpu_share {
            self.work_per_cpu_second += (sample - self.work_per_cpu_second) * lately;
        }
    }
}

/// The pace to tell: what clients are invited to, split over those who shake, within the grade's bounds, and never below
/// the show's. An `invited_per_second` of zero, when nothing is known yet, gives the smallest pace: what is served at
/// that one will show it.
#[must_use]
pub fn fair_pace_ms(rules: &GradeRules, show_pace_ms: u32, shakers: u64, invited_per_second: f64) -> u32 {
    let fair_ms = if invited_per_second > 0.0 {
        shakers as f64 * 1e3 / invited_per_second.min(rules.shakes.per_second)
    } else {
        0.0
    };
    let [min, max] = rules.pace_ms;
    (fair_ms.clamp(min.into(), max.into()) as u32).max(show_pace_ms)
}

/// Spreads a time by a third to either side, so that those who were told the same do not come back together: a wave of
/// clients is flat after about three paces. `random` is any 32 random bits.
#[must_use]
pub fn spread_ms(time_ms: u32, random: u32) -> u32 {
    let width = u64::from(time_ms) * 2 / 3;
    let low = time_ms - time_ms / 3;
    low + ((width * u64::from(random)) >> 32) as u32
}

/// The part of the pace told that must lie between a user's shakes in the long run. Below one, so that who keeps the pace
/// by a clock of its own is never refused; hardly below, so that who does not keep it gains nothing.
const PACE_KEPT: f64 = 0.98;
/// Shakes that a user may be ahead of the pace: jitter of the network may bring two together.
const PACED_BURST: u32 = 3;

/// How often one user may shake: as the grade's rules say, or as the pace does that users are told, where that is slower.
///
/// Because the rate is that of the pace which this user is told, those who shake on regardless do not fall into step.
/// Because the burst is the same for all, whether a shake is in time is known before a pace is drawn, and nobody gains by
/// drawing again.
#[derive(Debug)]
pub enum UserLimit {
    /// The grade's rules.
    Rules(Limit),
    /// The pace, before spreading.
    Pace(Pace),
}

impl UserLimit {
    /// The slower of a grade's rate and the pace of `pace_ms` milliseconds, which is zero where users are told the show's.
    #[must_use]
    pub fn new(rate: Rate, pace_ms: u32) -> Self {
        let rules = rate.part(1);
        if rules.interval_ns() >= kept_ns(pace_ms) {
            Self::Rules(rules)
        } else {
            Self::Pace(Pace::every(kept_ns(pace_ms), PACED_BURST))
        }
    }

    /// Nanoseconds until the user may shake; zero when it is now.
    #[must_use]
    pub fn wait_ns(&self, level: &Level, now_ns: u64) -> u64 {
        match self {
            Self::Rules(limit) => limit.wait_ns(level, now_ns),
            Self::Pace(pace) => pace.limit().wait_ns(level, now_ns),
        }
    }

    /// Takes a shake of a user who is told `told_ms` with its answer.
    ///
    /// # Errors
    /// The nanoseconds to wait; nothing was taken then.
    pub fn take(&self, level: &mut Level, told_ms: u32, now_ns: u64) -> Result<(), u64> {
        match self {
            Self::Rules(limit) => limit.take(level, now_ns),
            Self::Pace(pace) => pace.take(level, kept_ns(told_ms), now_ns),
        }
    }
}

/// What of a pace must lie between a user's shakes, in nanoseconds.
fn kept_ns(pace_ms: u32) -> u64 {
    (f64::from(pace_ms) * PACE_KEPT * 1e6) as u64
}

#[cfg(test)]
mod tests;
