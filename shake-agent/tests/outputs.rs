//! The real program when nobody takes what it writes: a full disk, a closed pipe, a reader that stands still.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;
mod support;

use nix::sys::signal::Signal;
use process::{Running, agent};
use std::fs::File;
use std::io;
use std::process::Stdio;
use support::{Crowd, Event, Front};

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn closed_pipe() -> Stdio {
    io::pipe().unwrap().1.into()
}

/// With its log going there, the agent opens every packet and ends in good order.
fn serves(stderr: impl Into<Stdio>, rust_log: &str) {
    const PACKETS: usize = 200;
    let event = Event::new(PACKETS as u64);
    let mut crowd = Crowd::new(Front::new(&event, 1));
    let mut command = agent(&event);
    command
        .args(["run", "--config", "agent.toml"])
        .env("RUST_LOG", rust_log)
        .stderr(stderr);
    let mut agent = Running::of(command);
    crowd.until("all is won", |crowd| crowd.is_done(PACKETS));
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
    event.assert_balanced();
}

#[test]
fn a_log_that_nobody_takes_stops_no_ledger() {
    serves(full_disk(), "");
    serves(closed_pipe(), "trace");
    let (reader, mut pipe) = io::pipe().unwrap();
    // Full from the beginning: whatever is written to it would wait for ever.
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    while io::Write::write(&mut pipe, &[b'x'; 4_096]).is_ok() {}
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
    serves(pipe, "trace");
    drop(reader);
}

#[test]
fn sighup_ends_no_agent() {
    let event = Event::new(4);
    let mut crowd = Crowd::new(Front::new(&event, 1));
    let log = event.path("log");
    let mut command = agent(&event);
    command
        .args(["run", "--config", "agent.toml"])
        .stderr(File::create(&log).unwrap());
    let mut agent = Running::of(command);
    crowd.until("the agent serves", |crowd| !crowd.won.is_empty());
    agent.signal(Signal::SIGHUP);
    crowd.until("it says so", |_| {
        std::fs::read_to_string(&log).unwrap().contains("SIGHUP")
    });
    crowd.until("all is won", |crowd| crowd.is_done(4));
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn commands_end_quietly_when_their_reader_goes_and_say_so_when_the_disk_is_full() {
    let event = Event::new(10);
    let commands: &[&[&str]] = &[
        &["check-config", "--config", "agent.toml"],
        &["seed", "inspect", "seed.bin"],
        &["seed", "generate", "--help"],
    ];
    for arguments in commands {
        let output = agent(&event).args(*arguments).stdout(closed_pipe()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*text), (Some(0), ""), "{arguments:?}");
        let status = agent(&event)
            .args(*arguments)
            .stdout(full_disk())
            .stderr(full_disk())
            .status();
        let code = status.unwrap().code();
        assert!(matches!(code, Some(0 | 1)), "{arguments:?}: {code:?}");
    }
}
