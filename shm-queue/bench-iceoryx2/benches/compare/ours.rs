//! shm-queue's two ends: the parent is Front, the child is Back with a mapping of its own.

use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shm_queue::{Attachment, Bell, Consumer, Geometry, Mapping, Producer, PushError, RingGeometry, Side, Sleeper};
use tempfile::TempDir;

use crate::ends::{BATCH, FarEnd, Near, PAYLOAD_BYTES, Patience, Payload, SLOTS, TIMEOUT, message, number};

/// A directory for the mapping, in memory where there is one.
pub fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new();
    if memory.is_dir() {
        builder.tempdir_in(memory)
    } else {
        builder.tempdir()
    }
    .expect("a directory")
}

fn path(place: &str) -> PathBuf {
    Path::new(place).join("rings")
}

fn geometry() -> Geometry {
    let ring = |producer| RingGeometry {
        slots: SLOTS as u32,
        payload_bytes_max: PAYLOAD_BYTES as u32,
        producer,
    };
    Geometry {
        records: 1,
        rings: vec![ring(Side::Front), ring(Side::Back)],
        bells: 1,
        sleepers: 1,
    }
}

/// The parent's end.
pub struct Ours {
    requests: Producer,
    replies: Consumer,
    sleeper: Sleeper,
    bell: Bell,
    _front: Attachment,
}

impl Ours {
    /// Makes the mapping and takes its Front.
    pub fn create(place: &str) -> Ours {
        let front = Mapping::create(&path(place), &geometry())
            .and_then(|mapping| mapping.attach(Side::Front, 0))
            .expect("a new mapping");
        Ours {
            requests: front.producer(0).expect("free"),
            replies: front.consumer(1).expect("free"),
            sleeper: front.sleeper(0).expect("exists"),
            bell: front.bell(0).expect("exists"),
            _front: front,
        }
    }

    fn sleep_until_rung(&mut self) {
        self.bell.arm();
        if self.replies.available() == 0 {
            let mut fds = [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(TIMEOUT).expect("five seconds");
            assert_ne!(poll(&mut fds, timeout), Ok(0), "no answer in time");
        }
        self.bell.disarm_and_drain();
    }
}

impl Near for Ours {
    fn send(&mut self, count: u64) {
        for number in 0..count {
            let payload = message(number);
            let mut patience = Patience::default();
            while let Err(error) = self.requests.push(&payload) {
                assert!(matches!(error, PushError::Full(_)), "{error}");
                patience.wait();
            }
        }
    }

    fn send_batches(&mut self, count: u64) {
        let mut payloads = [message(0); BATCH];
        for first in (0..count).step_by(BATCH) {
            for (payload, number) in payloads.iter_mut().zip(first..) {
                payload[..8].copy_from_slice(&number.to_ne_bytes());
            }
            let mut sent = 0;
            let mut patience = Patience::default();
            while sent < BATCH {
                let pushed = self
                    .requests
                    .push_batch(payloads[sent..].iter().map(|payload| &payload[..]));
                sent += pushed.count;
                if let Some(error) = pushed.refused {
                    assert!(matches!(error, PushError::Full(_)), "{error}");
                    patience.wait();
                }
            }
        }
    }

    fn ping(&mut self, count: u64) {
        for number in 0..count {
            self.requests.push(&message(number)).expect("room");
            self.sleeper.notify();
            let mut answered = 0;
            while answered == 0 {
                self.sleep_until_rung();
                answered = self
                    .replies
                    .read_batch(1, |_, bytes| assert_eq!(crate::ends::number(bytes), number))
                    .expect("sound");
            }
            self.replies.commit(self.replies.read_position()).expect("read");
        }
    }
}

/// The child's end.
pub struct Far {
    requests: Consumer,
    replies: Producer,
    sleeper: Sleeper,
    bell: Bell,
    _back: Attachment,
}

impl Far {
    /// Maps the file that the parent made.
    pub fn open(place: &str) -> Far {
        let back = Mapping::open(&path(place))
            .and_then(|mapping| mapping.attach(Side::Back, 0))
            .expect("the parent's mapping");
        Far {
            requests: back.consumer(0).expect("free"),
            replies: back.producer(1).expect("free"),
            sleeper: back.sleeper(0).expect("exists"),
            bell: back.bell(0).expect("exists"),
            _back: back,
        }
    }

    fn drain_by(&mut self, max: usize, count: u64) -> u64 {
        let (mut received, mut sum) = (0, 0_u64);
        let mut patience = Patience::default();
        while received < count {
            let read = self
                .requests
                .read_batch(max, |_, bytes| sum = sum.wrapping_add(number(bytes)))
                .expect("sound");
            if read == 0 {
                patience.wait();
                continue;
            }
            patience = Patience::default();
            received += read as u64;
            self.requests.commit(self.requests.read_position()).expect("read");
        }
        sum
    }
}

impl FarEnd for Far {
    fn drain(&mut self, count: u64) -> u64 {
        self.drain_by(1, count)
    }

    fn drain_batches(&mut self, count: u64) -> u64 {
        self.drain_by(BATCH, count)
    }

    fn echo(&mut self, count: u64) {
        let mut copy: Payload = message(0);
        let mut echoed = 0;
        while echoed < count {
            let read = self
                .requests
                .read_batch(1, |_, bytes| copy.copy_from_slice(bytes))
                .expect("sound");
            if read == 1 {
                self.requests.commit(self.requests.read_position()).expect("read");
                self.replies.push(&copy).expect("room");
                self.bell.ring();
                echoed += 1;
                continue;
            }
            self.sleeper.prepare();
            if self.requests.available() > 0 {
                self.sleeper.cancel();
            } else {
                assert!(self.sleeper.wait(TIMEOUT), "no request in time");
            }
        }
    }
}
