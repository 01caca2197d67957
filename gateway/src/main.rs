//! The program `gateway`. The work is in the library.

#![forbid(unsafe_code)]

use gateway::TrackingAllocator;
use std::process::ExitCode;

#[cfg(not(feature = "heap-profile"))]
#[global_allocator]
static ALLOCATOR: TrackingAllocator<mimalloc::MiMalloc> = TrackingAllocator(mimalloc::MiMalloc);
#[cfg(feature = "heap-profile")]
#[global_allocator]
static ALLOCATOR: TrackingAllocator<gateway::Profiled> = TrackingAllocator(gateway::Profiled);

fn main() -> ExitCode {
    gateway::main()
}
