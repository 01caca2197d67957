//! The cost of a message and of a wake-up. `bench-iceoryx2` runs the same beside iceoryx2.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use criterion::{criterion_group, criterion_main};

criterion_group! {
    name = ring;
    config = support::config();
    targets = support::one_message, support::batches, support::wake_up_round_trip
}
criterion_main!(ring);
