//! The page between the campaign and the programs whose disk and clock it spoils: a file that the campaign writes, and
//! that the library `faults`, loaded into the program before all others, maps. Both compile this file.
//!
//! ```text
//! 0        4       5      6         7            8            9         16             24            32       40      64 .. 512
//! │ "SFLT" │writes │syncs │delay_ms │clock_steps │stamp_steps │ 0 … 0   │writes failed │syncs failed │delayed │clock   │ directory, 0 … 0 │
//!           └──────── written by the campaign, a byte each, so that none is ever half there ─┘└──── counted by the program, 8 bytes each ────┘
//! ```

/// The first bytes.
pub const MAGIC: [u8; 4] = *b"SFLT";
/// The length of the file.
pub const PAGE_BYTES: usize = 512;
/// The environment variable that names the file.
pub const VARIABLE: &str = "SHAKE_FAULTS";
/// What one step of the clock is, in seconds.
pub const CLOCK_STEP_S: i64 = 10;

/// How writes below the directory fare: as they would.
pub const WRITES_WELL: u8 = 0;
/// Nothing may grow: no room.
pub const WRITES_NO_ROOM: u8 = 1;
/// Nothing may be written, not even over what stands there: no room on a file system that copies on write.
pub const WRITES_NONE: u8 = 2;
/// A sync that fails with an input/output error; zero is one that works.
pub const SYNCS_FAIL: u8 = 1;

/// Where each field stands.
pub mod at {
    /// How writes fare.
    pub const WRITES: usize = 4;
    /// How syncs fare.
    pub const SYNCS: usize = 5;
    /// Milliseconds that each sync takes longer.
    pub const DELAY_MS: usize = 6;
    /// By how many steps the wall clock goes ahead of the real one, signed.
    pub const CLOCK_STEPS: usize = 7;
    /// The same for the kernel's timestamps of packets. Moved a moment later, because packets that are under way when
    /// a clock steps bear the time before.
    pub const STAMP_STEPS: usize = 8;
    /// Writes that failed.
    pub const WRITES_FAILED: usize = 16;
    /// Syncs that failed.
    pub const SYNCS_FAILED: usize = 24;
    /// Syncs that took longer.
    pub const DELAYED: usize = 32;
    /// Times that a wall clock which is not the real one was read.
    pub const CLOCK_READ: usize = 40;
    /// The directory whose files are spoiled: an absolute path without links, zeros behind it.
    pub const DIRECTORY: usize = 64;
}
