//! When each session of a shard was last heard of. Its shard writes with each packet, whoever displaces for a fifth session of a user
//! reads: so these are atomic numbers, four bytes each, in pages that are made when the first of their sessions comes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Sessions of a page.
const PAGE: usize = if cfg!(test) { 16 } else { 4_096 };
/// A number counts moments of so many milliseconds, so that it lasts for 497 days. After that all sessions seem to have been
/// heard of at the same time, and the oldest gives way.
const MOMENT_MS: u128 = 10;

pub struct Heard {
    pages: Box<[OnceLock<Box<[AtomicU32]>>]>,
}

impl Heard {
    pub fn new(sessions_max: usize) -> Self {
        // One more, for those that are being closed while their places are taken.
        let pages = sessions_max.div_ceil(PAGE) + 1;
        Self {
            pages: (0..pages).map(|_| OnceLock::new()).collect(),
        }
    }

    /// A packet came so long after the beginning. A session past the last page is not noted, and gives way first.
    pub fn note(&self, session: usize, at: Duration) {
        if let Some(page) = self.pages.get(session / PAGE) {
            let page = page.get_or_init(|| (0..PAGE).map(|_| AtomicU32::new(0)).collect());
            let moment = u32::try_from(at.as_millis() / MOMENT_MS).unwrap_or(u32::MAX);
            page[session % PAGE].store(moment, Relaxed);
        }
    }

    /// The moment of a session's last packet; the smaller, the longer ago.
    pub fn of(&self, session: usize) -> u32 {
        let page = self.pages.get(session / PAGE).and_then(OnceLock::get);
        page.map_or(0, |page| page[session % PAGE].load(Relaxed))
    }
}
