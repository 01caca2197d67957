//! How often transactions begin. A server is shared by a fleet and pays by transaction, and what one gateway asks in ten
//! milliseconds is hardly ever more than one request. So an agent goes by how long its last transaction took: where the server has
//! much to do all agents begin fewer, and each takes more into one.

use std::time::{Duration, Instant};

/// The longest from the beginning of a transaction to that of the next.
const MAX: Duration = Duration::from_millis(250);

/// The last transaction.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    begun: Instant,
    took: Duration,
}

impl Pace {
    /// Of a transaction that ends now.
    #[must_use]
    pub fn since(begun: Instant) -> Self {
        let took = begun.elapsed();
        Self { begun, took }
    }

    /// How long the next one does not begin yet.
    #[must_use]
    pub fn rest(&self, every: Duration) -> Duration {
        between(every, self.took).saturating_sub(self.begun.elapsed())
    }
}

/// From the beginning of a transaction that took so long to that of the next: twice as long, and `every` at the least.
fn between(every: Duration, took: Duration) -> Duration {
    (2 * took).max(every).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_begins_after_twice_the_time_of_the_last() {
        for (took, expected) in [(0, 10), (5, 10), (6, 12), (100, 200), (125, 250), (2_000, 250)] {
            let ms = Duration::from_millis;
            assert_eq!(between(ms(10), ms(took)), ms(expected), "{took} ms");
        }
        assert_eq!(between(Duration::ZERO, Duration::ZERO), Duration::ZERO);
    }
}
