//! Which new connections are let in.

use super::prefixes::{Over, Prefixes};
use super::present::{Present, unlimited};
use crate::config_store::Live;
use crate::counters::RejectReason;
use rate_limit::{Limit, Shared};
use shake_rules::throttle::GradeRules;
use std::net::IpAddr;

/// Clients that have not proved their address and are let in without, of each shard: each costs a handshake, a fifth of a
/// millisecond. The others are asked for the proof, which costs a twentieth.
const UNPROVEN_PER_SECOND: f64 = 500.0;
const UNPROVEN_AT_ONCE: u32 = 1_000;

/// Who asks to be let in, and how it stands.
#[derive(Clone, Copy, Debug)]
pub struct Applicant {
    pub address: IpAddr,
    /// A Retry has shown that the address is its own.
    pub is_proven: bool,
    /// The gateway is going away.
    pub is_going: bool,
    pub is_memory_full: bool,
    /// There is no place for one more session, unless one is made.
    pub is_full: bool,
    /// Handshakes under way, and the most at any grade.
    pub handshakes: usize,
    pub handshakes_max: usize,
}

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Accept,
    /// If a place can be made for it.
    AcceptInPlace,
    /// It is to prove its address first.
    Retry,
    Refuse(RejectReason),
}

/// Limits new connections.
pub struct ConnectionLimiter {
    shards: u16,
    all: Shared,
    unproven: Shared,
    prefix: Limit,
    prefixes: Prefixes,
}

impl ConnectionLimiter {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            shards,
            all: Shared::new(unlimited()),
            unproven: Shared::new(Limit::new(UNPROVEN_PER_SECOND, UNPROVEN_AT_ONCE)),
            prefix: unlimited(),
            prefixes: Prefixes::default(),
        }
    }

    pub(super) fn take_rules(&mut self, rules: &GradeRules, shards: u16) {
        self.all.limit = rules.connections.part(shards);
        self.prefix = rules.prefix.part(shards);
    }

    /// Decides about a new connection. Nothing is charged but, of who has not proved an address, one of those who are let in
    /// without; [`Self::charge`] does that once the address is proven.
    ///
    /// Whose address may be false is refused nothing in another's name, and has nobody closed.
    pub fn decide(
        &mut self,
        present: &Present,
        live: &Live,
        applicant: &Applicant,
        is_blocked: impl FnOnce(IpAddr) -> bool,
    ) -> Decision {
        let rules = live.throttle.at(present.grade);
        let handshakes_max = (applicant.handshakes_max as f64 * rules.handshakes_share).ceil() as usize;
        let refused = if applicant.is_going {
            Some(RejectReason::Going)
        } else if applicant.is_memory_full {
            Some(RejectReason::MemoryFull)
        } else if applicant.handshakes >= handshakes_max {
            Some(RejectReason::HandshakesFull)
        } else {
            None
        };
        if let Some(why) = refused {
            return Decision::Refuse(why);
        }
        if applicant.is_proven {
            return match self.refusal(present, live, applicant.address, is_blocked) {
                Some(why) => Decision::Refuse(why),
                None if applicant.is_full => Decision::AcceptInPlace,
                None => Decision::Accept,
            };
        }
        let must_prove = rules.prove_address || applicant.handshakes >= handshakes_max / 2;
        if must_prove
            || applicant.is_full
            || self.refusal(present, live, applicant.address, is_blocked).is_some()
            || self.unproven.take(present.now_ns).is_err()
        {
            Decision::Retry
        } else {
            Decision::Accept
        }
    }

    /// Why a connection from this address is refused, if it is the address's own.
    fn refusal(
        &mut self,
        present: &Present,
        live: &Live,
        address: IpAddr,
        is_blocked: impl FnOnce(IpAddr) -> bool,
    ) -> Option<RejectReason> {
        let limited = self.look(present, live, address).err();
        limited.or_else(|| is_blocked(address).then_some(RejectReason::Blocked))
    }

    /// Whether the limits let one more in. Nothing is charged.
    fn look(&mut self, present: &Present, live: &Live, address: IpAddr) -> Result<(), RejectReason> {
        let limits = &live.throttle.prefixes;
        let max = limits.max.div_ceil(self.shards.into());
        self.prefixes
            .look(address, &self.prefix, limits, max, present.now_ns)
            .map_err(|over| match over {
                Over::Rate => RejectReason::PrefixRate,
                Over::Full => RejectReason::PrefixesFull,
            })?;
        match self.all.wait_ns(present.now_ns) {
            0 => Ok(()),
            _ => Err(RejectReason::GradeRate),
        }
    }

    /// A connection was let in whose address is proven: by a Retry, or by its handshake, in which case the limit may have been
    /// reached meanwhile.
    pub fn charge(&mut self, present: &Present, live: &Live, address: IpAddr) {
        let limits = &live.throttle.prefixes;
        let max = limits.max.div_ceil(self.shards.into());
        // What is over the limit by then is in, and who comes next finds it reached.
        let _ = self.prefixes.take(address, &self.prefix, limits, max, present.now_ns);
        let _ = self.all.take(present.now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::show::Show;
    use shake_rules::throttle::{DEFAULT, Throttle};

    const SECOND_NS: u64 = 1_000_000_000;
    const HANDSHAKES_MAX: usize = 10;

    /// The default throttle, and a show.
    fn live() -> Live {
        let text = "[[phases]]\nstart_s = 0\nend_s = 9\nweights = { nothing = 1 }\n";
        let show = Show::parse(text, shake_rules::UnixMillis(1_000_000)).expect("a show");
        Live {
            version: 1,
            stages: vec![0; show.phases.len()],
            show: show.into(),
            throttle: Throttle::parse(DEFAULT).expect("the default").into(),
        }
    }

    fn applicant(address: &str, is_proven: bool) -> Applicant {
        Applicant {
            address: address.parse().expect("an address"),
            is_proven,
            is_going: false,
            is_memory_full: false,
            is_full: false,
            handshakes: 0,
            handshakes_max: HANDSHAKES_MAX,
        }
    }

    fn decide(limiter: &mut ConnectionLimiter, applicant: &Applicant, is_blocked: bool) -> Decision {
        limiter.decide(&Present::new(), &live(), applicant, |_| is_blocked)
    }

    /// What becomes of whoever has proved an address, and of whoever has not.
    #[test]
    fn each_reason_refuses_the_proven_and_none_refuses_in_anothers_name() {
        use Decision::{Accept, AcceptInPlace, Refuse, Retry};
        use RejectReason::{Blocked, Going, GradeRate, HandshakesFull, MemoryFull, PrefixRate};
        let never = || Limit::new(0.0, 1);
        type Case = (
            &'static str,
            fn(&mut Applicant),
            fn(&mut ConnectionLimiter, Limit),
            bool,
            [Decision; 2],
        );
        let cases: [Case; 9] = [
            ("at ease", |_| {}, |_, _| {}, false, [Accept, Accept]),
            ("going", |a| a.is_going = true, |_, _| {}, false, [Refuse(Going); 2]),
            (
                "memory",
                |a| a.is_memory_full = true,
                |_, _| {},
                false,
                [Refuse(MemoryFull); 2],
            ),
            (
                "handshakes",
                |a| a.handshakes = HANDSHAKES_MAX,
                |_, _| {},
                false,
                [Refuse(HandshakesFull); 2],
            ),
            (
                "half of them",
                |a| a.handshakes = HANDSHAKES_MAX / 2,
                |_, _| {},
                false,
                [Accept, Retry],
            ),
            (
                "sessions",
                |a| a.is_full = true,
                |_, _| {},
                false,
                [AcceptInPlace, Retry],
            ),
            (
                "prefix",
                |_| {},
                |l, never| l.prefix = never,
                false,
                [Refuse(PrefixRate), Retry],
            ),
            (
                "grade",
                |_| {},
                |l, never| l.all.limit = never,
                false,
                [Refuse(GradeRate), Retry],
            ),
            ("blocked", |_| {}, |_, _| {}, true, [Refuse(Blocked), Retry]),
        ];
        for (name, change, limit, is_blocked, expected) in cases {
            let decisions = [true, false].map(|is_proven| {
                let mut applicant = applicant("192.0.2.1", is_proven);
                change(&mut applicant);
                let mut limiter = ConnectionLimiter::new(1);
                limit(&mut limiter, never());
                decide(&mut limiter, &applicant, is_blocked)
            });
            assert_eq!(decisions, expected, "{name}");
        }
    }

    #[test]
    fn a_connection_charges_nobody_before_its_address_is_proven() {
        let (live, present) = (live(), Present::new());
        let mut limiter = ConnectionLimiter::new(1);
        limiter.prefix = Limit::new(1.0, 2);
        limiter.all.limit = Limit::new(1.0, 3);
        let [one, other] = ["192.0.2.1", "198.51.100.1"].map(|text| applicant(text, true));
        for _ in 0..10_000 {
            assert_eq!(decide(&mut limiter, &one, false), Decision::Accept);
        }
        limiter.charge(&present, &live, one.address);
        limiter.charge(&present, &live, one.address);
        let refused = |why| Decision::Refuse(why);
        assert_eq!(decide(&mut limiter, &one, false), refused(RejectReason::PrefixRate));
        assert_eq!(decide(&mut limiter, &other, false), Decision::Accept);
        limiter.charge(&present, &live, other.address);
        assert_eq!(decide(&mut limiter, &other, false), refused(RejectReason::GradeRate));
        // Who was refused for the grade has not been charged to the prefix.
        limiter.all.limit = unlimited();
        assert_eq!(decide(&mut limiter, &other, false), Decision::Accept);
    }

    #[test]
    fn so_many_are_let_in_unproven() {
        let (live, mut limiter, mut present) = (live(), ConnectionLimiter::new(1), Present::new());
        let newcomer = applicant("192.0.2.1", false);
        present.now_ns = SECOND_NS;
        for expected in [UNPROVEN_AT_ONCE as usize, UNPROVEN_PER_SECOND as usize] {
            let decisions = (0..10_000).map(|_| limiter.decide(&present, &live, &newcomer, |_| false));
            let let_in = decisions.filter(|decision| *decision == Decision::Accept).count();
            assert_eq!(let_in, expected);
            present.now_ns += SECOND_NS;
        }
    }
}
