//! Sleeping and waking between threads, each with a mapping of its own as two processes would have.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use common::{Place, geometry};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_queue::{Bell, Side};

const LONG: Duration = Duration::from_secs(20);
const ROUNDS: u64 = 20_000;

fn readable(fd: BorrowedFd<'_>, timeout_ms: u16) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(timeout_ms)).unwrap() == 1
}

#[test]
fn a_wait_ends_by_notification_or_by_time() {
    let place = Place::new();
    let (front, back) = (place.create(&geometry(4, 8)), place.open());
    let (front, back) = (
        front.attach(Side::Front, 1).unwrap(),
        back.attach(Side::Back, 1).unwrap(),
    );
    let (waker, sleeper) = (front.sleeper(0).unwrap(), back.sleeper(0).unwrap());
    assert!(!waker.notify(), "nobody sleeps");
    sleeper.prepare();
    assert!(!sleeper.wait(Duration::from_millis(1)));
    sleeper.prepare();
    assert!(waker.notify());
    assert!(!waker.notify(), "one wake-up is enough");
    assert!(sleeper.wait(LONG), "notified before it slept");
    sleeper.prepare();
    sleeper.cancel();
    assert!(!waker.notify());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !waker.notify() {
                thread::yield_now();
            }
        });
        sleeper.prepare();
        assert!(sleeper.wait(LONG));
    });
}

#[test]
fn a_bell_is_readable_when_it_was_armed_and_rung() {
    let place = Place::new();
    let (front, back) = (place.create(&geometry(4, 8)), place.open());
    let (front, back) = (
        front.attach(Side::Front, 1).unwrap(),
        back.attach(Side::Back, 1).unwrap(),
    );
    let listener = front.bell(0).unwrap();
    let ringer = back.bell(0).unwrap();
    assert!(readable(listener.as_fd(), 0), "taking it at the back rings it once");
    assert!(listener.disarm_and_drain());
    assert!(!ringer.ring());
    assert!(!readable(listener.as_fd(), 0));
    listener.arm();
    assert!(ringer.ring());
    assert!(!ringer.ring(), "one ring per arming");
    assert!(readable(listener.as_fd(), 0));
    assert!(listener.disarm_and_drain());
    assert!(!listener.disarm_and_drain());
}

/// Waits until `ready`, sleeping on the bell; false when a poll ran out of time, which only a lost wake-up explains.
fn poll_until(bell: &Bell, mut ready: impl FnMut() -> bool) -> bool {
    loop {
        bell.arm();
        let now = ready();
        let woken = now || readable(bell.as_fd(), LONG.as_millis() as u16);
        bell.disarm_and_drain();
        if now || !woken {
            return now;
        }
    }
}

#[test]
fn no_wake_up_is_lost() {
    let place = Place::new();
    let (front_mapping, back_mapping) = (place.create(&geometry(4, 8)), place.open());
    let back_thread = thread::spawn(move || {
        let back = back_mapping.attach(Side::Back, 1).unwrap();
        let (mut requests, mut replies) = (back.consumer(0).unwrap(), back.producer(1).unwrap());
        let (sleeper, bell) = (back.sleeper(0).unwrap(), back.bell(0).unwrap());
        for round in 0..ROUNDS {
            while requests.available() == 0 {
                sleeper.prepare();
                if requests.available() > 0 {
                    sleeper.cancel();
                } else {
                    assert!(sleeper.wait(LONG), "lost in round {round}");
                }
            }
            assert_eq!(
                requests.read_batch(1, |_, bytes| assert_eq!(bytes, round.to_ne_bytes())),
                Ok(1)
            );
            requests.commit(round + 1).unwrap();
            replies.push(&round.to_ne_bytes()).unwrap();
            bell.ring();
        }
    });
    let front = front_mapping.attach(Side::Front, 1).unwrap();
    let (mut requests, mut replies) = (front.producer(0).unwrap(), front.consumer(1).unwrap());
    let (sleeper, bell) = (front.sleeper(0).unwrap(), front.bell(0).unwrap());
    for round in 0..ROUNDS {
        requests.push(&round.to_ne_bytes()).unwrap();
        sleeper.notify();
        assert!(poll_until(&bell, || replies.available() > 0), "lost in round {round}");
        assert_eq!(
            replies.read_batch(1, |_, bytes| assert_eq!(bytes, round.to_ne_bytes())),
            Ok(1)
        );
        replies.commit(round + 1).unwrap();
    }
    back_thread.join().unwrap();
}
