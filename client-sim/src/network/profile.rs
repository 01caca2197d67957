//! What networks there are, and which phone has which.

use crate::backoff::Jitter;
use crate::schedule::Micros;

/// The name, in reports, of what connects the phones outside of every network's share.
pub const DIRECT: &str = "direct";
/// Keeps the draw of who has which network apart from all other draws.
const CAST: u64 = 0x6e65_7477_6f72_6b73;
/// The golden section of 2^64: multiples of it fall evenly (D. Knuth, TAOCP volume 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// One kind of network. Shares run from 0 to 1; of losses and the like, each direction has its own draws.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The name in reports.
    pub name: String,
    /// The share of phones on it.
    pub share: f64,
    /// The round trip of a phone's path when nothing is in its way: least and most, drawn once for each phone.
    pub round_trip: [Micros; 2],
    /// What a datagram takes longer in one direction, at the most.
    pub jitter: Micros,
    /// The share of datagrams that are lost.
    pub loss: f64,
    /// The share of datagrams that later ones may overtake.
    pub reordering: f64,
    /// How much later these come: least and most.
    pub reordered_by: [Micros; 2],
    /// The share of datagrams that come twice.
    pub duplication: f64,
    /// Mean time between two addresses of a phone; zero for never another.
    pub rebinds_every: Micros,
    /// Mean time from one death of a phone's path to the next; zero for never.
    pub dies_every: Micros,
    /// How long a path is dead: least and most. Then the phone has another path, from another address.
    pub dead_for: [Micros; 2],
}

impl Profile {
    /// The longest round trip of an ordinary datagram and its answer.
    #[must_use]
    pub fn round_trip_max(&self) -> Micros {
        self.round_trip[1].plus(self.jitter).plus(self.jitter)
    }

    /// Whether phones on it change their addresses.
    #[must_use]
    pub fn moves_phones(&self) -> bool {
        self.rebinds_every > Micros::ZERO || self.dies_every > Micros::ZERO
    }
}

/// All networks of a scenario; none when phones and gateway are simply connected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Networks {
    /// The networks, whose shares are 1 together at the most.
    pub profiles: Vec<Profile>,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Networks {
    /// Whether nothing stands between phones and gateway.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// Whether any phone changes its address.
    #[must_use]
    pub fn moves_phones(&self) -> bool {
        self.profiles.iter().any(Profile::moves_phones)
    }

    /// The names of all networks, and last that of [`DIRECT`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(|profile| &profile.name[..]).chain([DIRECT])
    }

    /// The place, among [`names`](Self::names), of a phone's network; nothing when there are no networks. Every stretch of
    /// indices has each network in its share.
    #[must_use]
    pub fn of(&self, phone: u32) -> Option<usize> {
        (!self.is_empty()).then(|| self.place(phone))
    }

    pub(super) fn place(&self, phone: u32) -> usize {
        let drawn = Jitter::new(self.seed ^ CAST, 0).next_u64();
        let point = u64::from(phone).wrapping_mul(GOLDEN).wrapping_add(drawn);
        // 53 bits are what a float holds exactly.
        let point = (point >> 11) as f64 / 2_f64.powi(53);
        let mut until = 0.0;
        let found = self.profiles.iter().position(|profile| {
            until += profile.share;
            point < until
        });
        found.unwrap_or(self.profiles.len())
    }
}
