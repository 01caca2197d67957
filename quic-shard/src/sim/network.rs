//! What happens to packets between the clients and the shard.

use lean_quic::Micros;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

/// The network of all clients, the same in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The least time that a packet takes.
    pub delay: Micros,
    /// So much more at the most, drawn for each packet: those that overtake others are reordered by it.
    pub jitter: Micros,
    /// Of each packet the probability that it is lost.
    pub loss: f64,
    /// Of each that is not, that it arrives twice.
    pub duplication: f64,
    /// From then on nothing is lost, and nothing comes twice.
    pub calm_from: Micros,
    /// Somebody on the path sends the shard copies of each packet of a session, most of them altered.
    pub is_tampered_with: bool,
}

impl Network {
    /// 25 ms each way, and nothing goes wrong.
    pub const CLEAN: Self = Self {
        delay: Micros::from_ms(25),
        jitter: Micros::ZERO,
        loss: 0.0,
        duplication: 0.0,
        calm_from: Micros(u64::MAX),
        is_tampered_with: false,
    };

    /// A crowded cell: one packet in twenty is lost, one in fifty comes twice, and many overtake others.
    pub const POOR: Self = Self {
        delay: Micros::from_ms(40),
        jitter: Micros::from_ms(60),
        loss: 0.05,
        duplication: 0.02,
        calm_from: Micros(u64::MAX),
        is_tampered_with: false,
    };

    /// When a packet arrives that is sent now: not at all, once, or twice. The same number of draws for each, so that what
    /// becomes of one packet depends on none before it.
    pub(super) fn arrivals(&self, now: Micros, rng: &mut StdRng) -> [Option<Micros>; 2] {
        let is_rough = now < self.calm_from;
        let [is_lost, is_repeated] = [self.loss, self.duplication].map(|share| rng.random_bool(share) && is_rough);
        let times = [0; 2].map(|_: u8| {
            let more = (u128::from(rng.next_u64()) * u128::from(self.jitter.0 + 1)) >> 64;
            now.plus(self.delay).plus(Micros(more as u64))
        });
        [
            (!is_lost).then_some(times[0]),
            (!is_lost && is_repeated).then_some(times[1]),
        ]
    }
}
