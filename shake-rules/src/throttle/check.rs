//! Turns the tables of a throttle file into a checked throttle, and gathers every contradiction with its line.

use super::file::{GradeTable, RateTable, ThresholdsTable, ThrottleFile};
use super::{GradeRules, ModeLimits, PACKETS_MIN, Prefixes, Rate, Service, Throttle};
use crate::document::{self, Kind, Problems};
use crate::grade::{GRADES, Signals};
use enum_map::EnumMap;
use ipnet::IpNet;
use std::fmt::Display;
use strum::VariantNames as _;
use toml::Spanned;

/// The least rate that is not zero: one in a quarter of an hour. A smaller one is a zero that does not look like it.
const PER_SECOND_MIN: f64 = 0.001;
/// The largest burst; with the least rate, its time stays below 2^64 nanoseconds.
const BURST_MAX: u32 = 10_000_000;
/// The longest pace and the longest time until somebody asks again, in milliseconds: an hour.
const SPAN_MS_MAX: u32 = 3_600_000;

/// Reads a throttle file.
pub(super) fn throttle(text: &str) -> Result<Throttle, Problems> {
    let (file, mut problems) = document::parse::<ThrottleFile>(text);
    let mut check = Check {
        text,
        problems: &mut problems,
    };
    let smooth_ms = check.within("smooth_ms", &file.signals.smooth_ms, 10, 10_000);
    let dwell_ms = check.within("dwell_ms", &file.signals.dwell_ms, 0, 60_000);
    let queue_wait_ms = check.within("queue_wait_ms", &file.pace.queue_wait_ms, 1, 1_000);
    let prefixes = Prefixes {
        max: check.within("max", &file.prefixes.max, 1, 1 << 24) as usize,
        exempt: file
            .prefixes
            .exempt
            .iter()
            .filter_map(|text| check.network(text))
            .collect(),
    };
    let modes = ModeLimits {
        clock_step_ms: check.within("clock_step_ms", &file.modes.clock_step_ms, 10, 3_600_000),
        clock_jumped_hold_s: check.within("clock_jumped_hold_s", &file.modes.clock_jumped_hold_s, 1, 86_400),
        operator_silent_s_max: file.modes.operator_silent_s_max,
    };
    if file.grades.len() != GRADES {
        let message = format!(
            "there are {} [[grades]]; write {GRADES}, for the grades 0 to 4 in this order",
            file.grades.len()
        );
        check.problems.add_whole(message);
    }
    let mut grades = file.grades.iter().take(GRADES).enumerate();
    let rules = std::array::from_fn(|_| match grades.next() {
        Some((number, table)) => check.grade(number, table),
        // Told above; what is made of it is not used.
        None => check.grade(0, &Spanned::new(0..0, GradeTable::default())),
    });
    check.ladder(&file.grades, &rules);
    let throttle = Throttle {
        smooth_ms,
        dwell_ms,
        queue_wait_ms,
        prefixes,
        modes,
        grades: rules,
    };
    problems.of(text, Kind::Throttle).or_value(throttle)
}

/// Checks the parts of a throttle file, and gathers what is wrong.
struct Check<'a> {
    text: &'a str,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn wrong<T>(&mut self, at: &Spanned<T>, message: String) {
        self.problems.add(self.text, at.span(), message);
    }

    fn within<T: PartialOrd + Copy + Display>(&mut self, key: &str, value: &Spanned<T>, min: T, max: T) -> T {
        let found = *value.as_ref();
        if !(found >= min && found <= max) {
            self.wrong(value, format!("{key} = {found} must be {min} to {max}"));
        }
        found
    }

    fn network(&mut self, text: &Spanned<String>) -> Option<IpNet> {
        let network = text.as_ref().parse().ok();
        if network.is_none() {
            let message = format!(
                "exempt has {:?}, which is not a network such as \"127.0.0.0/8\"",
                text.as_ref()
            );
            self.wrong(text, message);
        }
        network
    }

    fn grade(&mut self, number: usize, table: &Spanned<GradeTable>) -> GradeRules {
        let grade = table.as_ref();
        let has_thresholds = grade.enter.is_some() && grade.leave.is_some();
        if number == 0 && (grade.enter.is_some() || grade.leave.is_some()) {
            self.wrong(
                table,
                "grade 0 has enter or leave; it holds when no other does, so leave them out".into(),
            );
        }
        if number > 0 && !has_thresholds {
            self.wrong(
                table,
                format!("grade {number} needs both enter = {{ … }} and leave = {{ … }}"),
            );
        }
        let enter = self.thresholds(grade.enter.as_ref());
        let leave = self.thresholds(grade.leave.as_ref());
        for ((name, enter_at), leave_at) in Signals::NAMES.iter().zip(enter.values()).zip(leave.values()) {
            if has_thresholds && leave_at > enter_at {
                let message = format!(
                    "grade {number} is entered at {name} = {enter_at} and left below {leave_at}; leave must not lie above enter (hysteresis)"
                );
                self.wrong(table, message);
            }
        }
        let is_ease = number == 0;
        let share_min = if is_ease { f64::MIN_POSITIVE } else { 0.0 };
        GradeRules {
            enter,
            leave,
            pace_ms: self.span("pace_ms", &grade.pace_ms, 0),
            shakes: self.rate("shakes", &grade.shakes, !is_ease),
            // What was won is never shut out.
            claims: self.rate("claims", &grade.claims, false),
            sends: self.rate("sends", &grade.sends, !is_ease),
            connections: self.rate("connections", &grade.connections, !is_ease),
            user: self.rate("user", &grade.user, !is_ease),
            user_requests: self.rate("user_requests", &grade.user_requests, !is_ease),
            user_packets: self.packets(&grade.user_packets),
            prefix: self.rate("prefix", &grade.prefix, !is_ease),
            prefix_shakes: self.rate("prefix_shakes", &grade.prefix_shakes, !is_ease),
            handshakes_share: self.within("handshakes_share", &grade.handshakes_share, share_min, 1.0),
            prove_address: grade.prove_address,
            shed_after_ms: self.within("shed_after_ms", &grade.shed_after_ms, 1, 60_000),
            retry_ms: self.span("retry_ms", &grade.retry_ms, 1),
            off: self.off(&grade.off),
        }
    }

    fn thresholds(&mut self, table: Option<&Spanned<ThresholdsTable>>) -> Signals {
        let Some(table) = table else {
            return Signals::from_values([f64::INFINITY; 4]);
        };
        let ThresholdsTable {
            process_cpu,
            cgroup_cpu,
            queue_wait_ms,
            ring_fill,
        } = *table.as_ref();
        let signals = Signals {
            process_cpu,
            cgroup_cpu,
            queue_wait_ms,
            ring_fill,
        };
        for (name, value) in Signals::NAMES.iter().zip(signals.values()) {
            if value.is_nan() || value <= 0.0 {
                self.wrong(table, format!("{name} = {value} must be above 0"));
            }
        }
        signals
    }

    /// Two times in milliseconds, the smaller first.
    fn span(&mut self, key: &str, value: &Spanned<[u32; 2]>, least: u32) -> [u32; 2] {
        let [min, max] = *value.as_ref();
        if min > max {
            self.wrong(
                value,
                format!("{key} = [{min}, {max}] must have the smaller number first"),
            );
        }
        if min < least || max > SPAN_MS_MAX {
            self.wrong(
                value,
                format!("{key} = [{min}, {max}] must lie in {least} to {SPAN_MS_MAX}"),
            );
        }
        [min, max]
    }

    fn rate(&mut self, key: &str, value: &Spanned<RateTable>, may_be_zero: bool) -> Rate {
        let RateTable { per_second, burst } = *value.as_ref();
        if per_second == 0.0 && !may_be_zero {
            let message =
                format!("{key} has per_second = 0, and so nobody would ever be served; leave it out for no limit");
            self.wrong(value, message);
        } else if per_second != 0.0 && (per_second.is_nan() || per_second < PER_SECOND_MIN) {
            let message = format!(
                "{key} has per_second = {per_second}; it must be {PER_SECOND_MIN} or more, or inf for no limit{}",
                if may_be_zero { ", or 0 for nothing" } else { "" }
            );
            self.wrong(value, message);
        }
        if !(1..=BURST_MAX).contains(&burst) {
            self.wrong(value, format!("{key} has burst = {burst}; it must be 1 to {BURST_MAX}"));
        }
        Rate { per_second, burst }
    }

    /// The budget of packets, which is never so small that an honest phone meets it.
    fn packets(&mut self, value: &Spanned<RateTable>) -> Rate {
        let rate = self.rate("user_packets", value, true);
        if rate.per_second < PACKETS_MIN.per_second || rate.burst < PACKETS_MIN.burst {
            let Rate { per_second, burst } = PACKETS_MIN;
            let message = format!(
                "user_packets = {{ per_second = {}, burst = {} }} must be at least {{ per_second = {per_second}, burst = {burst} }}: acknowledgements count too",
                rate.per_second, rate.burst
            );
            self.wrong(value, message);
        }
        rate
    }

    fn off(&mut self, names: &[Spanned<String>]) -> EnumMap<Service, bool> {
        let mut off = EnumMap::default();
        for name in names {
            match name.as_ref().parse::<Service>() {
                Ok(service) => off[service] = true,
                Err(_) => {
                    let known = Service::VARIANTS.join(", ");
                    let message = format!("off has {:?}; what can be switched off is: {known}", name.as_ref());
                    self.wrong(name, message);
                }
            }
        }
        off
    }

    /// A higher grade must not be entered more easily than a lower one.
    fn ladder(&mut self, tables: &[Spanned<GradeTable>], rules: &[GradeRules; GRADES]) {
        for at in 2..GRADES.min(tables.len()) {
            for ((name, lower), higher) in Signals::NAMES
                .iter()
                .zip(rules[at - 1].enter.values())
                .zip(rules[at].enter.values())
            {
                if higher < lower {
                    let message = format!(
                        "grade {at} is entered at {name} = {higher}, below grade {}'s {lower}; thresholds must not fall from grade to grade",
                        at - 1
                    );
                    self.wrong(&tables[at], message);
                }
            }
        }
    }
}
