//! A gateway without a network, and phones behind it that win, claim, send, grab, and check every answer: what a test of the
//! whole money path needs, whatever it does to the agent meanwhile.

mod gate;
mod phone;
mod truth;

pub use gate::Gate;
pub use phone::{Errand, Phone};
pub use truth::Truth;

use super::splitmix;
use gate::{Death, Win};
use shake_agent::ledger::{Ledger, Look, Seen, Store};
use shake_proto::handoff::record::{Gift, Reply, Request};
use shake_proto::wire::v1::reply::Kind;
use shake_rules::outcome::Outcome;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::show::Show;
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use shm_queue::Mapping;
use std::collections::BTreeMap;

/// The show of a party.
pub const SHOW: &str = r#"
[event]
id = 7
name = "simulated"
[limits]
packets_per_user = 4
packets_per_sponsor = 3
[gifts]
budget_cents = 2000
[[sponsors]]
id = 1
name = "one"
[[sponsors]]
id = 2
name = "two"
[[phases]]
name = "all"
end_s = 100000000
weights = { nothing = 1, red_packet = 3 }
"#;

/// How often each thing happened.
pub type Tally = BTreeMap<&'static str, u32>;

pub struct Party {
    pub show: Show,
    pub gate: Option<Gate>,
    pub phones: Vec<Phone>,
    pub truth: Truth,
    pub now: UnixMillis,
    pub tally: Tally,
    /// Whether each step is printed.
    pub tells: bool,
    shards: u16,
    random: u64,
    gifts: u64,
    gates: u64,
}

/// A packet of a party's seed: of three, one is split.
pub fn record(index: u64) -> SeedRecord {
    SeedRecord {
        packet: PacketId(500 + index),
        amount: Cents(20 + index),
        sponsor: SponsorId(1 + (index % 2) as u16),
        kind: match index % 3 {
            0 => PacketKind::Split {
                shares: 2 + (index % 4) as u16,
            },
            _ => PacketKind::Plain,
        },
    }
}

impl Party {
    pub fn new(random: u64, users: u64, shards: u16) -> Self {
        Self {
            show: Show::parse(SHOW, UnixMillis(0)).unwrap(),
            gate: None,
            phones: (1..=users).map(|user| Phone::new(UserId(user))).collect(),
            truth: Truth::default(),
            now: UnixMillis(1_000_000),
            tally: Tally::new(),
            tells: false,
            shards,
            random,
            gifts: 0,
            gates: 0,
        }
    }

    pub fn shards(&self) -> u16 {
        self.shards
    }

    fn users(&self) -> u64 {
        self.phones.len() as u64
    }

    /// A gateway begins a life.
    pub fn start_gate(&mut self, rings: &Mapping) {
        self.gates += 1;
        self.gate = Some(Gate::new(rings, self.shards, self.gates));
    }

    /// Phones ask for all that they have, whether or not they asked before.
    pub fn ask_for_everything(&mut self) {
        for at in 0..self.phones.len() {
            if self.phones[at].errand.is_none()
                && let Some((sealed, ticket)) = self.phones[at].tickets.pop()
            {
                self.phones[at].errand = Some(Errand::Claim { sealed, ticket });
            }
            let phone = &self.phones[at];
            if let (Some(gate), Some(errand)) = (&mut self.gate, &phone.errand) {
                gate.ask(at % usize::from(self.shards), phone.user, errand, self.now);
            }
        }
    }

    /// Whether nobody waits for anything.
    pub fn is_done(&self) -> bool {
        let mut phones = self.phones.iter();
        phones.all(|phone| phone.errand.is_none() && phone.tickets.is_empty())
    }

    pub fn random(&mut self) -> u64 {
        splitmix(&mut self.random)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        splitmix(&mut self.random) % n
    }

    pub fn note(&mut self, what: &'static str) {
        if self.tells {
            println!("{} {what}", self.now.0);
        }
        *self.tally.entry(what).or_default() += 1;
    }

    /// Somebody shakes, and the gateway may die of it.
    pub fn shake(&mut self) {
        let death = match self.below(60) {
            0 => Some(Death::AfterCursor),
            1 => Some(Death::AfterRecord),
            _ => None,
        };
        self.shake_with(death);
    }

    /// Somebody shakes.
    pub fn shake_and_live(&mut self) {
        self.shake_with(None);
    }

    fn shake_with(&mut self, death: Option<Death>) {
        let (at, shard, random) = (
            self.below(self.users()),
            self.below(self.shards.into()),
            splitmix(&mut self.random),
        );
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&splitmix(&mut self.random).to_be_bytes());
        let is_lost = self.below(10) == 0;
        let Some(gate) = &mut self.gate else { return };
        if self.show.phases[0].weights.draw(random) != Outcome::RedPacket {
            return;
        }
        let phone = &mut self.phones[at as usize];
        let shard = shard as usize;
        let (left, win) = gate.win(shard, phone.user, &phone.cookie, &self.show, self.now, nonce, death);
        let user = phone.user;
        if let Some(Win { ticket, sealed, cookie }) = win
            && !is_lost
        {
            phone.cookie = cookie;
            phone.tickets.push((sealed, ticket));
        }
        if let Some(won) = left {
            self.truth.issue(won, user);
            self.note("win");
            if death.is_some() {
                self.note("gateway died in a win");
                self.gate = None;
            }
        }
    }

    pub fn run_an_errand(&mut self) {
        let (at, shard) = (
            self.below(self.users()) as usize,
            self.below(self.shards.into()) as usize,
        );
        if self.gate.is_none() {
            return;
        }
        if self.phones[at].errand.is_none() {
            self.phones[at].errand = self.new_errand(at);
        }
        let phone = &self.phones[at];
        if let (Some(gate), Some(errand)) = (&mut self.gate, &phone.errand) {
            gate.ask(shard, phone.user, errand, self.now);
        }
    }

    fn new_errand(&mut self, at: usize) -> Option<Errand> {
        let user = self.phones[at].user;
        let balance = self.truth.balance(user);
        match self.below(10) {
            0..4 => {
                let (sealed, ticket) = self.phones[at].tickets.pop()?;
                Some(Errand::Claim { sealed, ticket })
            }
            4 => {
                let other = self.below(self.users()) as usize;
                let (sealed, ticket) = self.phones[other].tickets.last()?;
                (ticket.user != user).then(|| Errand::Steal { sealed: sealed.clone() })
            }
            5..7 if balance > 0 => {
                let total = 1 + self.below(balance);
                let shares = 1 + self.below(total.min(4)) as u16;
                let others = (1..=self.users()).map(UserId).filter(|other| *other != user);
                let named = match self.below(2) {
                    0 => Vec::new(),
                    _ => others.take((usize::from(shares) + 1).min(total as usize)).collect(),
                };
                self.phones[at].sends += 1;
                let key = self.phones[at].sends;
                Some(Errand::Send {
                    key,
                    total,
                    shares,
                    named,
                })
            }
            7..9 if !self.truth.codes.is_empty() => {
                let nth = self.below(self.truth.codes.len() as u64) as usize;
                let packet = *self.truth.codes.iter().nth(nth)?;
                Some(Errand::Grab { packet })
            }
            _ => Some(Errand::Wallet { at_least: balance }),
        }
    }

    pub fn give(&mut self) {
        let Some(gate) = &mut self.gate else { return };
        self.gifts += 1;
        let gift = Gift {
            key: u128::from(self.gifts).to_be_bytes(),
            total: Cents(100),
            recipients: (1..=4).map(UserId).collect(),
            stage: 0,
            at: self.now,
        };
        gate.front.push(0, &Request::Gift(gift));
        self.note("gift");
    }

    /// What the agent put into the rings reaches the phones, or most of it.
    pub fn deliver(&mut self, loses: bool) {
        for shard in 0..usize::from(self.shards) {
            let Some(gate) = &mut self.gate else { return };
            let (replies, notices) = (gate.front.replies(shard), gate.front.notices(shard));
            let offered = notices.iter().map(|notice| gate.packet_of(&notice.code));
            self.truth.codes.extend(offered);
            for reply in replies {
                if loses && self.below(8) == 0 {
                    self.note("reply lost");
                } else {
                    self.hear(&reply);
                }
            }
        }
    }

    fn hear(&mut self, reply: &Reply) {
        let Some(gate) = &self.gate else { return };
        let Some((user, errand)) = gate.asked(reply) else {
            return;
        };
        let (truth, limits) = (&mut self.truth, self.show.limits);
        let is_final = match (reply.kind.clone(), &errand) {
            (Some(Kind::Claim(result)), Errand::Claim { ticket, .. }) => {
                truth.claimed(user, ticket, limits, &result.try_into().unwrap())
            }
            (Some(Kind::Claim(result)), Errand::Steal { .. }) => Truth::stolen(&result.try_into().unwrap()),
            (Some(Kind::Send(result)), Errand::Send { .. }) => {
                let packet_of = |code: &[u8]| gate.packet_of(code);
                truth.sent(user, &errand, &result.try_into().unwrap(), packet_of)
            }
            (Some(Kind::Grab(result)), Errand::Grab { packet }) => {
                truth.grabbed(user, *packet, &result.try_into().unwrap())
            }
            (Some(Kind::Wallet(result)), Errand::Wallet { at_least }) => {
                // A repeat over another shard may come after what was done since it was asked.
                let is_current = self.phones[user.0 as usize - 1].errand.as_ref() == Some(&errand);
                let at_least = if is_current { *at_least } else { 0 };
                Truth::looked(at_least, &result.try_into().unwrap())
            }
            other => panic!("{other:?}"),
        };
        self.note(if is_final { errand.name() } else { "busy" });
        let phone = &mut self.phones[user.0 as usize - 1];
        if is_final && phone.errand.as_ref() == Some(&errand) {
            phone.errand = None;
        }
    }

    /// Everything that was acknowledged is in the ledger.
    pub fn assert_kept<S: Store>(&self, ledger: &Ledger<S>) {
        for (&id, &(user, amount)) in &self.truth.opened {
            let packet = ledger.packet(id).unwrap();
            let packet = packet.unwrap_or_else(|| panic!("{id} was acknowledged and is gone"));
            assert_eq!((packet.user, packet.is_opened()), (Some(user), true), "{id}");
            if !packet.is_shared() {
                assert_eq!(packet.amount, amount, "{id}");
            }
        }
        for sent in self.truth.sent.values() {
            let packet = ledger.packet(sent.packet).unwrap();
            let packet = packet.unwrap_or_else(|| panic!("{} was acknowledged and is gone", sent.packet));
            assert_eq!(packet.amount.0, sent.total, "{}", sent.packet);
        }
        let shares = self.truth.grabbed.iter().map(|(&key, &share)| (key, share));
        for ((id, user), share) in shares {
            let Seen::Packet(Some((_, shares))) = ledger.look(&Look::Packet(id)).unwrap() else {
                panic!("{id} was acknowledged and is gone");
            };
            let found = shares.iter().find(|found| found.user == user).map(|found| found.amount);
            assert_eq!(found, Some(share), "{user} of {id}");
        }
    }
}
