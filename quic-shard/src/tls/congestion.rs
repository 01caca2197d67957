//! The usual congestion control (Cubic), and where the newest controller lies: each is in a box of its own.

use quinn_proto::congestion::{Controller, ControllerFactory, CubicConfig};
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::time::Instant;

thread_local! {
    static NEWEST: Cell<usize> = const { Cell::new(0) };
}

/// Where the controller lies that was made last on this thread; to be asked of the memory, never to be read.
pub fn newest_controller() -> usize {
    NEWEST.get()
}

/// Makes controllers, and notes where.
#[derive(Default)]
pub struct Factory(Arc<CubicConfig>);

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let controller = Arc::clone(&self.0).build(now, current_mtu);
        NEWEST.set(ptr::from_ref(&*controller).addr());
        controller
    }
}
