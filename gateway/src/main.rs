//! The program `gateway`. The work is in the library.

#![forbid(unsafe_code)]

use gateway::Noted;
use std::process::ExitCode;

#[cfg(not(feature = "heap-profile"))]
#[global_allocator]
static ALLOCATOR: Noted<mimalloc::MiMalloc> = Noted(mimalloc::MiMalloc);
#[cfg(feature = "heap-profile")]
#[global_allocator]
static ALLOCATOR: Noted<gateway::Profiled> = Noted(gateway::Profiled);

fn main() -> ExitCode {
    gateway::main()
}
