//! A mapping in a directory of its own, and payloads that follow from their position.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::PathBuf;

use shm_queue::{Geometry, Mapping, RingGeometry, Side};
use tempfile::TempDir;

pub struct Place {
    pub directory: TempDir,
    pub path: PathBuf,
}

impl Place {
    pub fn new() -> Place {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("rings");
        Place { directory, path }
    }

    pub fn create(&self, geometry: &Geometry) -> Mapping {
        Mapping::create(&self.path, geometry).expect("a new mapping")
    }

    /// A second view of the same file, as another process would have it.
    pub fn open(&self) -> Mapping {
        Mapping::open(&self.path).expect("an existing mapping")
    }
}

/// Ring 0 from Front to Back, ring 1 the other way.
pub fn geometry(slots: u32, payload_bytes_max: u32) -> Geometry {
    let ring = |producer| RingGeometry {
        slots,
        payload_bytes_max,
        producer,
    };
    Geometry {
        records: 1,
        rings: vec![ring(Side::Front), ring(Side::Back)],
        bells: 1,
        sleepers: 1,
    }
}

/// `length` bytes that no other position has.
pub fn payload(position: u64, length: usize) -> Vec<u8> {
    let seed = position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..length).map(|at| (seed >> (at % 8 * 8)) as u8 ^ at as u8).collect()
}
