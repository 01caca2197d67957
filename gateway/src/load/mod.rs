//! Load: how it is measured, which grade it makes, and which degraded modes hold. The grade's rules are pure
//! (`shake_rules::grade`, `shake_rules::throttle`); here are the measuring and what all threads see of it.

pub mod cpu;
pub mod modes;
pub mod monitor;
pub mod phases;
pub mod state;

use modes::Mode;
use shake_rules::grade::Signals;
use state::LoadState;
use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use strum::VariantArray as _;

/// The load in the Prometheus text format.
pub fn render(load: &LoadState) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, labels: String, value: f64| {
        if !text.contains(&format!("# TYPE {name} ")) {
            writeln!(text, "# TYPE {name} gauge").expect("writing to a String cannot fail");
        }
        writeln!(text, "{name}{labels} {value}").expect("writing to a String cannot fail");
    };
    let plain = String::new;
    gauge("gateway_grade", plain(), load.grade().number().into());
    for (name, value) in Signals::NAMES.iter().zip(load.signals().values()) {
        gauge("gateway_load", format!("{{signal=\"{name}\"}}"), value);
    }
    for &mode in Mode::VARIANTS {
        let holds = u8::from(load.modes().has(mode));
        gauge(
            "gateway_degraded",
            format!("{{mode=\"{}\"}}", mode.name()),
            holds.into(),
        );
    }
    for (name, value) in load.per_second.rows() {
        gauge("gateway_per_second", format!("{{what=\"{name}\"}}"), value);
    }
    let capacity = load.capacity_per_second.value();
    gauge("gateway_capacity_shakes_per_second", plain(), capacity);
    let invited = load.invited_per_second.value();
    gauge("gateway_invited_shakes_per_second", plain(), invited);
    gauge("gateway_shakers", plain(), load.shakers.load(Relaxed) as f64);
    gauge("gateway_huge_pages", plain(), load.huge_pages.load(Relaxed) as f64);
    gauge("gateway_memory_in_use", plain(), load.memory_in_use.value());
    gauge("gateway_turn_seconds_max", plain(), load.turn_ms_max.value() / 1e3);
    let cpu_s = cpu::process_time().as_secs_f64();
    writeln!(
        text,
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {cpu_s}"
    )
    .expect("writing to a String cannot fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use modes::Modes;
    use shake_rules::grade::Grade;

    #[test]
    fn the_load_is_rendered_with_a_type_for_each_family() {
        let load = LoadState::new(1);
        load.set_grade(Grade::new(3));
        let mut modes = Modes::default();
        modes.set(Mode::RingFull, true);
        load.set_modes(modes);
        let text = render(&load);
        for line in [
            "# TYPE gateway_degraded gauge",
            "gateway_grade 3",
            "gateway_degraded{mode=\"ring_full\"} 1",
            "gateway_degraded{mode=\"agent_away\"} 0",
            "gateway_load{signal=\"queue_wait_ms\"} 0",
            "gateway_per_second{what=\"shakes\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("# TYPE gateway_degraded ").count(), 1);
    }
}
