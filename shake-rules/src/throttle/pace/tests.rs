//! The loop is held to what it is for in a model: a gateway that serves so many shakes a second, and phones that obey or
//! do not. Time goes in steps of a millisecond, and everything is drawn from a seed.

use super::*;
use crate::grade::{Grader, Signals, StandingWait};
use crate::throttle::{DEFAULT, Throttle};
use proptest::prelude::*;
use rate_limit::Level;
use std::collections::{BTreeMap, VecDeque};

/// The gateway's CPU time for a shake that it refuses, in parts of that of one which it serves.
const REFUSAL_COST: f64 = 0.15;
/// What a turn costs, be there a shake or none, in parts of a millisecond: batches of more shakes are cheaper.
const TURN_COST: f64 = 0.05;
/// What the socket and the gateway before it take, as the time in which it is worked off; what comes then is lost.
const BUFFER_MS: f64 = 90.0;
/// The part of a shake's cost that its acknowledgement has, which comes in a packet of its own so much later.
const ACK_COST: f64 = 0.25;
const ACK_MS: u64 = 25;
/// How much dearer a packet is when the socket is full: it has left the caches by then.
const COLD_COST: f64 = 0.1;
/// The share of the CPU that is left to the gateway by others.
const CPU_MAX: f64 = 0.95;
/// A phone that hears nothing for so long takes a shake for lost, and is quiet for up to so long.
const TIMEOUT_MS: u64 = 5_000;
const QUIET_MS: u64 = 2_000;

/// For so long at the most the kernel drops what comes from a phone, before it is judged anew.
const HOLD_MS_MAX: u64 = 1_000;

struct Phone {
    obeys: bool,
    /// When it wishes to shake next by its schedule, and when it may.
    wishes_at_ms: f64,
    allowed_at_ms: u64,
    heard_at_ms: u64,
    /// Its shake stands in the socket.
    waits: bool,
    /// When it will notice the loss of a shake, if one was lost.
    notices_at_ms: Option<u64>,
    /// The pace that it was told last.
    told_ms: u32,
    /// Until then the kernel drops what it sends.
    held_until_ms: u64,
    level: Level,
}

struct Model {
    /// The kernel drops what comes from those who do not obey while they are over the rate.
    has_filter: bool,
    phones: Vec<Phone>,
    /// Phones by when they shake next.
    calendar: BTreeMap<u64, Vec<usize>>,
    /// Packets that stand in the socket, and since when: a phone's shake, or an acknowledgement.
    socket: VecDeque<(Option<usize>, u64)>,
    /// Acknowledgements under way: how many come when.
    acks: VecDeque<(u64, usize)>,
    served_per_ms: f64,
    throttle: Throttle,
    pacer: Pacer,
    grader: Grader,
    smoothed: Signals,
    now_ms: u64,
    /// CPU time left over of the millisecond before; below zero when it was used ahead.
    budget_ms: f64,
    random: u64,
    pace_ms: u32,
    // Since the last look.
    cpu_ms: f64,
    served: u64,
    packets: u64,
    shed: u64,
    overflowed: u64,
    /// The shortest wait since the last look, if any packet came.
    wait_us_min: Option<u32>,
    standing: StandingWait,
}

/// What a stretch of time gave.
#[derive(Debug, Default)]
struct Stretch {
    served: u64,
    refused: u64,
    filtered: u64,
    lost: u64,
    wait_ms_max: u64,
}

impl Model {
    /// A gateway that serves `capacity` shakes a second, and so many phones.
    fn new(capacity: f64, phones: usize, selfish_share: f64, pace_ms_min: u32, seed: u64) -> Self {
        let mut throttle = Throttle::parse(DEFAULT).expect("good");
        for rules in &mut throttle.grades {
            rules.pace_ms[0] = rules.pace_ms[0].min(pace_ms_min);
            rules.user.per_second = 1e3 / f64::from(pace_ms_min) * 2.0;
        }
        let phone = |index: usize| Phone {
            obeys: (index as f64 + 0.5) / phones as f64 >= selfish_share,
            wishes_at_ms: 0.0,
            allowed_at_ms: 0,
            heard_at_ms: 0,
            waits: false,
            notices_at_ms: None,
            told_ms: 0,
            held_until_ms: 0,
            level: Level::default(),
        };
        Self {
            has_filter: false,
            phones: (0..phones).map(phone).collect(),
            calendar: BTreeMap::new(),
            socket: VecDeque::new(),
            acks: VecDeque::new(),
            served_per_ms: capacity / 1e3,
            throttle,
            pacer: Pacer::default(),
            grader: Grader::default(),
            smoothed: Signals::default(),
            now_ms: 0,
            budget_ms: 0.0,
            random: seed,
            pace_ms: 0,
            cpu_ms: 0.0,
            served: 0,
            packets: 0,
            shed: 0,
            overflowed: 0,
            wait_us_min: None,
            standing: StandingWait::default(),
        }
    }

    /// Plays so many seconds in which all phones together wish for `wished` shakes a second.
    fn play(&mut self, seconds: u64, wished: f64) -> Stretch {
        let interval_ms = self.phones.len() as f64 * 1e3 / wished;
        self.calendar.clear();
        for at in 0..self.phones.len() {
            let part = self.draw();
            self.phones[at].wishes_at_ms = self.now_ms as f64 + interval_ms * part;
            if !self.phones[at].waits {
                self.plan(at);
            }
        }
        let mut stretch = Stretch::default();
        for _ in 0..seconds * 1_000 {
            self.now_ms += 1;
            self.shake(interval_ms, &mut stretch);
            self.serve(&mut stretch);
            if self.now_ms.is_multiple_of(100) {
                self.look();
            }
        }
        stretch
    }

    fn draw(&mut self) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as f64 / f64::from(1_u32 << 31)
    }

    /// Puts a phone into the calendar, for when it wishes to shake and may.
    fn plan(&mut self, at: usize) {
        let phone = &self.phones[at];
        let may_at = if phone.obeys { phone.allowed_at_ms as f64 } else { 0.0 };
        let due_ms = phone.wishes_at_ms.max(may_at).ceil() as u64;
        self.calendar.entry(due_ms.max(self.now_ms + 1)).or_default().push(at);
    }

    fn shake(&mut self, interval_ms: f64, stretch: &mut Stretch) {
        let room = self.room();
        while let Some(&(at_ms, count)) = self.acks.front()
            && at_ms <= self.now_ms
        {
            self.acks.pop_front();
            let fits = count.min(room.saturating_sub(self.socket.len()));
            self.overflowed += (count - fits) as u64;
            self.socket.extend(std::iter::repeat_n((None, self.now_ms), fits));
        }
        for at in self.calendar.remove(&self.now_ms).unwrap_or_default() {
            let part = self.draw();
            let phone = &mut self.phones[at];
            if phone.notices_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
                phone.notices_at_ms = None;
                phone.allowed_at_ms = phone.allowed_at_ms.max(self.now_ms + (part * QUIET_MS as f64) as u64);
            }
            if phone.obeys && phone.allowed_at_ms > self.now_ms {
                self.plan(at);
                continue;
            }
            // What it wished for meanwhile is one wish.
            let missed = ((self.now_ms as f64 - phone.wishes_at_ms) / interval_ms).floor();
            phone.wishes_at_ms += (missed + 1.0) * interval_ms;
            phone.allowed_at_ms = self.now_ms + u64::from(phone.told_ms);
            if self.now_ms < phone.held_until_ms {
                stretch.filtered += 1;
            } else if self.socket.len() < room {
                self.socket.push_back((Some(at), self.now_ms));
                // Who obeys goes on when the answer says how.
                if phone.obeys {
                    phone.waits = true;
                    continue;
                }
            } else {
                stretch.lost += 1;
                self.overflowed += 1;
                phone.notices_at_ms.get_or_insert(self.now_ms + TIMEOUT_MS);
            }
            self.plan(at);
        }
    }

    fn serve(&mut self, stretch: &mut Stretch) {
        let rules = self.throttle.at(self.grader.grade());
        let retry_ms = u64::from(rules.retry_ms[0]);
        let user = UserLimit::new(rules.user, self.pace_ms);
        let before_ms = self.budget_ms.min(0.0);
        self.budget_ms = before_ms + CPU_MAX;
        let mut worked = 0.0;
        let mut acks = 0;
        while self.budget_ms > 0.0
            && let Some((at, since_ms)) = self.socket.pop_front()
        {
            worked = TURN_COST;
            self.packets += 1;
            let wait_ms = self.now_ms - since_ms;
            stretch.wait_ms_max = stretch.wait_ms_max.max(wait_ms);
            let wait_us = wait_ms as u32 * 1_000;
            self.wait_us_min = Some(self.wait_us_min.map_or(wait_us, |min| min.min(wait_us)));
            // Those that the gateway has read are not cold: half of what there is room for.
            let in_socket = (2.0 * self.socket.len() as f64 / self.room() as f64 - 1.0).max(0.0);
            let cold = 1.0 + COLD_COST * in_socket;
            let cost_ms = cold / self.served_per_ms;
            let Some(at) = at else {
                self.budget_ms -= cost_ms * ACK_COST;
                self.cpu_ms += cost_ms * ACK_COST;
                continue;
            };
            let random = (self.draw() * f64::from(u32::MAX)) as u32;
            let phone = &mut self.phones[at];
            phone.heard_at_ms = self.now_ms;
            phone.waits = false;
            let told_ms = spread_ms(self.pace_ms, random);
            if user.take(&mut phone.level, told_ms, self.now_ms * 1_000_000).is_ok() {
                self.budget_ms -= cost_ms * (1.0 - ACK_COST);
                self.cpu_ms += cost_ms * (1.0 - ACK_COST);
                acks += 1;
                self.served += 1;
                stretch.served += 1;
                phone.told_ms = told_ms;
                phone.allowed_at_ms = since_ms + u64::from(phone.told_ms);
                if phone.obeys {
                    self.plan(at);
                }
            } else {
                self.budget_ms -= cost_ms * REFUSAL_COST;
                self.cpu_ms += cost_ms * REFUSAL_COST;
                self.packets -= 1;
                self.shed += 1;
                stretch.refused += 1;
                phone.allowed_at_ms = self.now_ms + retry_ms;
                if phone.obeys {
                    self.plan(at);
                }
            }
            let phone = &mut self.phones[at];
            if self.has_filter && !phone.obeys {
                let over_ms = user.wait_ns(&phone.level, self.now_ms * 1_000_000) / 1_000_000;
                phone.held_until_ms = self.now_ms + over_ms.min(HOLD_MS_MAX);
            }
        }
        self.acks.push_back((self.now_ms + ACK_MS, acks));
        self.budget_ms -= worked;
        self.cpu_ms += worked;
    }

    /// Packets that the socket takes.
    fn room(&self) -> usize {
        (BUFFER_MS * self.served_per_ms * 2.0) as usize
    }

    fn look(&mut self) {
        let process_cpu = (std::mem::take(&mut self.cpu_ms) / 100.0).min(1.0);
        let wait_us = self.standing.look(self.wait_us_min.take().unwrap_or(0));
        let sample = Signals {
            process_cpu,
            cgroup_cpu: process_cpu,
            queue_wait_ms: f64::from(wait_us) / 1e3,
            ring_fill: 0.0,
        };
        self.smoothed = self.smoothed.smoothed(&sample, 100, self.throttle.smooth_ms);
        let grade = self.grader.step(&self.smoothed, self.now_ms, &self.throttle);
        let lately = |phone: &&Phone| phone.heard_at_ms + 10_000 >= self.now_ms && phone.heard_at_ms > 0;
        let shakers = self.phones.iter().filter(lately).count() as u64;
        let served = std::mem::take(&mut self.served);
        let look = Look {
            elapsed_ms: 100,
            served,
            packets: std::mem::take(&mut self.packets),
            shed: std::mem::take(&mut self.shed),
            overflowed: std::mem::take(&mut self.overflowed),
            process_cpu,
            queue_wait_ms: sample.queue_wait_ms,
            shakers,
        };
        let rules = self.throttle.at(grade);
        self.pacer.look(&look, self.throttle.queue_wait_ms, grade, rules);
        self.pace_ms = match grade.number() {
            0 => 0,
            _ => fair_pace_ms(rules, 0, shakers, self.pacer.invited_per_second()),
        };
    }
}

/// Steps of load from half of what can be served to three times as much, and back. The first seconds of a step are for
/// the loop to find its way; what is served in the rest is compared with what can be, less what refusals take.
fn check(mut model: Model, seconds: u64) {
    let capacity = model.served_per_ms * 1e3;
    let calm = model.play(seconds, capacity * 0.5);
    let wanted = capacity * 0.5 * seconds as f64;
    assert!(calm.served as f64 > wanted * 0.97, "half the load is served: {calm:?}");
    for factor in [1.0, 1.5, 2.0, 3.0] {
        model.play(seconds / 2, capacity * factor);
        let stretch = model.play(seconds, capacity * factor);
        let all = capacity * (CPU_MAX - TURN_COST) * seconds as f64;
        let possible = all - stretch.refused as f64 * REFUSAL_COST;
        let share = stretch.served as f64 / possible;
        let told = format!(
            "{factor}x of {capacity}/s by {} phones, {} selfish, filter {}: {share:.3} of what is possible, {stretch:?}, {:?}",
            model.phones.len(),
            model.phones.iter().filter(|phone| !phone.obeys).count(),
            model.has_filter,
            model.pacer
        );
        assert!(share >= 0.9, "{told}");
    }
    model.play(10, capacity * 0.1);
    assert_eq!(
        model.grader.grade().number(),
        0,
        "at ease ten seconds after the load fell"
    );
}

#[test]
fn what_is_served_stays_near_what_can_be() {
    // Few phones that each stand for many, as in `cargo xtask bench overload`; and as on the night: paces of seconds.
    for (capacity, phones, pace_ms_min, seconds) in [
        (20_000.0, 2_000, 20, 12),
        (20_000.0, 40_000, 1_000, 40),
        (20_000.0, 80_000, 1_000, 40),
    ] {
        for (selfish_share, has_filter) in [(0.0, false), (0.3, false), (0.3, true)] {
            let mut model = Model::new(capacity, phones, selfish_share, pace_ms_min, 7);
            model.has_filter = has_filter;
            check(model, seconds);
        }
    }
}

proptest! {
    #[test]
    fn paces_stay_in_their_bounds(shakers: u32, invited in 0.0_f64..1e6, show in 1_u32..9_000, random: u32) {
        let throttle = Throttle::parse(DEFAULT).expect("good");
        for rules in &throttle.grades[1..] {
            let pace = fair_pace_ms(rules, show, shakers.into(), invited);
            prop_assert!(pace >= show && pace <= rules.pace_ms[1].max(show));
            let told = spread_ms(pace, random);
            prop_assert!(told >= pace - pace / 3 && told <= pace + pace / 3 + 1);
        }
    }

    /// Whatever is measured, what is invited stays within bounds of what was really served, and a grade of 0 forgets what
    /// has waited.
    #[test]
    fn the_invitation_stays_near_what_was_measured(looks in proptest::collection::vec((1_u64..2_000, 0_u64..50_000, 0.0_f64..1.0, 0.0_f64..1e4, 0_u64..50_000), 1..200)) {
        let throttle = Throttle::parse(DEFAULT).expect("good");
        let (mut pacer, grade) = (Pacer::default(), Grade::new(2));
        let mut most = 0.0_f64;
        for (elapsed_ms, served, process_cpu, queue_wait_ms, overflowed) in looks {
            let look = Look { elapsed_ms, served, packets: served * 2, overflowed, process_cpu, queue_wait_ms, ..Look::default() };
            pacer.look(&look, throttle.queue_wait_ms, grade, throttle.at(grade));
            if process_cpu >= BUSY_SHARE {
                most = most.max(served as f64 * 1e3 / elapsed_ms as f64 / process_cpu);
            }
            let invited = pacer.invited_per_second();
            prop_assert!(invited.is_finite() && invited <= most);
            prop_assert!(invited >= pacer.capacity_per_second() * (AIM - BRAKE_MAX) * CORRECTION_MIN);
        }
        pacer.look(&Look::default(), throttle.queue_wait_ms, Grade::default(), throttle.at(Grade::default()));
        prop_assert_eq!(pacer.invited_per_second(), pacer.capacity_per_second() * AIM);
    }
}
