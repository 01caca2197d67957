//! Who holds the heap: an allocator around the usual one that remembers call stacks. Only in builds with the feature
//! `heap-profile`, which `cargo xtask bench memory` makes; never in one that serves.
//!
//! Every allocation is counted by its size. One address in [`SAMPLE`] (by a hash of the address, so that freeing knows
//! it too) and every large block is kept with the stack that allocated it. On SIGUSR1 all that is live is written to
//! the file that the environment variable `GATEWAY_HEAP_PROFILE` names:
//!
//! ```text
//! class COUNT REQUESTED RESERVED                    one line for each range of sizes, exact
//! site COUNT REQUESTED RESERVED NAME;NAME;…         one line for each stack, innermost function first, estimated
//! ```
//! *Requested* is what the program asked for, *reserved* what the allocator set aside for it, both in bytes.

use anyhow::{Context, Result};
use mimalloc::MiMalloc;
use nix::sys::signal::{SigSet, Signal};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, PoisonError};

/// One address in so many is kept with its stack. At 20,000 sessions a kind of block that each session has one of is
/// met 1,250 times, which estimates it to about 3 %.
const SAMPLE: usize = 16;
/// Blocks from this size on are all kept.
const LARGE_BYTES: usize = 32 * 1024;
/// Frames kept of a stack.
const DEPTH: usize = 40;
/// Ranges of sizes: eight for each power of two.
const CLASSES: usize = 64 * 8;

/// The allocator of a profiled build.
#[derive(Debug)]
pub struct Profiled;

#[derive(Default, Clone, Copy)]
struct Held {
    count: i64,
    requested: i64,
    reserved: i64,
}

impl Held {
    fn add(&mut self, sign: i64, requested: usize, reserved: usize) {
        self.count += sign;
        self.requested += sign * requested as i64;
        self.reserved += sign * reserved as i64;
    }
}

#[derive(Default)]
struct Sampled {
    /// By hash of the stack.
    sites: HashMap<u64, (Vec<usize>, Held)>,
    /// By address: the site, and how much was asked for.
    live: HashMap<usize, (u64, usize)>,
}

struct Class {
    count: AtomicI64,
    requested: AtomicI64,
    reserved: AtomicI64,
}

static EXACT: [Class; CLASSES] = [const {
    Class {
        count: AtomicI64::new(0),
        requested: AtomicI64::new(0),
        reserved: AtomicI64::new(0),
    }
}; CLASSES];
static SAMPLED: LazyLock<Mutex<Sampled>> = LazyLock::new(Mutex::default);

thread_local! {
    /// Set while this thread is in the profile's own work, whose blocks are not counted.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs the profile's own work, unless that is what allocates.
fn apart(work: impl FnOnce()) {
    if !IS_INSIDE.replace(true) {
        work();
        IS_INSIDE.set(false);
    }
}

/// The range of sizes that a block belongs to: its leading bit and the three after it.
fn class(bytes: usize) -> usize {
    let bytes = bytes.max(8);
    let bits = bytes.ilog2() as usize;
    bits * 8 + ((bytes >> (bits - 3)) & 7)
}

fn is_sampled(address: usize, bytes: usize) -> bool {
    // Fibonacci hashing: the high bits of the product depend on all bits of the address.
    bytes >= LARGE_BYTES || (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).is_multiple_of(SAMPLE)
}

fn count(address: usize, requested: usize, reserved: usize, sign: i64) {
    let class = &EXACT[class(reserved)];
    class.count.fetch_add(sign, Relaxed);
    class.requested.fetch_add(sign * requested as i64, Relaxed);
    class.reserved.fetch_add(sign * reserved as i64, Relaxed);
    if !is_sampled(address, requested) {
        return;
    }
    let mut sampled = SAMPLED.lock().unwrap_or_else(PoisonError::into_inner);
    let Sampled { sites, live } = &mut *sampled;
    if sign < 0 {
        if let Some((site, requested)) = live.remove(&address)
            && let Some((_, held)) = sites.get_mut(&site)
        {
            held.add(-1, requested, reserved);
        }
        return;
    }
    let mut frames = Vec::with_capacity(DEPTH);
    backtrace::trace(|frame| {
        frames.push(frame.ip() as usize);
        frames.len() < DEPTH
    });
    let site = frames.iter().fold(0_u64, |hash, frame| {
        (hash.rotate_left(5) ^ *frame as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    sites
        .entry(site)
        .or_insert((frames, Held::default()))
        .1
        .add(1, requested, reserved);
    live.insert(address, (site, requested));
}

// SAFETY: every call is passed on to mimalloc unchanged; what is added neither reads nor writes the blocks.
unsafe impl GlobalAlloc for Profiled {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { MiMalloc.alloc(layout) };
        note(block, layout.size(), 1);
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { MiMalloc.alloc_zeroed(layout) };
        note(block, layout.size(), 1);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(block, layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(block, layout.size(), -1);
        // SAFETY: the caller's promise.
        let block = unsafe { MiMalloc.realloc(block, layout, bytes) };
        note(block, bytes, 1);
        block
    }
}

/// Counts a live block in or out.
fn note(block: *mut u8, requested: usize, sign: i64) {
    if block.is_null() {
        return;
    }
    // SAFETY: the block is live: it was just allocated, or is about to be freed.
    let reserved = unsafe { MiMalloc.usable_size(block) };
    apart(|| count(block as usize, requested, reserved, sign));
}

/// Writes the profile at each SIGUSR1. To be called before any other thread starts, so that all have it blocked.
///
/// # Errors
/// When `GATEWAY_HEAP_PROFILE` names no file, or the thread cannot start.
pub fn watch() -> Result<()> {
    let path = std::env::var_os("GATEWAY_HEAP_PROFILE").map(PathBuf::from);
    let path = path.context("this is a build for heap profiles: GATEWAY_HEAP_PROFILE must name the file to write")?;
    let signals = SigSet::from(Signal::SIGUSR1);
    signals.thread_block().context("cannot block SIGUSR1")?;
    let work = move || {
        while signals.wait().is_ok() {
            if let Err(error) = write(&path) {
                tracing::error!("{error:#}");
            }
        }
    };
    std::thread::Builder::new()
        .name("heap-profile".into())
        .spawn(work)
        .context("cannot start the heap profile's thread")?;
    Ok(())
}

/// Writes the profile under another name and renames it, so that a reader meets all of it or none.
fn write(path: &Path) -> Result<()> {
    let mut result = Ok(());
    apart(|| {
        let unfinished = path.with_extension("unfinished");
        result = std::fs::write(&unfinished, text())
            .and_then(|()| std::fs::rename(&unfinished, path))
            .with_context(|| format!("cannot write {}", path.display()));
    });
    result
}

fn text() -> String {
    let mut text = String::new();
    for class in &EXACT {
        let [count, requested, reserved] =
            [&class.count, &class.requested, &class.reserved].map(|number| number.load(Relaxed));
        if count != 0 {
            let _ = writeln!(text, "class {count} {requested} {reserved}");
        }
    }
    // Copied, because naming the frames takes seconds, and the shards must not wait for it.
    let sampled = SAMPLED.lock().unwrap_or_else(PoisonError::into_inner);
    let sites: Vec<_> = sampled
        .sites
        .values()
        .filter(|(_, held)| held.count != 0)
        .cloned()
        .collect();
    drop(sampled);
    let mut names = HashMap::new();
    for (frames, held) in sites {
        let weight = if held.requested / held.count >= LARGE_BYTES as i64 {
            1
        } else {
            SAMPLE as i64
        };
        let [count, requested, reserved] = [held.count, held.requested, held.reserved].map(|n| n * weight);
        let _ = write!(text, "site {count} {requested} {reserved} ");
        for frame in frames {
            text.push_str(names.entry(frame).or_insert_with(|| name(frame)));
        }
        text.push('\n');
    }
    text
}

/// The functions of a frame, inlined ones first, each with a semicolon after it.
fn name(frame: usize) -> String {
    let mut text = String::new();
    // The address is the one to return to; the call stands before it.
    backtrace::resolve((frame - 1) as *mut _, |symbol| {
        if let Some(name) = symbol.name() {
            let _ = write!(text, "{name:#};");
        }
    });
    text
}
