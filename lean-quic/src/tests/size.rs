//! What an established, idle session costs in memory.

use super::super::{Connection, Event};
use super::pair::Pair;
use super::setup::Setup;
use crate::Micros;

/// The goal: all of a session, its share of heap included.
const SESSION_BYTES_MAX: usize = 1_024;

#[test]
fn an_idle_session_is_small_and_has_nothing_on_the_heap() {
    let inline = size_of::<Connection>();
    println!("Connection: {inline} bytes");
    assert!(inline <= SESSION_BYTES_MAX, "{inline}");
    let mut pair = Pair::settled(Setup::default());
    pair.client.send_datagram(b"shake").expect("it is taken");
    let _ = pair.request(b"echo");
    pair.run_for(Micros::from_s(2));
    assert_eq!(pair.client.heap_blocks(), 0);
}

#[test]
fn an_event_is_no_larger_than_it_must_be() {
    assert!(size_of::<Event<'_>>() <= 48);
}
