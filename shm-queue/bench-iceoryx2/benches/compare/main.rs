//! shm-queue and iceoryx2, each between two processes, in one run.
//!
//! The program starts itself twice as a child: one child holds the far end of shm-queue's rings, with a mapping of its
//! own, the other the far end of iceoryx2's services. The parent holds both near ends. A round of one takes turns with
//! a round of the other, while the other's child is blocked in a read, so whatever else the machine does hits both alike.
//! Nothing but the measured end runs while a part is timed.
//!
//! | row | what is timed |
//! |---|---|
//! | stream | the parent sends as fast as it can, the child drains at the same time: first send to last receipt |
//! | push alone | the parent fills the ring; the child sleeps in a read |
//! | read alone | the child empties the ring; the parent sleeps in a read |
//! | round trip | a wake-up there and one back; both ends sleep in between, none spins |
//!
//! Messages of 64 bytes begin with a number that the far end adds up, so a lost or repeated one ends the run.
//!
//! iceoryx2 is used as its documentation shows: loan, write, send; receive, read, drop. No safe overflow, because a ring
//! that loses nothing is the point. It checks no bytes, and its wake-up is its event service without a message beside
//! it; shm-queue copies and checks each message, commits, and sends one with each wake-up.

mod cases;
mod child;
mod cpu;
mod ends;
mod ours;
mod rounds;
mod table;
mod theirs;

use std::process::ExitCode;

use cases::CASES;
use child::Far;
use ours::Ours;
use rounds::Plan;
use theirs::Theirs;

const HELP: &str = "\
Times shm-queue beside iceoryx2 between two processes; about a minute.

  --rounds N   rounds of each measurement (41; the median of them is the figure)
  --quick      5 rounds
  --help       this text

Exit codes: 0 every target is met, 1 one is missed, 2 the command line is wrong.
Another user of the CPUs makes every figure worse; run it on a quiet machine.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((contender, place)) = child::role(&arguments) {
        match contender {
            Contender::Ours => child::serve(&mut ours::Far::open(place)),
            Contender::Theirs => child::serve(&mut theirs::Far::open(place)),
        }
        return ExitCode::SUCCESS;
    }
    let rounds = match rounds_wanted(&arguments) {
        Ok(rounds) => rounds,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(if text == HELP { 0 } else { 2 });
        }
    };
    let directory = ours::directory();
    let place = directory.path().to_str().expect("a temporary path is text");
    // The near ends first: they make what the far ends open.
    let (mut ours, mut theirs) = (Ours::create(place), Theirs::create(place));
    let (mut our_far, mut their_far) = (Far::spawn(Contender::Ours, place), Far::spawn(Contender::Theirs, place));
    theirs.connect();
    let plan = Plan::new(rounds);
    let rows: Vec<_> = CASES
        .iter()
        .filter(|case| plan.possible(case))
        .map(|case| plan.run(case, (&mut ours, &mut our_far), (&mut theirs, &mut their_far)))
        .collect();
    our_far.end();
    their_far.end();
    table::print(&rows, rounds);
    if table::verdict(&rows) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whose rings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    /// shm-queue.
    Ours,
    /// iceoryx2.
    Theirs,
}

fn rounds_wanted(arguments: &[String]) -> Result<usize, String> {
    let mut rounds = 41;
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            // cargo bench adds it.
            "--bench" => {}
            "--quick" => rounds = 5,
            "--rounds" => {
                let value = arguments.next().and_then(|text| text.parse().ok());
                rounds = value
                    .filter(|n| (1..=10_000).contains(n))
                    .ok_or("--rounds wants a number from 1 to 10000")?;
            }
            "--help" => return Err(HELP.to_owned()),
            other => return Err(format!("unknown argument {other}\n\n{HELP}")),
        }
    }
    Ok(rounds)
}
