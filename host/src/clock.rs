//! The two clocks, read at the edge of the program only.

use nix::time::{ClockId, clock_gettime};
use shake_rules::UnixMillis;
use std::time::{SystemTime, UNIX_EPOCH};

/// The time of day.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since.as_millis() as u64)
}

/// CLOCK_MONOTONIC in milliseconds, which two processes of one machine share; heartbeats are told in it.
#[must_use]
pub fn monotonic_ms() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has CLOCK_MONOTONIC");
    time.tv_sec().cast_unsigned() * 1_000 + time.tv_nsec().cast_unsigned() / 1_000_000
}
