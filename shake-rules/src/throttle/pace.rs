//! The pace that clients are told under load: a closed loop. What the gateway can serve is estimated from what it serves
//! and the CPU time that takes; the estimate is corrected until packets wait in the socket for about as long as wanted,
//! that is, until the gateway is busy all the time and hardly more. What comes out is split over those who shake.
//!
//! The correction moves a little in the time that clients need to hear of it, and no faster. The queue fills in a tenth
//! of a second when a tenth too much comes, while clients follow a pace only at their next shake: a loop that answered
//! the queue at once would swing between too much and nothing.

use super::GradeRules;
use crate::cell::Quota;
use crate::grade::Grade;

/// The share of the CPU from which on the cost of a shake is measured: below it, idle turns count for too much. From
/// there to full, what costs the same whatever is served (turns, refusals) makes a shake look dearer than it is; so the
/// estimate only rises there.
const BUSY_SHARE: f64 = 0.5;
const FULL_SHARE: f64 = 0.9;
/// Packets for each shake served, at the most, for the cost of a shake to be measured: the shake, an acknowledgement, and
/// as much again. With more, handshakes take the CPU.
const PACKETS_PER_SHAKE_MAX: u64 = 4;
/// Time constant of the estimate, in milliseconds.
const CAPACITY_CONSTANT_MS: f64 = 2_000.0;
/// How much the correction rises in one period while nothing waits (as a logarithm), and how much it falls while packets
/// wait for twice as long as wanted or longer.
const RISE: f64 = 0.025;
const FALL: f64 = 0.025;
/// The share of the CPU up to which the correction rises, and how far below it begins to rise more slowly: the CPU tells
/// of the end before anything waits, when it is too late to slow down gently.
const CPU_WANTED: f64 = 0.97;
const CPU_NEAR: f64 = 0.12;
/// The correction's bounds. Above, it goes on rising while less comes than is invited, and has to come down again when
/// more comes: so it is near one.
const CORRECTION: [f64; 2] = [0.25, 1.2];
/// A period is at least this long, in milliseconds: measuring and smoothing take that.
const PERIOD_MS_MIN: f64 = 700.0;

/// What was measured since the look before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// How long ago that was, in milliseconds.
    pub elapsed_ms: u64,
    /// Shakes served.
    pub served: u64,
    /// Packets received and not shed.
    pub packets: u64,
    /// CPU time over that of the cores which the process may run on, 0 to 1.
    pub process_cpu: f64,
    /// How long packets waited in the socket, in milliseconds, smoothed.
    pub queue_wait_ms: f64,
    /// Users who shook lately.
    pub shakers: u64,
}

/// Finds how many shakes per second clients are to be invited to.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    /// Shakes per second that can be served; zero before anything was measured.
    capacity_per_second: f64,
    correction: f64,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            capacity_per_second: 0.0,
            correction: 1.0,
        }
    }
}

impl Pacer {
    /// Shakes per second that can be served, as measured while the gateway was busy; zero before it was.
    #[must_use]
    pub fn capacity_per_second(&self) -> f64 {
        self.capacity_per_second
    }

    /// Shakes per second that paces are to be made for; zero when nothing is known yet.
    #[must_use]
    pub fn invited_per_second(&self) -> f64 {
        self.capacity_per_second * self.correction
    }

    /// Takes in what was measured. `wanted_ms` is how long packets are to wait, `rules` are those of `grade`.
    pub fn look(&mut self, look: &Look, wanted_ms: u32, grade: Grade, rules: &GradeRules) {
        self.estimate(look);
        if grade == Grade::default() {
            // Nobody is paced, so the queue says nothing about the pace.
            self.correction = 1.0;
            return;
        }
        let wanted_ms = f64::from(wanted_ms.max(1));
        let in_queue = ((wanted_ms - look.queue_wait_ms) / wanted_ms).clamp(-1.0, 1.0);
        let in_cpu = ((CPU_WANTED - look.process_cpu) / CPU_NEAR).clamp(0.0, 1.0);
        let room = in_queue.min(in_cpu);
        let pace_ms = fair_pace_ms(rules, 0, look.shakers, self.invited_per_second());
        // A pace told reaches a client with the answer to its next shake, and shows at the one after that.
        let period_ms = PERIOD_MS_MIN.max(1.5 * f64::from(pace_ms));
        let step = if room > 0.0 { RISE } else { FALL } * room * look.elapsed_ms as f64 / period_ms;
        self.correction = (self.correction * step.exp()).clamp(CORRECTION[0], CORRECTION[1]);
    }

    fn estimate(&mut self, look: &Look) {
        let is_telling = look.process_cpu >= BUSY_SHARE
            && look.served > 0
            && look.elapsed_ms > 0
            && look.packets <= look.served * PACKETS_PER_SHAKE_MAX;
        if !is_telling {
            return;
        }
        // Served at this cost, with all of the CPU that the process may use.
        let sample = look.served as f64 * 1e3 / look.elapsed_ms as f64 / look.process_cpu;
        let weight = if self.capacity_per_second == 0.0 {
            1.0
        } else if sample > self.capacity_per_second || look.process_cpu >= FULL_SHARE {
            1.0 - (-(look.elapsed_ms as f64) / CAPACITY_CONSTANT_MS).exp()
        } else {
            0.0
        };
        self.capacity_per_second += (sample - self.capacity_per_second) * weight;
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
/// is never refused; hardly below, so that who does not keep it gains nothing.
const PACE_KEPT: f64 = 0.9;
/// Shakes that a user may be ahead of the pace: jitter of the network may bring two together.
const PACED_BURST: u32 = 3;

/// What one user may shake who is told `told_ms` with the answer, where `pace_ms` is told before spreading, if `user` would
/// allow more. Because the rate is that of the pace which this user is told, those who shake on regardless do not fall into
/// step either. Because the burst is the same for all, whether a shake is in time is known before `told_ms` is drawn, and
/// nobody gains by drawing again.
#[must_use]
pub fn kept(user: Quota, pace_ms: u32, told_ms: u32) -> Quota {
    let every = |time_ms: u32| Quota::every((f64::from(time_ms) * PACE_KEPT * 1e6) as u64, PACED_BURST);
    user.slower(every(told_ms).with_burst_of(every(pace_ms)))
}

#[cfg(test)]
mod tests;
