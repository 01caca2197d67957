//! The whole agent in a child process that dies at each named step of a turn, and is started anew.

use super::child::{ABORT, spawn, wait};
use super::support::{Crowd, Event, Front, PATIENCE};
use crate::crash::POINTS;
use crate::run;
use crate::signals::Stop;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

const CHILD: &str = "tests::crash::child";
const DIRECTORY: &str = "SHAKE_AGENT_CHILD_DIRECTORY";
const PACKETS: u64 = 60;

/// Not a test by itself: what the child process runs.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let text = std::fs::read_to_string(directory.join("agent.toml")).unwrap();
    let config = crate::config::Config::parse(&text, std::path::Path::new("")).unwrap();
    let stop = Stop::default();
    let theirs = stop.clone();
    let file = directory.join("stop");
    std::thread::spawn(move || {
        let begun = Instant::now();
        while !file.exists() && begun.elapsed() < 2 * PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        theirs.ask();
    });
    run::run(&config, &stop).unwrap();
}

/// Dies at the n-th passing of `point`, is started again, and everything stands.
fn check(point: &str, nth: u32) {
    let event = Event::new(PACKETS);
    let mut crowd = Crowd::new(Front::new(&event, 2));
    let start = |die_at: Option<&str>| spawn(CHILD, DIRECTORY, event.directory.path(), die_at);
    let mut child = start(Some(&format!("{point}@{nth}")));
    let mut status = None;
    crowd.until("the child's death", |_| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.signal()), Some(ABORT), "{point}@{nth}");
    // What was answered is durable before anything is mended. (Dying before the first commit leaves no seed to audit with.)
    crowd.step();
    crowd.assert_in_ledger(&event);
    event.assert_balanced();

    let mut child = start(None);
    crowd.until("all won", |crowd| crowd.is_done(PACKETS as usize));
    std::fs::write(event.path("stop"), "").unwrap();
    assert!(wait(&mut child).success(), "{point}@{nth}");
    crowd.step();
    crowd.assert_in_ledger(&event);
    let report = event.assert_balanced();
    assert_eq!(
        (report.total.opened.packets, report.total.void.packets),
        (PACKETS, 0),
        "{point}@{nth}"
    );
}

#[test]
fn nothing_is_lost_or_doubled_by_dying_at_any_step() {
    for point in POINTS {
        // The first passings of "before-commit" are those of the seed's import and of the rings being bound.
        let nths = if *point == "turn:before-commit" { [4, 6] } else { [1, 3] };
        for nth in nths {
            check(point, nth);
        }
    }
}
