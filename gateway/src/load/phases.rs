//! A line of the log when a phase begins, and one when it ends with what was served in it: whoever reads the log later
//! finds the evening in it.

use crate::config_store::Live;
use shake_rules::UnixMillis;
use tracing::info;

/// What the shards have served since they began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    pub shakes: u64,
    pub wins: u64,
}

/// The phase that ran at the last look.
#[derive(Debug, Default)]
pub struct Phases {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    name: String,
    /// Its number in tickets and ledger, which it keeps whatever is pushed.
    stage: u16,
    starts_at: UnixMillis,
    before: Served,
}

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Turned {
    /// With what was served in it, as far as this gateway saw.
    Ended { name: String, stage: u16, served: Served },
    Began {
        name: String,
        stage: u16,
        /// For how long it has run already, in milliseconds: not the time of a look when the gateway started in it.
        ago_ms: u64,
        lasts_ms: u64,
    },
}

impl Phases {
    /// Finds which phase ended and which began since the last look.
    pub fn look(&mut self, live: &Live, now: UnixMillis, served: Served) -> Vec<Turned> {
        let index = live.show.phase_at(now);
        let (phase, stage) = (index.map(|at| &live.show.phases[at]), index.map(|at| live.stages[at]));
        let is_same = |running: &Running| phase.is_some_and(|phase| running.is(phase.starts_at, stage));
        if self.running.as_ref().map_or(phase.is_none(), is_same) {
            return Vec::new();
        }
        let ended = self.running.take().map(|running| Turned::Ended {
            name: running.name,
            stage: running.stage,
            served: Served {
                shakes: served.shakes.saturating_sub(running.before.shakes),
                wins: served.wins.saturating_sub(running.before.wins),
            },
        });
        let began = phase.zip(stage).map(|(phase, stage)| {
            self.running = Some(Running {
                name: phase.name.clone(),
                stage,
                starts_at: phase.starts_at,
                before: served,
            });
            Turned::Began {
                name: phase.name.clone(),
                stage,
                ago_ms: now.since_ms(phase.starts_at),
                lasts_ms: phase.ends_at.since_ms(phase.starts_at),
            }
        });
        ended.into_iter().chain(began).collect()
    }
}

impl Running {
    fn is(&self, starts_at: UnixMillis, stage: Option<u16>) -> bool {
        Some(self.stage) == stage && self.starts_at == starts_at
    }
}

impl Turned {
    pub fn log(&self) {
        match self {
            Self::Ended { name, stage, served } => {
                info!(
                    phase = name,
                    stage,
                    shakes = served.shakes,
                    wins = served.wins,
                    "a phase is over"
                );
            }
            Self::Began {
                name,
                stage,
                ago_ms,
                lasts_ms,
            } => {
                let seconds = |ms: &u64| *ms as f64 / 1e3;
                info!(
                    phase = name,
                    stage,
                    began_s_ago = seconds(ago_ms),
                    lasts_s = seconds(lasts_ms),
                    "a phase runs"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::show::Show;
    use shake_rules::throttle::{self, Throttle};
    use std::sync::Arc;

    const SHOW: &str = r#"
[event]
id = 1
name = "two phases"
starts = "1970-01-01T00:00:00Z"

[[phases]]
name = "storm"
start_s = 10
end_s = 20
pace_ms = 500
releases_per_second = 1
without_packet = "nothing"
weights = { nothing = 1 }

[[phases]]
name = "calm"
start_s = 20
end_s = 30
pace_ms = 500
releases_per_second = 1
without_packet = "nothing"
weights = { nothing = 1 }

[[sponsors]]
id = 1
name = "One"
resource = 1
"#;

    fn live() -> Live {
        Live {
            version: 1,
            show: Arc::new(Show::parse(SHOW, UnixMillis(0)).expect("a show")),
            stages: vec![0, 1],
            throttle: Arc::new(Throttle::parse(throttle::DEFAULT).expect("the default")),
        }
    }

    fn began(name: &str, stage: u16, ago_ms: u64) -> Turned {
        Turned::Began {
            name: name.into(),
            stage,
            ago_ms,
            lasts_ms: 10_000,
        }
    }

    fn ended(name: &str, stage: u16, shakes: u64, wins: u64) -> Turned {
        Turned::Ended {
            name: name.into(),
            stage,
            served: Served { shakes, wins },
        }
    }

    #[test]
    fn each_phase_is_told_once_when_it_begins_and_once_when_it_ends() {
        let (live, mut phases) = (live(), Phases::default());
        let mut look = |at_ms, shakes, wins| phases.look(&live, UnixMillis(at_ms), Served { shakes, wins });
        assert_eq!(look(9_999, 5, 0), []);
        assert_eq!(look(10_050, 6, 0), [began("storm", 0, 50)]);
        assert_eq!(look(19_999, 90, 7), []);
        assert_eq!(look(20_000, 106, 8), [ended("storm", 0, 100, 8), began("calm", 1, 0)]);
        assert_eq!(look(31_000, 107, 8), [ended("calm", 1, 1, 0)]);
        assert_eq!(look(32_000, 107, 8), []);
    }

    #[test]
    fn one_that_is_played_again_is_told_again() {
        let (mut live, mut phases) = (live(), Phases::default());
        let none = Served::default();
        assert_eq!(phases.look(&live, UnixMillis(13_000), none), [began("storm", 0, 3_000)]);
        let mut show = (*live.show).clone();
        show.phases[0].starts_at = UnixMillis(12_000);
        show.phases[0].ends_at = UnixMillis(22_000);
        live.show = Arc::new(show);
        assert_eq!(
            phases.look(&live, UnixMillis(13_100), none),
            [ended("storm", 0, 0, 0), began("storm", 0, 1_100)]
        );
    }
}
