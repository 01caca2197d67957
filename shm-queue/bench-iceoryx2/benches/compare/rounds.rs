//! Rounds: one of shm-queue, one of iceoryx2, and again, so that noise hits both.

use std::io::{IsTerminal, Write, stderr};

use crate::cases::{Case, Timing};
use crate::child::{Far, Work, now_ns};
use crate::cpu;
use crate::ends::{Near, SLOTS};

/// Messages of one round of a stream: long against starting and ending, short against a scheduler's second thoughts.
const STREAM: u64 = 64 * 1024;
/// Fillings of the ring in one round of an end alone.
const FILLINGS: u64 = 4;
/// Round trips in one round of wake-ups.
const ROUND_TRIPS: u64 = 400;

/// How much is measured, and where.
pub struct Plan {
    rounds: usize,
    cpus: Vec<usize>,
}

/// What the rounds of one case gave: nanoseconds for each message or round trip, one per round.
pub struct Row {
    pub case: &'static Case,
    pub ours: Vec<f64>,
    pub theirs: Vec<f64>,
}

impl Plan {
    /// To be made before this process is bound to a CPU.
    pub fn new(rounds: usize) -> Plan {
        Plan {
            rounds,
            cpus: cpu::allowed(),
        }
    }

    /// Whether there are CPUs enough for it; says so if not.
    pub fn possible(&self, case: &Case) -> bool {
        let possible = !case.two_cpus || self.cpus.len() > 1;
        if !possible {
            println!("not measured, there is only one CPU: {}", case.name);
        }
        possible
    }

    /// Measures one case. The first round of each is thrown away.
    pub fn run(
        &self,
        case: &'static Case,
        (ours, our_far): (&mut impl Near, &mut Far),
        (theirs, their_far): (&mut impl Near, &mut Far),
    ) -> Row {
        let mut row = Row {
            case,
            ours: Vec::new(),
            theirs: Vec::new(),
        };
        for round in 0..=self.rounds {
            progress(&format!("{}: round {round} of {}", case.name, self.rounds));
            let (our_ns, their_ns) = (self.round(case, ours, our_far), self.round(case, theirs, their_far));
            if round > 0 {
                row.ours.push(our_ns);
                row.theirs.push(their_ns);
            }
        }
        progress("");
        row
    }

    fn round(&self, case: &Case, near: &mut impl Near, far: &mut Far) -> f64 {
        let far_cpu = if case.two_cpus { self.cpus[1] } else { self.cpus[0] };
        cpu::bind(self.cpus[0]);
        let work = match (case.timing, case.batched) {
            (Timing::RoundTrip, _) => Work::Echo,
            (_, true) => Work::DrainBatches,
            (_, false) => Work::Drain,
        };
        let send = |near: &mut dyn Near, count| {
            if case.batched {
                near.send_batches(count)
            } else {
                near.send(count)
            }
        };
        match case.timing {
            Timing::Stream => {
                far.begin(far_cpu, work, STREAM);
                let begin_ns = now_ns();
                send(near, STREAM);
                let done = far.end_of_work();
                assert_eq!(done.sum, sum_below(STREAM), "a message was lost or came twice");
                per(done.end_ns - begin_ns, STREAM)
            }
            Timing::PushAlone | Timing::ReadAlone => {
                let (mut push_ns, mut read_ns) = (0, 0);
                for _ in 0..FILLINGS {
                    let begin_ns = now_ns();
                    send(near, SLOTS as u64);
                    push_ns += now_ns() - begin_ns;
                    far.begin(far_cpu, work, SLOTS as u64);
                    let done = far.end_of_work();
                    assert_eq!(done.sum, sum_below(SLOTS as u64), "a message was lost or came twice");
                    read_ns += done.end_ns - done.begin_ns;
                }
                let ns = if case.timing == Timing::PushAlone {
                    push_ns
                } else {
                    read_ns
                };
                per(ns, FILLINGS * SLOTS as u64)
            }
            Timing::RoundTrip => {
                far.begin(far_cpu, work, ROUND_TRIPS);
                let begin_ns = now_ns();
                near.ping(ROUND_TRIPS);
                let ns = now_ns() - begin_ns;
                far.end_of_work();
                per(ns, ROUND_TRIPS)
            }
        }
    }
}

fn sum_below(count: u64) -> u64 {
    count * (count - 1) / 2
}

fn per(ns: u64, count: u64) -> f64 {
    ns as f64 / count as f64
}

/// One line that is written over, for a person who waits.
fn progress(line: &str) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
        let _ = stderr().flush();
    }
}
