//! What a session has used up of the limits that are looked at once a packet is open. What is looked at before that stands
//! in [`UserLimits`](super::UserLimits).

use rate_limit::{Level, Limit};

/// A Hello in so long, over time, in nanoseconds; and so many at once. Each cue and each push makes every phone say it, and
/// an operator may correct a cue twice.
const BETWEEN_HELLOS_NS: u64 = 5_000_000_000;
const HELLOS_AT_ONCE: u32 = 4;
/// The ledger is asked what waits for a user at most once in so long, in nanoseconds.
pub const BETWEEN_OFFERS_NS: u64 = 10_000_000_000;
/// The same in the moments that a session remembers, which last for 497 days.
const MOMENT_NS: u64 = 10_000_000;
/// Stands for a moment that has not come while the ledger is to be asked.
const PUT_OFF: u32 = u32::MAX;

/// One stands in every session.
#[derive(Debug, Default)]
pub struct SessionLimits {
    pub asks: Level,
    hellos: Level,
    /// The manifest that was told last, as [`folded`]; 0 for none.
    manifest: u32,
    /// The ledger is not asked for what waits before this moment since the shard began, or is to be: [`PUT_OFF`].
    offers_after: u32,
}

const _: () = assert!(size_of::<SessionLimits>() <= 24, "one stands in every session");

/// What becomes of the question what waits for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offers {
    /// To be asked now.
    Ask,
    /// To be asked after [`BETWEEN_OFFERS_NS`].
    PutOff,
    /// To be asked then already.
    IsPutOff,
}

impl SessionLimits {
    /// Takes one Hello.
    ///
    /// # Errors
    /// The nanoseconds until one more is served; nothing was taken then.
    pub fn hello(&mut self, now_ns: u64) -> Result<(), u64> {
        Limit::every(BETWEEN_HELLOS_NS, HELLOS_AT_ONCE).take(&mut self.hellos, now_ns)
    }

    /// Whether the manifest of this version is to be told: once for each.
    pub fn manifest(&mut self, version: u64) -> bool {
        std::mem::replace(&mut self.manifest, folded(version)) != folded(version)
    }

    /// A Hello was served that wants to hear what waits for its user.
    pub fn wants_offers(&mut self, now_ns: u64) -> Offers {
        if self.offers_after == PUT_OFF {
            return Offers::IsPutOff;
        }
        if moment(now_ns) < self.offers_after {
            self.put_off_offers();
            return Offers::PutOff;
        }
        self.asks_offers(now_ns);
        Offers::Ask
    }

    /// The ledger is to be asked later.
    pub fn put_off_offers(&mut self) {
        self.offers_after = PUT_OFF;
    }

    /// The ledger is asked now.
    pub fn asks_offers(&mut self, now_ns: u64) {
        self.offers_after = moment(now_ns + BETWEEN_OFFERS_NS).min(PUT_OFF - 1);
    }
}

fn moment(now_ns: u64) -> u32 {
    u32::try_from(now_ns / MOMENT_NS).unwrap_or(u32::MAX)
}

/// A version in half of its bytes, never 0. Versions of one show differ in it unless they are 2^32 apart.
fn folded(version: u64) -> u32 {
    ((version % u64::from(u32::MAX)) as u32).wrapping_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn four_hellos_at_once_and_one_in_five_seconds() {
        let (mut limits, start) = (SessionLimits::default(), 1_u64 << 40);
        let mut count = |at_ns| (0..700).filter(|_| limits.hello(at_ns).is_ok()).count();
        assert_eq!(count(start), 4);
        assert_eq!(count(start + 5 * SECOND_NS - 1), 0);
        assert_eq!(count(start + 5 * SECOND_NS), 1);
        assert_eq!(count(start + 1_000 * SECOND_NS), 4);
    }

    #[test]
    fn a_manifest_is_told_once_for_each_version() {
        let mut limits = SessionLimits::default();
        let told = [7, 7, 8, 7, u64::MAX, u64::MAX].map(|version| limits.manifest(version));
        assert_eq!(told, [true, false, true, true, true, false]);
        for version in [0, u64::from(u32::MAX) - 1, u64::from(u32::MAX)] {
            assert!(SessionLimits::default().manifest(version), "{version} is told first");
        }
    }

    #[test]
    fn what_waits_is_asked_for_once_in_ten_seconds_and_put_off_once() {
        let (mut limits, start) = (SessionLimits::default(), 1_u64 << 40);
        assert_eq!(limits.wants_offers(start), Offers::Ask);
        assert_eq!(limits.wants_offers(start + 1), Offers::PutOff);
        for second in 0..20 {
            assert_eq!(limits.wants_offers(start + second * SECOND_NS), Offers::IsPutOff);
        }
        let asked = start + 11 * SECOND_NS;
        limits.asks_offers(asked);
        assert_eq!(limits.wants_offers(asked + 9 * SECOND_NS), Offers::PutOff);
        limits.asks_offers(asked);
        assert_eq!(limits.wants_offers(asked + 11 * SECOND_NS), Offers::Ask);
        // After 497 days, too.
        let (mut limits, late) = (SessionLimits::default(), u64::MAX / 2);
        assert_eq!(limits.wants_offers(late), Offers::Ask);
        assert_eq!(
            limits.wants_offers(late),
            Offers::Ask,
            "limited no more, and lost no less"
        );
    }
}
