//! What a shard needs of its machine: the time, packets, and sleep. A shard that is given another machine serves in simulated
//! time.

use crate::batch::{RecvBatch, SendBatch};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// The present, read once a turn.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The moment.
    pub instant: Instant,
    /// Nanoseconds since the shard began.
    pub elapsed_ns: u64,
    /// CLOCK_MONOTONIC, which the kernel and other processes share.
    pub monotonic_ns: u64,
    /// CLOCK_BOOTTIME, which runs on while the machine is suspended.
    pub boot_ns: u64,
}

impl Now {
    /// The present of a shard that began then.
    pub fn read(io: &impl Io, began: Instant) -> Self {
        let instant = io.instant();
        Self {
            instant,
            elapsed_ns: (instant - began).as_nanos() as u64,
            monotonic_ns: io.monotonic_ns(),
            boot_ns: io.boot_ns(),
        }
    }

    /// CLOCK_MONOTONIC in milliseconds, as heartbeats carry it.
    pub fn monotonic_ms(&self) -> u64 {
        self.monotonic_ns / 1_000_000
    }
}

/// Packets that were lost on their way in, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// There was no room for them.
    pub overflowed: u64,
    /// They were to be dropped: [`Io::filter_out`].
    pub filtered: u64,
}

/// The machine of one shard.
pub trait Io {
    /// Now.
    fn instant(&self) -> Instant;

    /// The same by CLOCK_MONOTONIC, in nanoseconds.
    fn monotonic_ns(&self) -> u64;

    /// The same by CLOCK_BOOTTIME, in nanoseconds.
    fn boot_ns(&self) -> u64;

    /// The same by the clock that packets are stamped by on their arrival, in nanoseconds since 1970.
    fn wall_ns(&self) -> u64;

    /// Takes packets that are there, in place of those that the batch had. One that is not filled is all that there was.
    ///
    /// # Errors
    /// What the system says that is not a matter of one packet.
    fn receive(&mut self, batch: &mut RecvBatch) -> io::Result<()>;

    /// Sends what the batch holds, in order, and empties it. Gives how many packets were not taken.
    fn send(&mut self, batch: &mut SendBatch) -> usize;

    /// Sleeps for so long, whatever comes.
    fn sleep(&mut self, time: Duration);

    /// Waits until a packet comes or the doorbell rings, for so long at the most.
    fn wait(&mut self, timeout: Duration, doorbell: Option<BorrowedFd<'_>>);

    /// Has packets with this connection ID dropped from now on, for so many nanoseconds, but for no more than a second. It is a
    /// wish: they may come all the same.
    fn filter_out(&mut self, cid: u64, hold_ns: u64, now: &Now);

    /// What was lost so far.
    fn drops(&mut self) -> Drops;
}
