//! Load: how it is measured, which grade it makes, and which degraded modes hold. The grade's rules are pure
//! (`shake_rules::grade`, `shake_rules::throttle`); here are the measuring and what all threads see of it.

pub mod cpu;
pub mod modes;
pub mod monitor;
pub mod phases;
pub mod state;

use crate::prometheus::Page;
use modes::Mode;
use shake_rules::grade::Signals;
use state::LoadState;
use std::sync::atomic::Ordering::Relaxed;
use strum::VariantArray as _;

/// Shows the load.
pub fn show(load: &LoadState, page: &mut Page) {
    page.metric("gateway_grade", load.grade().number());
    let signals = Signals::NAMES.into_iter().zip(load.signals().values());
    page.family("gateway_load", "signal", signals);
    let modes = Mode::VARIANTS
        .iter()
        .map(|&mode| (mode, u8::from(load.modes().has(mode))));
    page.family("gateway_degraded", "mode", modes);
    page.family("gateway_per_second", "what", load.per_second.rows());
    page.metric("gateway_capacity_shakes_per_second", load.capacity_per_second.value());
    page.metric("gateway_invited_shakes_per_second", load.invited_per_second.value());
    page.metric("gateway_shakers", load.shakers.load(Relaxed));
    page.metric("gateway_huge_pages", load.huge_pages.load(Relaxed));
    page.metric("gateway_memory_in_use", load.memory_in_use.value());
    page.metric("gateway_turn_seconds_max", load.turn_ms_max.value() / 1e3);
    page.metric("process_cpu_seconds_total", cpu::process_time().as_secs_f64());
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
        let mut page = Page::default();
        show(&load, &mut page);
        let text = page.into_text();
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
