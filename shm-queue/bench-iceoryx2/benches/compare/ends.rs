//! What is asked of either contender's two ends, and the one way in which both wait.

use std::hint::spin_loop;
use std::thread;
use std::time::Duration;

/// Bytes of one message.
pub const PAYLOAD_BYTES: usize = 64;
/// Messages of one batch.
pub const BATCH: usize = 64;
/// Messages that the ring or the subscriber's buffer holds: as many as the gateway's request ring.
pub const SLOTS: usize = 8192;
/// Longest wait for the other process; after it the run is broken.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// One message.
pub type Payload = [u8; PAYLOAD_BYTES];

/// The parent's end.
pub trait Near {
    /// Sends `count` messages numbered from 0, one at a time, waiting when there is no room.
    fn send(&mut self, count: u64);
    /// The same in batches of [`BATCH`], of which `count` is a multiple.
    fn send_batches(&mut self, count: u64);
    /// `count` times: wakes the far end and sleeps until it is woken by it.
    fn ping(&mut self, count: u64);
}

/// The child's end.
pub trait FarEnd {
    /// Receives `count` messages one at a time, waiting when there is none; the sum of their numbers.
    fn drain(&mut self, count: u64) -> u64;
    /// The same, up to [`BATCH`] at a time.
    fn drain_batches(&mut self, count: u64) -> u64;
    /// `count` times: sleeps until it is woken, and wakes the near end.
    fn echo(&mut self, count: u64);
}

/// A message with its number at the front.
pub fn message(number: u64) -> Payload {
    let mut payload = [7; PAYLOAD_BYTES];
    payload[..8].copy_from_slice(&number.to_ne_bytes());
    payload
}

/// The number of a message.
pub fn number(payload: &[u8]) -> u64 {
    u64::from_ne_bytes(payload[..8].try_into().expect("a message has 64 bytes"))
}

/// Turns of waiting after which the other process must be dead: ten seconds and more.
const PATIENCE: u32 = 50_000_000;

/// Waiting for the other process while it runs: a short spin, then giving the CPU away each time.
#[derive(Default)]
pub struct Patience(u32);

impl Patience {
    pub fn wait(&mut self) {
        self.0 += 1;
        assert!(self.0 < PATIENCE, "the other process does not move");
        if self.0 < 128 {
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
}
