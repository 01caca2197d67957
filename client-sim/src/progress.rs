//! How the run stands, live on stderr: one line that is redrawn on a terminal, a plain line each second elsewhere.

use crate::engine::{Snapshot, Stage};
use crate::report::Percentiles;
use crate::report::milliseconds;
use host::console;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use shake_rules::money::grouped;
use std::io::{IsTerminal, stderr};

/// Seconds between two plain lines.
const PLAIN_EVERY_S: f64 = 1.0;

/// Draws snapshots.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    sessions: u32,
    seconds: u32,
    last: Option<Last>,
    drawn_at_s: f64,
}

/// What the last snapshot said, for rates.
#[derive(Clone, Copy, Debug)]
struct Last {
    stage: Stage,
    stage_s: f64,
    sent: u64,
    answered: u64,
}

impl Progress {
    /// A progress line for a run of so many sessions and seconds of shaking.
    #[must_use]
    pub fn new(sessions: u32, seconds: u32) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {msg}").expect("a fixed template, tested");
            bar.set_style(style);
            bar
        });
        Self {
            bar,
            sessions,
            seconds,
            last: None,
            drawn_at_s: f64::NEG_INFINITY,
        }
    }

    /// Shows how the run stands.
    pub fn show(&mut self, snapshot: &Snapshot<'_>) {
        let begins = self.last.is_none_or(|last| last.stage != snapshot.stage);
        let due = begins || snapshot.stage_s - self.drawn_at_s >= PLAIN_EVERY_S;
        if self.bar.is_none() && !due {
            return;
        }
        let line = self.line(snapshot);
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
                if snapshot.stage == Stage::Closing {
                    bar.finish_and_clear();
                }
            }
            None => console::tell(&line),
        }
        self.drawn_at_s = snapshot.stage_s;
        self.last = Some(Last {
            stage: snapshot.stage,
            stage_s: snapshot.stage_s,
            sent: snapshot.tally.shakes.sent,
            answered: snapshot.tally.shakes.answered,
        });
    }

    fn line(&self, snapshot: &Snapshot<'_>) -> String {
        let tally = snapshot.tally;
        match snapshot.stage {
            Stage::Connecting => {
                let failures: u64 = tally
                    .sessions
                    .connect_failures
                    .values()
                    .chain(tally.sessions.hello_failures.values())
                    .sum();
                let failed = if failures > 0 {
                    format!(", {} tries failed", grouped(failures))
                } else {
                    String::new()
                };
                format!(
                    "connecting {:.0} s: {} of {} sessions{failed}",
                    snapshot.stage_s,
                    grouped(snapshot.online.into()),
                    grouped(self.sessions.into())
                )
            }
            Stage::Waiting => format!(
                "waiting {:.0} s for the first step: {} online",
                snapshot.stage_s,
                grouped(snapshot.online.into())
            ),
            Stage::Shaking => {
                let (sent, answered) = self.rates(snapshot);
                let latency = Percentiles::of(&tally.latency);
                format!(
                    "shaking {:.0} of {} s, {}: {} sent/s, {} answered/s, p50 {}, p99 {}, {} won, {} opened, {} online",
                    snapshot.stage_s,
                    self.seconds,
                    snapshot.step.name,
                    grouped(sent),
                    grouped(answered),
                    milliseconds(latency.p50_us),
                    milliseconds(latency.p99_us),
                    grouped(tally.claims.wins),
                    grouped(tally.claims.opened),
                    grouped(snapshot.online.into())
                )
            }
            Stage::Settling => {
                let (shakes, claims) = tally.open_ends();
                format!(
                    "settling {:.0} s: waiting for {} answers, {} claims and {} other errands",
                    snapshot.stage_s,
                    grouped(shakes),
                    grouped(claims),
                    grouped(tally.packets.open_ends())
                )
            }
            Stage::Closing => "closing".into(),
        }
    }

    /// Sent and answered per second since the last drawn snapshot of the same stage.
    fn rates(&self, snapshot: &Snapshot<'_>) -> (u64, u64) {
        let shakes = &snapshot.tally.shakes;
        let Some(last) = self.last.filter(|last| last.stage == snapshot.stage) else {
            return (0, 0);
        };
        let span = (snapshot.stage_s - last.stage_s).max(1e-3);
        let rate = |now: u64, before: u64| ((now - before) as f64 / span) as u64;
        (rate(shakes.sent, last.sent), rate(shakes.answered, last.answered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Micros, Span};
    use crate::tally::Tally;

    #[test]
    fn lines_tell_the_stage_and_the_rate() {
        let mut tally = Tally::default();
        let mut progress = Progress {
            bar: None,
            sessions: 2_000,
            seconds: 20,
            last: None,
            drawn_at_s: 0.0,
        };
        let step = Span {
            name: "hold".into(),
            shakes_per_second: 0,
            from: Micros::ZERO,
            until: Micros::from_s(20),
        };
        fn snapshot<'a>(step: &'a Span, stage: Stage, stage_s: f64, tally: &'a Tally) -> Snapshot<'a> {
            Snapshot {
                stage,
                stage_s,
                online: 1_500,
                now: Micros::ZERO,
                step,
                tally,
            }
        }
        let line = progress.line(&snapshot(&step, Stage::Connecting, 1.0, &tally));
        assert_eq!(line, "connecting 1 s: 1,500 of 2,000 sessions");
        progress.last = Some(Last {
            stage: Stage::Shaking,
            stage_s: 1.0,
            sent: 0,
            answered: 0,
        });
        tally.shakes.sent = 10_000;
        tally.shakes.answered = 9_000;
        let line = progress.line(&snapshot(&step, Stage::Shaking, 3.0, &tally));
        assert!(
            line.contains("3 of 20 s, hold: 5,000 sent/s, 4,500 answered/s"),
            "{line}"
        );
        let line = progress.line(&snapshot(&step, Stage::Settling, 0.0, &tally));
        assert!(line.contains("1,000 answers, 0 claims and 0 other"), "{line}");
        assert!(ProgressStyle::with_template("{spinner} {msg}").is_ok());
    }
}
