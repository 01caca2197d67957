//! How often something comes from each address prefix: new connections, or shakes. The table is capped; when it is full of prefixes that are
//! not idle, further ones are refused (it fails closed).

use rate_limit::{Level, Limit};
use shake_rules::prefix::Prefix;
use shake_rules::throttle::Prefixes as Limits;
use std::collections::HashMap;
use std::net::IpAddr;

/// The least time between two sweeps of a full table, in nanoseconds, so that a flood does not pay for a sweep each time.
const SWEEP_NS: u64 = 1_000_000_000;

/// One shard's table.
#[derive(Default)]
pub struct Prefixes {
    levels: HashMap<Prefix, Level>,
    swept_at_ns: Option<u64>,
}

/// Why something is over its prefix's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Too many of this prefix.
    Rate,
    /// Too many prefixes.
    Full,
}

impl Prefixes {
    /// Whether one more of the address's prefix would be taken. Nothing is, and nothing is remembered of the prefix.
    pub fn look(
        &mut self,
        address: IpAddr,
        limit: &Limit,
        limits: &Limits,
        max: usize,
        now_ns: u64,
    ) -> Result<(), Over> {
        if limits.is_exempt(address) {
            return Ok(());
        }
        let known = self.levels.get(&Prefix::of(address)).cloned();
        if known.is_none() && self.levels.len() >= max && !self.sweep(max, now_ns) {
            return Err(Over::Full);
        }
        match limit.wait_ns(&known.unwrap_or_default(), now_ns) {
            0 => Ok(()),
            _ => Err(Over::Rate),
        }
    }

    /// Takes one of the address's prefix. `max` is how many prefixes this table may remember.
    pub fn take(
        &mut self,
        address: IpAddr,
        limit: &Limit,
        limits: &Limits,
        max: usize,
        now_ns: u64,
    ) -> Result<(), Over> {
        if limits.is_exempt(address) {
            return Ok(());
        }
        let key = Prefix::of(address);
        if let Some(level) = self.levels.get_mut(&key) {
            return limit.take(level, now_ns).map_err(|_| Over::Rate);
        }
        if self.levels.len() >= max && !self.sweep(max, now_ns) {
            return Err(Over::Full);
        }
        let mut level = Level::default();
        let taken = limit.take(&mut level, now_ns).map_err(|_| Over::Rate);
        self.levels.insert(key, level);
        taken
    }

    /// Forgets the idle prefixes. Says whether there is room now.
    fn sweep(&mut self, max: usize, now_ns: u64) -> bool {
        if self.swept_at_ns.is_some_and(|at| now_ns < at + SWEEP_NS) {
            return false;
        }
        self.swept_at_ns = Some(now_ns);
        self.levels.retain(|_, level| !level.is_idle(now_ns));
        self.levels.len() < max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn limits() -> Limits {
        Limits {
            max: 4,
            exempt: vec!["127.0.0.0/8".parse().expect("a network")],
        }
    }

    fn v4(net: u8, host: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, net, host).into()
    }

    #[test]
    fn a_prefix_has_its_rate_and_others_have_theirs() {
        let (mut prefixes, limit, now_ns) = (Prefixes::default(), Limit::new(1.0, 2), 1 << 40);
        let mut take =
            |address: &str, now_ns| prefixes.take(address.parse().expect("address"), &limit, &limits(), 4, now_ns);
        assert_eq!([take("10.0.0.1", now_ns), take("10.0.0.2", now_ns)], [Ok(()), Ok(())]);
        assert_eq!(take("10.0.0.3", now_ns), Err(Over::Rate));
        assert_eq!(take("::ffff:10.0.0.3", now_ns), Err(Over::Rate));
        assert_eq!(take("10.0.1.3", now_ns), Ok(()));
        assert_eq!(take("10.0.0.3", now_ns + 1_000_000_000), Ok(()));
        for _ in 0..9 {
            assert_eq!(take("127.0.0.1", now_ns), Ok(()), "exempt");
        }
        assert_eq!(
            [take("2001:db8:0:1::1", now_ns), take("2001:db8:0:ff::1", now_ns)],
            [Ok(()), Ok(())]
        );
        assert_eq!(take("2001:db8:0:2::1", now_ns), Err(Over::Rate), "one /56");
    }

    #[test]
    fn a_look_takes_nothing_and_remembers_nothing() {
        let (mut prefixes, limit, now_ns) = (Prefixes::default(), Limit::new(1.0, 2), 1_u64 << 40);
        for net in 0..200 {
            for _ in 0..3 {
                assert_eq!(prefixes.look(v4(net, 1), &limit, &limits(), 4, now_ns), Ok(()));
            }
        }
        assert!(prefixes.levels.is_empty());
        for _ in 0..2 {
            prefixes
                .take(v4(1, 1), &limit, &limits(), 4, now_ns)
                .expect("two at once");
        }
        assert_eq!(prefixes.look(v4(1, 9), &limit, &limits(), 4, now_ns), Err(Over::Rate));
        for net in 2..5 {
            prefixes.take(v4(net, 1), &limit, &limits(), 4, now_ns).expect("one");
        }
        assert_eq!(prefixes.look(v4(9, 1), &limit, &limits(), 4, now_ns), Err(Over::Full));
        let never = Limit::new(0.0, 1);
        assert_eq!(prefixes.look(v4(2, 1), &never, &limits(), 4, now_ns), Err(Over::Rate));
    }

    #[test]
    fn a_full_table_refuses_until_some_are_idle() {
        let (mut prefixes, limit, now_ns) = (Prefixes::default(), Limit::new(0.5, 1), 1_u64 << 40);
        for net in 0..4 {
            assert_eq!(prefixes.take(v4(net, 1), &limit, &limits(), 4, now_ns), Ok(()));
        }
        assert_eq!(prefixes.take(v4(4, 1), &limit, &limits(), 4, now_ns), Err(Over::Full));
        let later_ns = now_ns + 2 * SWEEP_NS;
        assert_eq!(prefixes.take(v4(4, 1), &limit, &limits(), 4, later_ns), Ok(()));
        assert_eq!(prefixes.levels.len(), 1);
    }
}
