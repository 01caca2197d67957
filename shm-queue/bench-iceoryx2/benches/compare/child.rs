//! The child process: started by the parent, it does what the parent writes to its standard input, one line each, and
//! answers on its standard output. Between orders it sleeps in a read.
//!
//! ```text
//! parent: <cpu> <work> <count>     child: ready            (bound to the CPU, about to begin)
//!                                  child: <begin ns> <end ns> <sum>
//! ```

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

use crate::ends::FarEnd;
use crate::{Contender, cpu};

const ROLE: &str = "--far-end-of";

/// What the child is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Drain,
    DrainBatches,
    Echo,
}

const NAMES: [(Work, &str); 3] = [
    (Work::Drain, "drain"),
    (Work::DrainBatches, "drain-batches"),
    (Work::Echo, "echo"),
];

/// When the child began and ended, on the clock that all processes share, and the sum of what it received.
#[derive(Clone, Copy)]
pub struct Done {
    pub begin_ns: u64,
    pub end_ns: u64,
    pub sum: u64,
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Whose far end this process is to be, and where; `None` for the parent.
pub fn role(arguments: &[String]) -> Option<(Contender, &str)> {
    match arguments {
        [role, contender, place] if role == ROLE => Some((
            if contender == "ours" {
                Contender::Ours
            } else {
                Contender::Theirs
            },
            place,
        )),
        _ => None,
    }
}

/// The child's life: orders until the standard input ends.
pub fn serve(end: &mut impl FarEnd) {
    // It may be waiting for a parent that is killed, and not reading then.
    set_pdeathsig(Signal::SIGKILL).expect("every Linux has it");
    say("attached");
    for line in stdin().lines() {
        let line = line.expect("the parent writes text");
        let mut words = line.split(' ');
        let mut word = || words.next().expect("an order has three words");
        let (cpu, work, count) = (word(), word(), word());
        cpu::bind(cpu.parse().expect("a CPU's number"));
        let count = count.parse().expect("a count");
        let (work, _) = NAMES.iter().find(|(_, name)| *name == work).expect("a known work");
        say("ready");
        let begin_ns = now_ns();
        let sum = match work {
            Work::Drain => end.drain(count),
            Work::DrainBatches => end.drain_batches(count),
            Work::Echo => {
                end.echo(count);
                0
            }
        };
        say(&format!("{begin_ns} {} {sum}", now_ns()));
    }
}

fn say(line: &str) {
    let mut out = stdout().lock();
    // The parent may be gone; then the standard input ends as well.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The parent's hold on one child.
pub struct Far {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Far {
    /// Starts the child; it has attached to its end when this returns.
    pub fn spawn(contender: Contender, place: &str) -> Far {
        let name = if contender == Contender::Ours { "ours" } else { "theirs" };
        let mut process = Command::new(std::env::current_exe().expect("this program has a path"))
            .args([ROLE, name, place])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let orders = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        let mut far = Far {
            process,
            orders,
            answers,
        };
        assert_eq!(far.line(), "attached");
        far
    }

    /// Gives an order; returns when the child is about to begin.
    pub fn begin(&mut self, cpu: usize, work: Work, count: u64) {
        let (_, name) = NAMES
            .iter()
            .find(|(known, _)| *known == work)
            .expect("every work has a name");
        writeln!(self.orders, "{cpu} {name} {count}").expect("the child lives");
        assert_eq!(self.line(), "ready");
    }

    /// Sleeps until the child has done what it was told.
    pub fn end_of_work(&mut self) -> Done {
        let line = self.line();
        let mut numbers = line
            .split(' ')
            .map(|word| word.parse().expect("the child answers in numbers"));
        let mut number = || numbers.next().expect("the child answers in three numbers");
        Done {
            begin_ns: number(),
            end_ns: number(),
            sum: number(),
        }
    }

    /// Ends the child and waits for it.
    pub fn end(mut self) {
        drop(self.orders);
        let status = self.process.wait().expect("it was started here");
        assert!(status.success(), "the child ended with {status}");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the child writes text");
        line.trim_end().to_owned()
    }
}
