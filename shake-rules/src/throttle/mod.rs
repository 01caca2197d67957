//! The throttle: for each grade of load, when it holds, the pace that clients are told, what is admitted and what is
//! switched off. `deploy/throttle.toml` documents each key and is built in as the default.

mod check;
mod file;
pub mod pace;

use crate::document::Problems;
use crate::grade::{GRADES, Grade, Signals};
use enum_map::{Enum, EnumMap};
use ipnet::IpNet;
use rate_limit::Limit;
use std::net::IpAddr;
use strum::{EnumString, IntoStaticStr, VariantNames};

/// The commented default throttle.
pub const DEFAULT: &str = include_str!("../../../deploy/throttle.toml");

/// A checked throttle.
#[derive(Clone, Debug, PartialEq)]
pub struct Throttle {
    /// Time constant of the signals' smoothing, in milliseconds.
    pub smooth_ms: u32,
    /// How long the load must stay below a grade before it is left, in milliseconds.
    pub dwell_ms: u32,
    /// How long packets may wait in the socket under load, in milliseconds: see [`pace::Pacer::look`].
    pub queue_wait_ms: u32,
    /// Limits on new connections by the prefix of their address.
    pub prefixes: Prefixes,
    /// When the degraded modes that have a measure begin.
    pub modes: ModeLimits,
    /// What holds in each grade.
    pub grades: [GradeRules; GRADES],
}

/// Limits by address prefix: /24 of IPv4, /56 of IPv6.
#[derive(Clone, Debug, PartialEq)]
pub struct Prefixes {
    /// Prefixes remembered at the most, over all shards. Past it, connections of new prefixes are refused.
    pub max: usize,
    /// Networks without this limit: own load generators, a carrier's NAT.
    pub exempt: Vec<IpNet>,
}

impl Prefixes {
    /// Whether an address has no such limit; an IPv4 address in an IPv6 one counts as what it is.
    #[must_use]
    pub fn is_exempt(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.exempt.iter().any(|network| network.contains(&address))
    }
}

/// When the degraded modes that have a measure begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeLimits {
    /// A jump of the wall clock against the monotonic one that counts as such, in milliseconds.
    pub clock_step_ms: u32,
    /// How long after a jump the clock counts as such, in seconds.
    pub clock_jumped_hold_s: u32,
    /// How long an operator may be silent before the configuration counts as stale, in seconds; 0 for ever.
    pub operator_silent_s_max: u32,
}

/// How often something is admitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// In the long run; infinity for no limit.
    pub per_second: f64,
    /// At once.
    pub burst: u32,
}

/// The least that `user_packets` may be: a manifest of 64 KB brings 55 acknowledgements, 32 notices as many, and a phone that
/// shakes as fast as a hand can sends a dozen packets a second.
pub const PACKETS_MIN: Rate = Rate {
    per_second: 16.0,
    burst: 128,
};

impl Rate {
    /// The limit of one of `parts` equal parts of it. The burst is not less than one.
    #[must_use]
    pub fn part(self, parts: u16) -> Limit {
        Limit::new(
            self.per_second / f64::from(parts.max(1)),
            self.burst.div_ceil(parts.max(1).into()),
        )
    }
}

/// A service that a grade can switch off. Claims are not among them: what was won is never shut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enum, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum Service {
    /// The user's balance.
    Wallet,
    /// Who got how much of a packet.
    PacketView,
    /// What waits for a user at Hello.
    Offers,
    /// The event's gifts.
    Gift,
    /// Packets from user to user.
    Send,
    /// Shares of a packet.
    Grab,
}

impl Service {
    /// The name in the throttle file.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What holds in one grade. Rates are the gateway's; its shards split them evenly.
#[derive(Clone, Debug, PartialEq)]
pub struct GradeRules {
    /// The grade is entered when any signal reaches its threshold; infinity (all of grade 0's) never does.
    pub enter: Signals,
    /// The grade is left downwards when all signals lie below these.
    pub leave: Signals,
    /// Smallest and largest pace told to clients, in milliseconds. Between them it is what the gateway can serve, split
    /// over the users who shake. Never below the show's pace; grade 0 tells that one.
    pub pace_ms: [u32; 2],
    /// Shakes served.
    pub shakes: Rate,
    /// Claims handed to the ledger.
    pub claims: Rate,
    /// Sends and grabs handed to the ledger.
    pub sends: Rate,
    /// New connections.
    pub connections: Rate,
    /// Shakes of one user. In grades above 0 the pace that was told limits them too.
    pub user: Rate,
    /// Requests of one user to the ledger; the claim of a fresh win is not counted.
    pub user_requests: Rate,
    /// Packets of one session that are opened. Never under [`PACKETS_MIN`].
    pub user_packets: Rate,
    /// New connections of one address prefix.
    pub prefix: Rate,
    /// Shakes of one address prefix.
    pub prefix_shakes: Rate,
    /// What share of `handshakes_max` may be under way; new clients must prove their address over half of it.
    pub handshakes_share: f64,
    /// Whether every new client must prove its address (Retry).
    pub prove_address: bool,
    /// Packets that waited longer than this are dropped unread, in milliseconds; but those of users with a fresh win.
    pub shed_after_ms: u32,
    /// Smallest and largest time after which who was refused may ask again, in milliseconds.
    pub retry_ms: [u32; 2],
    /// What is switched off.
    pub off: EnumMap<Service, bool>,
}

impl GradeRules {
    /// Whether the grade switches a service off.
    #[must_use]
    pub fn is_off(&self, service: Service) -> bool {
        self.off[service]
    }
}

impl Throttle {
    /// Reads a throttle file.
    ///
    /// # Errors
    /// Every problem, with its line.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        check::throttle(text)
    }

    /// What holds in a grade.
    #[must_use]
    pub fn at(&self, grade: Grade) -> &GradeRules {
        &self.grades[grade.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_is_good() {
        let throttle = Throttle::parse(DEFAULT).expect("deploy/throttle.toml");
        assert!(throttle.prefixes.is_exempt("127.1.2.3".parse().expect("address")));
        assert!(throttle.at(Grade::new(4)).is_off(Service::Send));
        assert!(throttle.at(Grade::new(0)).off.values().all(|is_off| !is_off));
    }

    #[test]
    fn packets_have_a_budget_in_every_grade_whether_the_file_says_so_or_not() {
        let bare = format!("[[grades]]\n{}", "[[grades]]\nenter = {}\nleave = {}\n".repeat(4));
        for text in [DEFAULT, &bare] {
            let throttle = Throttle::parse(text).expect("a throttle");
            let budget = Rate {
                per_second: 100.0,
                burst: 250,
            };
            assert!(throttle.grades.iter().all(|grade| grade.user_packets == budget));
        }
        let least = DEFAULT.replacen("per_second = 100, burst = 250", "per_second = 16, burst = 128", 1);
        assert_eq!(
            Throttle::parse(&least).expect("the least").grades[0].user_packets,
            PACKETS_MIN
        );
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, holds) in [
            ("10.1.0.0/16", "10.1.255.3", true),
            ("10.1.9.9/16", "10.1.255.3", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.1.0.0/16", "::ffff:10.1.0.9", true),
            ("2001:db8::/56", "2001:db8:0:ff::1", true),
            ("2001:db8::/56", "2001:db8:0:100::1", false),
            ("0.0.0.0/0", "9.9.9.9", true),
            ("0.0.0.0/0", "::1", false),
        ] {
            let prefixes = Prefixes {
                max: 1,
                exempt: vec![network.parse().expect("a network")],
            };
            assert_eq!(
                prefixes.is_exempt(address.parse().expect("address")),
                holds,
                "{network} {address}"
            );
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8"] {
            assert!(text.parse::<IpNet>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_error_has_its_line() {
        let cases = [
            ("smooth_ms = 500", "smooth_ms = 0", "smooth_ms"),
            ("smooth_ms = 500", "smooth_ms = 500\nsmoth = 1", "smoth"),
            ("\"127.0.0.0/8\"", "\"loopback\"", "loopback"),
            ("off = [\"wallet\", \"packet_view\"]", "off = [\"claim\"]", "claim"),
            ("pace_ms = [1000, 10000]", "pace_ms = [10000, 1000]", "pace_ms"),
            (
                "user_packets = { per_second = 100, burst = 250 }",
                "user_packets = { per_second = 15.9, burst = 250 }",
                "user_packets",
            ),
            (
                "user_packets = { per_second = 100, burst = 250 }",
                "user_packets = { per_second = 100, burst = 127 }",
                "user_packets",
            ),
            (
                "user_packets = { per_second = 100, burst = 250 }",
                "user_packets = { per_second = nan, burst = 250 }",
                "user_packets",
            ),
            (
                "leave = { process_cpu = 0.7",
                "leave = { process_cpu = 0.99",
                "hysteresis",
            ),
            (
                "leave = { process_cpu = 0.7",
                "leave = { process_gpu = 0.7",
                "process_gpu",
            ),
        ];
        check(&cases);
        assert!(Throttle::parse("").is_err());
    }

    /// Values that could be read, and with which nobody is served: zeros at ease, and what comes to the same.
    #[test]
    fn values_that_break_the_night_have_their_line() {
        let user = "user = { per_second = 20, burst = 100 }";
        check(&[
            (user, "user = { per_second = 0 }", "user has per_second = 0"),
            (user, "user = { per_second = 1e-300 }", "0.001 or more"),
            (user, "user = { per_second = nan }", "0.001 or more"),
            (user, "user = { per_second = -1 }", "0.001 or more"),
            (user, "user = { per_second = 20, burst = 0 }", "burst = 0"),
            (
                user,
                "user = { per_second = 20, burst = 4000000000 }",
                "burst = 4000000000",
            ),
            (user, "shakes = { per_second = 0 }", "shakes has per_second = 0"),
            (user, "claims = { per_second = 0 }", "claims has per_second = 0"),
            (user, "sends = { per_second = 0 }", "sends has per_second = 0"),
            (
                user,
                "connections = { per_second = 0 }",
                "connections has per_second = 0",
            ),
            (user, "user_requests = { per_second = 0 }\n", "duplicate"),
            (user, "handshakes_share = 0", "handshakes_share = 0"),
            (user, "retry_ms = [0, 0]", "retry_ms = [0, 0]"),
            (user, "retry_ms = [1, 4000000000]", "retry_ms = [1, 4000000000]"),
            (
                "prefix_shakes = { per_second = inf }",
                "prefix_shakes = { per_second = 0 }",
                "prefix_shakes has per_second = 0",
            ),
            ("pace_ms = [1000, 10000]", "pace_ms = [1000, 4000000000]", "pace_ms"),
            (
                "handshakes_share = 0.1\n",
                "handshakes_share = 0.1\nclaims = { per_second = 0 }\n",
                "claims has per_second = 0",
            ),
        ]);
        // The last grade may let nobody new in.
        let closed = DEFAULT.replace(
            "connections = { per_second = 100, burst = 50 }",
            "connections = { per_second = 0 }",
        );
        Throttle::parse(&closed).expect("a decision");
    }

    /// Each edit of the default file must be refused with a line and that word.
    fn check(cases: &[(&str, &str, &str)]) {
        for (from, to, word) in cases {
            assert!(DEFAULT.contains(from), "{from} stands in the default");
            let text = DEFAULT.replacen(from, to, 1);
            let problems = Throttle::parse(&text).expect_err(to);
            assert!(
                problems.0.iter().any(|p| p.line > 0 && p.message.contains(*word)),
                "{to}: wanted {word:?} with a line, got:\n{problems}"
            );
        }
    }
}
