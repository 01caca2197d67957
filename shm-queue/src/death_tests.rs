//! Death at every step: a child process of this test binary aborts at a named step (`crash.rs`) or is killed at any
//! moment, and the parent, as the other side and then as the successor, checks what the child left behind.
//!
//! The parent and the child are told apart by `ROLE`. The child writes what it got done to its standard output, a
//! line as soon as each operation has returned, so the parent knows all but the operation in flight.
#![allow(clippy::unwrap_used)]

mod child;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use child::{BATCH, OPERATIONS, PLACE, ROLE, SLOTS, geometry, payload, push_one};
use nix::poll::{PollFd, PollFlags, poll};

use crate::{Attachment, Consumer, Error, Mapping, Side, crash};

/// How often a child is killed at no particular moment.
const KILLS: u32 = 12;

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rings");
        Place {
            _directory: directory,
            path,
        }
    }

    fn create(&self) -> Mapping {
        Mapping::create(&self.path, &geometry()).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path.parent().unwrap()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn spawn(path: &Path, role: &str, die_at: Option<(&str, u32)>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "death_tests::child::body", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PLACE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some((step, nth)) = die_at {
        command.env(crash::DIE_AT, format!("{step}@{nth}"));
    }
    command.spawn().unwrap()
}

/// What a child reported last as done or read, and as committed; 0 where it reported nothing.
fn reports(output: ChildStdout) -> [u64; 2] {
    let mut last = [0; 2];
    for line in BufReader::new(output).lines() {
        let line = line.unwrap();
        match line.split_once('=') {
            Some(("done" | "read", number)) => last[0] = number.parse().unwrap(),
            Some(("committed", number)) => last[1] = number.parse().unwrap(),
            _ => {}
        }
    }
    last
}

/// Lets a child die at the step and gives what it reported before; `None` when it ended without coming there so often.
fn dies_at(path: &Path, role: &str, step: &str, nth: u32) -> Option<[u64; 2]> {
    let mut child = spawn(path, role, Some((step, nth)));
    let last = reports(child.stdout.take().unwrap());
    let status = child.wait().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert!(
        status.success() || signal == Some(libc::SIGABRT),
        "{role} at {step}: {status}"
    );
    (!status.success()).then_some(last)
}

fn steps(prefix: &str) -> impl Iterator<Item = &'static str> {
    crash::POINTS
        .iter()
        .copied()
        .filter(move |step| step.starts_with(prefix))
}

/// Reads everything that is left, checks it, and gives the position after it.
fn drain(consumer: &mut Consumer) -> u64 {
    let mut next = consumer.read_position();
    while consumer
        .read_batch(5, |position, bytes| {
            assert_eq!(
                (position, bytes),
                (next, payload(position).as_slice()),
                "whole, once and in order"
            );
            next += 1;
        })
        .unwrap()
        > 0
    {}
    next
}

/// A producer died; `done` is where it stood after its last complete operation, `in_flight` the records of the next one.
/// Gives whether that one had happened.
fn check_after_producer(place: &Place, back: &Attachment, done: u64, in_flight: u64) -> bool {
    let mut consumer = back.consumer(0).unwrap();
    let tail = drain(&mut consumer);
    assert!(
        tail == done || tail == done + in_flight,
        "all of an operation or nothing: {done} {tail}"
    );

    let successor = Mapping::open(&place.path)
        .unwrap()
        .attach(Side::Front, 8)
        .expect("the kernel freed the side");
    assert_eq!(successor.epoch(), 2);
    let mut producer = successor.producer(0).unwrap();
    assert_eq!(producer.position(), tail, "the successor knows what happened");
    consumer.commit(tail).unwrap();
    // Two laps, so that whatever the dead one left in the slots comes up.
    for _ in 0..2 * SLOTS {
        push_one(&mut producer);
        let next = drain(&mut consumer);
        assert_eq!(next, producer.position());
        consumer.commit(next).unwrap();
    }
    tail > done
}

#[test]
fn a_producer_dies_at_each_step() {
    for (role, prefix, in_flight) in [
        ("push", "push:", 1),
        ("batch", "push:slot", BATCH),
        ("batch", "batch:", BATCH),
    ] {
        for step in steps(prefix) {
            let mut deaths = 0;
            for nth in 1..=OPERATIONS {
                let place = Place::new();
                let back = place.create().attach(Side::Back, 1).unwrap();
                let Some([done, _]) = dies_at(&place.path, role, step, nth) else {
                    break;
                };
                deaths += 1;
                let happened = check_after_producer(&place, &back, done, in_flight);
                assert_eq!(happened, step.ends_with(":published"), "{step}@{nth}");
            }
            assert!(deaths > 0, "no child came to {step}");
        }
    }
}

#[test]
fn a_consumer_dies_at_each_step() {
    for step in steps("read:").chain(steps("commit:")) {
        let mut deaths = 0;
        for nth in 1..=OPERATIONS {
            let place = Place::new();
            let front = place.create().attach(Side::Front, 1).unwrap();
            let mut producer = front.producer(0).unwrap();
            while producer.free() > 0 {
                push_one(&mut producer);
            }
            let Some([read, committed]) = dies_at(&place.path, "commit", step, nth) else {
                break;
            };
            deaths += 1;
            let head = producer.consumed();
            assert_eq!(
                head,
                if step == "commit:stored" { read } else { committed },
                "{step}@{nth}"
            );
            assert_eq!(producer.free() as u64, head);

            let successor = Mapping::open(&place.path).unwrap().attach(Side::Back, 8).unwrap();
            let mut consumer = successor.consumer(0).unwrap();
            assert_eq!(consumer.position(), head, "nothing that was not committed is skipped");
            assert_eq!(drain(&mut consumer), SLOTS);
            // The owner's own records may be ahead of the ring: what they cover is not read again.
            consumer.rewind();
            consumer.commit(read).unwrap();
            assert_eq!((consumer.read_position(), drain(&mut consumer)), (read, SLOTS));
        }
        assert!(deaths > 0, "no child came to {step}");
    }
}

#[test]
fn death_while_attaching_leaves_the_side_free() {
    for step in steps("attach:") {
        let place = Place::new();
        let mapping = place.create();
        let before = mapping.attach(Side::Front, 1).unwrap();
        let mut producer = before.producer(0).unwrap();
        push_one(&mut producer);
        drop((producer, before));
        assert!(dies_at(&place.path, "attach", step, 1).is_some());
        let after = mapping.attach(Side::Front, 9).unwrap();
        assert_eq!(after.epoch(), if step == "attach:epoch-stored" { 3 } else { 2 });
        assert_eq!(mapping.peer(Side::Front).epoch, after.epoch());
        assert_eq!(after.producer(0).unwrap().position(), 1);
    }
}

/// Whoever dies in it has named the owner or nobody; the next one names the same, and no other.
#[test]
fn death_while_naming_the_owner_names_it_or_nobody() {
    for step in steps("owner:") {
        let place = Place::new();
        let mapping = place.create();
        assert!(dies_at(&place.path, "name owner", step, 1).is_some());
        let expected = (step == "owner:named").then_some(child::OWNER);
        assert_eq!(mapping.owner(), expected, "{step}");
        let back = mapping.attach(Side::Back, 9).unwrap();
        back.name_owner(&child::OWNER).unwrap();
        assert_eq!(mapping.owner(), Some(child::OWNER));
    }
}

#[test]
fn death_while_creating_leaves_a_whole_mapping_or_none() {
    for step in steps("create:") {
        let place = Place::new();
        assert!(dies_at(&place.path, "attach", step, 1).is_some());
        let linked = step == "create:linked";
        assert_eq!(place.path.exists(), linked, "{step}");
        assert_eq!(matches!(Mapping::open(&place.path), Err(Error::NotFound(_))), !linked);
        let mapping = Mapping::open_or_create(&place.path, &geometry()).unwrap();
        mapping.attach(Side::Front, 1).unwrap();
        let left_over = place.files().iter().filter(|name| name.ends_with(".tmp")).count();
        assert_eq!(left_over, usize::from(!linked), "{step}: {:?}", place.files());
    }
}

#[test]
fn a_sleeper_whose_waker_died_is_woken_by_the_successor() {
    let place = Place::new();
    let mapping = place.create();
    let back = mapping.attach(Side::Back, 1).unwrap();
    let sleeper = back.sleeper(0).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                sleeper.prepare();
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                assert!(sleeper.wait(Duration::from_secs(30)), "never woken");
            }
        });
        assert!(dies_at(&place.path, "notify", "notify:flag-cleared", 1).is_some());
        stop.store(true, Ordering::SeqCst);
        mapping.attach(Side::Front, 2).unwrap().sleeper(0).unwrap();
    });
}

#[test]
fn a_bell_whose_ringer_died_is_rung_by_the_successor() {
    let place = Place::new();
    let mapping = place.create();
    let bell = mapping.attach(Side::Front, 1).unwrap().bell(0).unwrap();
    let readable = || {
        let mut fds = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, 0_u8).unwrap() == 1
    };
    bell.arm();
    assert!(dies_at(&place.path, "ring", "ring:flag-cleared", 1).is_some());
    assert!(!readable(), "it died before the ring");
    let _successor = mapping.attach(Side::Back, 2).unwrap().bell(0).unwrap();
    assert!(readable());
}

#[test]
fn killed_at_any_moment() {
    for kill in 0..KILLS {
        let place = Place::new();
        let mapping = place.create();
        let after = Duration::from_millis(1 + u64::from(kill) * 4);
        if kill % 2 == 0 {
            let back = mapping.attach(Side::Back, 1).unwrap();
            let mut child = spawn(&place.path, "push forever", None);
            wait_for_attachment(&mapping, Side::Front);
            let [done, _] = run_beside(&mut child, after, || {
                let refused = mapping.attach(Side::Front, 2);
                assert!(matches!(refused, Err(Error::SideTaken { .. })), "the child lives");
                let mut consumer = back.consumer(0).unwrap();
                let next = drain(&mut consumer);
                consumer.commit(next).unwrap();
            });
            let in_flight = if done % 2 == 0 { 1 } else { BATCH };
            check_after_producer(&place, &back, done, in_flight);
        } else {
            let front = mapping.attach(Side::Front, 1).unwrap();
            let mut producer = front.producer(0).unwrap();
            let mut child = spawn(&place.path, "commit forever", None);
            wait_for_attachment(&mapping, Side::Back);
            let [read, committed] = run_beside(&mut child, after, || {
                let record = payload(producer.position());
                let _ = producer.push(&record);
            });
            let successor = mapping.attach(Side::Back, 8).expect("the kernel freed the side");
            let mut consumer = successor.consumer(0).unwrap();
            let head = consumer.position();
            assert!(head >= committed && head <= read, "{committed} {head} {read}");
            assert_eq!(drain(&mut consumer), producer.position());
        }
    }
}

fn wait_for_attachment(mapping: &Mapping, side: Side) {
    let start = Instant::now();
    while mapping.peer(side).epoch == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "the child never came");
        std::thread::yield_now();
    }
}

/// Works beside a child for a while, kills it, and gives what it reported.
fn run_beside(child: &mut Child, time: Duration, mut work: impl FnMut()) -> [u64; 2] {
    let output = child.stdout.take().unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| reports(output));
        let start = Instant::now();
        while start.elapsed() < time {
            work();
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap()
    })
}

#[test]
fn every_step_is_tested() {
    let tested = [
        "create:", "attach:", "owner:", "push:", "batch:", "read:", "commit:", "notify:", "ring:",
    ];
    for step in crash::POINTS {
        assert!(tested.iter().any(|prefix| step.starts_with(prefix)), "{step}");
    }
}
