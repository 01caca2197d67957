//! How often the lean engine asks for memory: for a shake twice, for the datagram that waits to leave and for the packet
//! that waits for its acknowledgement. An idle session holds neither, which is what keeps a million of them small.

mod support;

use client_sim::engine::{Job, Stop, Target, lean};
use client_sim::run::{read_authority, read_token_key};
use shake_rules::UnixMillis;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::{Script, Server, quick_scenario};

thread_local! {
    /// Blocks asked for by this thread.
    static BLOCKS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts.
struct Counting;

// SAFETY: every call goes to `System` as it came, so `System` keeps the contract. Counting allocates nothing: the cell is
// made without code and has no destructor, so it may also be touched while the thread ends.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BLOCKS.set(BLOCKS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System.alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the block came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        BLOCKS.set(BLOCKS.get() + 1);
        // SAFETY: the block came from `System` with this layout, and the caller vouches for the new size.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Greeting;

impl Script for Greeting {}

/// Blocks that a run of so many shakes a second asks for, on the engine's own thread, and the shakes it sent.
fn run(server: &Server, shakes_per_second: u32) -> (u64, u64) {
    let rate = format!("shakes_per_second = {shakes_per_second}");
    let scenario = quick_scenario(server, &[("shakes_per_second = 200", &rate)]);
    let job = Job {
        targets: vec![Target {
            address: server.address,
            weight: 1,
        }],
        roots: read_authority(&scenario.ca).expect("a file"),
        tokens: read_token_key(&scenario.token_key).expect("a file"),
        started_at: UnixMillis(1),
        dial: Default::default(),
        scenario,
    };
    let before = BLOCKS.get();
    let finished = lean::run(job, &Stop::default(), &mut |_| {}).expect("it begins");
    let shakes = &finished.tally.shakes;
    assert!(shakes.sent > 0 && shakes.answered > shakes.sent / 2, "{shakes:?}");
    (BLOCKS.get() - before, shakes.sent)
}

/// The two, and some for timers and for the ticks in which shakes come together.
const BLOCKS_PER_SHAKE_MAX: f64 = 2.5;

#[test]
fn a_shake_asks_for_memory_twice() {
    let server = Server::start(Greeting);
    let (few_blocks, few) = run(&server, 500);
    let (many_blocks, many) = run(&server, 4_500);
    let blocks = (many_blocks.saturating_sub(few_blocks)) as f64 / (many - few) as f64;
    println!("{blocks:.2} blocks per shake");
    assert!(blocks < BLOCKS_PER_SHAKE_MAX, "{blocks:.2} blocks per shake");
}
