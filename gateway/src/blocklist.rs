//! Whom not to serve for a while, as the agent's analysis told: users, devices, and address prefixes. A capped table that
//! fails open. A blocked user's shakes are refused by name and then not answered, requests to the ledger are answered
//! "busy, you are blocked"; new connections from a blocked prefix are refused.
//!
//! Claims go on all the same: what was won before is the user's, its ticket has a time of its own, and the ledger pays it
//! once. So a block costs nobody money, whoever it hits.

use shake_proto::handoff::abuse::{Block, Subject};
use shake_rules::prefix::Prefix;
use shake_rules::{DeviceId, UnixMillis, UserId};
use std::collections::HashMap;
use std::net::IpAddr;

/// Blocks that a shard remembers. With 40 bytes each, 2.6 MB.
const BLOCKS_MAX: usize = 65_536;
/// The longest block that is believed, whatever the agent says, in milliseconds: a day.
const BLOCK_MS_MAX: u64 = 86_400_000;
/// How often blocks that are over are forgotten, in nanoseconds.
const SWEEP_NS: u64 = 1_000_000_000;

/// One shard's table. Times are since the shard began, so that a step of the wall clock makes no block longer.
#[derive(Default)]
pub struct Blocklist {
    until_ns: HashMap<Subject, u64>,
    /// Of them those of devices.
    devices: usize,
    swept_ns: u64,
}

/// What became of a block.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// It holds.
    Holds,
    /// It is over.
    Lifted,
    /// There is no room for it.
    Full,
}

impl Blocklist {
    /// Takes over what the agent told.
    pub fn take(&mut self, block: &Block, now: UnixMillis, now_ns: u64) -> Taken {
        let rest_ms = block.until.since_ms(now).min(BLOCK_MS_MAX);
        let device = usize::from(matches!(block.subject, Subject::Device(_)));
        if rest_ms == 0 {
            if self.until_ns.remove(&block.subject).is_some() {
                self.devices -= device;
            }
            return Taken::Lifted;
        }
        if self.until_ns.len() >= BLOCKS_MAX && !self.until_ns.contains_key(&block.subject) {
            return Taken::Full;
        }
        if self
            .until_ns
            .insert(block.subject, now_ns + rest_ms * 1_000_000)
            .is_none()
        {
            self.devices += device;
        }
        Taken::Holds
    }

    /// How long a subject is still blocked, in milliseconds, rounded up.
    fn rest_ms(&self, subject: Subject, now_ns: u64) -> Option<u32> {
        // Nearly always: a shake must not pay for a lookup.
        if self.until_ns.is_empty() {
            return None;
        }
        let rest_ns = self.until_ns.get(&subject)?.checked_sub(now_ns)?;
        (rest_ns > 0).then(|| rest_ns.div_ceil(1_000_000) as u32)
    }

    /// How long who shakes or asks is still blocked, in milliseconds.
    pub fn blocked_ms(&self, user: UserId, device: Option<DeviceId>, now_ns: u64) -> Option<u32> {
        let of_user = self.rest_ms(Subject::User(user), now_ns);
        let of_device = device.and_then(|device| self.rest_ms(Subject::Device(device), now_ns));
        of_user.max(of_device)
    }

    /// Whether new connections from this address are refused.
    pub fn is_blocked_address(&self, address: IpAddr, now_ns: u64) -> bool {
        self.rest_ms(Subject::Prefix(Prefix::of(address)), now_ns).is_some()
    }

    /// Forgets what is over, once a second. Gives how many hold.
    pub fn sweep(&mut self, now_ns: u64) -> usize {
        if now_ns >= self.swept_ns + SWEEP_NS {
            self.swept_ns = now_ns;
            self.until_ns.retain(|_, until| *until > now_ns);
            let device = |subject: &&Subject| matches!(subject, Subject::Device(_));
            self.devices = self.until_ns.keys().filter(device).count();
        }
        self.until_ns.len()
    }

    /// Whether anybody is blocked.
    pub fn are_some(&self) -> bool {
        !self.until_ns.is_empty()
    }

    /// Whether any device is blocked.
    pub fn are_of_devices(&self) -> bool {
        self.devices > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_proto::handoff::abuse::Rule;

    const SECOND: u64 = 1_000_000_000;

    fn block(user: u64, until_ms: u64) -> Block {
        Block {
            subject: Subject::User(UserId(user)),
            until: UnixMillis(until_ms),
            rule: Rule::Flood,
        }
    }

    #[test]
    fn a_block_holds_until_it_is_over_or_lifted() {
        let mut blocks = Blocklist::default();
        let (who, now) = (Subject::User(UserId(1)), UnixMillis(1_000_000));
        assert_eq!(blocks.take(&block(1, 1_002_500), now, SECOND), Taken::Holds);
        assert_eq!(blocks.rest_ms(who, SECOND), Some(2_500));
        assert_eq!(blocks.rest_ms(who, 3 * SECOND + 1), Some(500), "rounded up");
        assert_eq!(blocks.rest_ms(Subject::Device(DeviceId(1)), SECOND), None);
        assert_eq!(blocks.rest_ms(who, 7 * SECOND / 2), None);
        assert_eq!(blocks.sweep(3 * SECOND), 1);
        assert_eq!(blocks.sweep(4 * SECOND), 0);
        assert_eq!(blocks.take(&block(1, 2_000_000), now, SECOND), Taken::Holds);
        assert_eq!(blocks.take(&block(1, 0), now, SECOND), Taken::Lifted);
        assert_eq!(blocks.rest_ms(who, SECOND), None);
    }

    #[test]
    fn blocks_of_devices_are_counted() {
        let mut blocks = Blocklist::default();
        let now = UnixMillis(1_000_000);
        let of_device = |number, until_ms| Block {
            subject: Subject::Device(DeviceId(number)),
            ..block(0, until_ms)
        };
        blocks.take(&block(1, 2_000_000), now, SECOND);
        assert!(blocks.are_some() && !blocks.are_of_devices());
        for until_ms in [1_001_000, 1_002_000] {
            blocks.take(&of_device(1, until_ms), now, SECOND);
            blocks.take(&of_device(2, until_ms), now, SECOND);
        }
        for _ in 0..2 {
            blocks.take(&of_device(1, 0), now, SECOND);
        }
        assert!(blocks.are_of_devices());
        assert_eq!(blocks.sweep(4 * SECOND), 1);
        assert!(blocks.are_some() && !blocks.are_of_devices());
    }

    #[test]
    fn a_block_for_ever_lasts_a_day_and_a_full_table_fails_open() {
        let mut blocks = Blocklist::default();
        let now = UnixMillis(5);
        for user in 0..BLOCKS_MAX as u64 {
            assert_eq!(blocks.take(&block(user, u64::MAX), now, 0), Taken::Holds);
        }
        assert_eq!(blocks.rest_ms(Subject::User(UserId(7)), 0), Some(BLOCK_MS_MAX as u32));
        assert_eq!(blocks.take(&block(u64::MAX, u64::MAX), now, 0), Taken::Full);
        assert_eq!(
            blocks.take(&block(7, 1_005), now, 0),
            Taken::Holds,
            "who is there already is changed"
        );
        assert_eq!(blocks.rest_ms(Subject::User(UserId(7)), 0), Some(1_000));
    }
}
