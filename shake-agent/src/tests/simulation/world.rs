//! The scheduler: phones, a gateway, an agent, its disk and the time, and what may happen to them.

use super::super::back::{Back, Setting};
use super::super::disk::Disk;
use super::super::support::{EVENT, Event, geometry, splitmix};
use super::Tally;
use super::gate::{Death, Gate, Win, sponsor_of};
use super::phone::{Errand, Phone};
use super::truth::Truth;
use crate::crash::{self, Died, POINTS};
use crate::outage::TRY_EVERY_MS;
use crate::requests::EXPIRY_GRACE_MS;
use crate::turn::Turn;
use shake_proto::handoff::record::{Gift, Reply, Request};
use shake_proto::wire::v1::reply::Kind;
use shake_rules::outcome::Outcome;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::show::Show;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use shm_queue::Mapping;
use std::panic::{AssertUnwindSafe, catch_unwind};

const USERS: u64 = 12;
const PACKETS: u64 = 60;
const SHOW: &str = r#"
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

/// What must have happened in some run, or the simulation tests less than it says.
pub const KINDS: &[&str] = &[
    "claim",
    "steal",
    "send",
    "grab",
    "wallet",
    "busy",
    "gift",
    "win",
    "reply lost",
    "gateway died",
    "gateway died in a win",
    "agent killed",
    "agent died in a step",
    "agent died in a write",
    "agent did not start",
    "power lost",
    "disk full",
    "sync failed",
    "write failed",
    "outage",
    "checkpoint",
];

pub struct World {
    event: Event,
    show: Show,
    disk: Disk,
    gate: Option<Gate>,
    shards: u16,
    /// One mapping for all lives: opening it anew takes longer than a whole life.
    rings: Mapping,
    back: Option<Back>,
    phones: Vec<Phone>,
    truth: Truth,
    now: UnixMillis,
    random: u64,
    gifts: u64,
    gates: u64,
    /// Deaths of the agent that are dealt with.
    buried: u64,
    tally: Tally,
    /// Whether each step is printed.
    tells: bool,
}

fn record(index: u64) -> SeedRecord {
    SeedRecord {
        packet: PacketId(500 + index),
        amount: Cents(20 + index),
        sponsor: sponsor_of(index),
        kind: match index % 3 {
            0 => PacketKind::Split {
                shares: 2 + (index % 4) as u16,
            },
            _ => PacketKind::Plain,
        },
    }
}

impl World {
    pub fn new(seed: u64, tells: bool) -> Self {
        let event = Event::in_memory(1);
        event.put_seed(&(0..PACKETS).map(record).collect::<Vec<_>>());
        let disk = Disk::under(&event, seed);
        // Most runs have one: making the rings of two takes most of a run's time.
        let shards = if seed.is_multiple_of(4) { 2 } else { 1 };
        let rings = Mapping::create(&event.path("rings"), &geometry(shards)).unwrap();
        let gate = Gate::new(&rings, shards, 0);
        let mut world = Self {
            event,
            show: Show::parse(SHOW, UnixMillis(0)).unwrap(),
            disk,
            gate: Some(gate),
            shards,
            rings,
            back: None,
            phones: (1..=USERS).map(|user| Phone::new(UserId(user))).collect(),
            truth: Truth::default(),
            now: UnixMillis(1_000_000),
            random: seed,
            gifts: 0,
            gates: 0,
            buried: 0,
            tally: Tally::new(),
            tells,
        };
        world.start_agent();
        assert!(world.back.is_some(), "on a disk in good order");
        world
    }

    fn below(&mut self, n: u64) -> u64 {
        splitmix(&mut self.random) % n
    }

    fn note(&mut self, what: &'static str) {
        if self.tells {
            println!("{} {what}", self.now.0);
        }
        *self.tally.entry(what).or_default() += 1;
    }

    pub fn step(&mut self) {
        match self.below(100) {
            0..22 => self.shake(),
            22..55 => self.run_an_errand(),
            55..80 => self.turn(),
            80..88 => self.deliver(true),
            88..92 => {
                let most = if self.below(10) == 0 { 40_000_000 } else { 2_000 };
                self.now = self.now.plus_ms(self.below(most));
            }
            92..95 => self.start_what_is_missing(),
            _ => self.fault(),
        }
    }

    fn start_what_is_missing(&mut self) {
        if self.gate.is_none() {
            self.gates += 1;
            self.gate = Some(Gate::new(&self.rings, self.shards, self.gates));
        }
        if self.back.is_none() {
            self.start_agent();
        }
    }

    fn start_agent(&mut self) {
        let rng = splitmix(&mut self.random);
        let setting = Setting {
            show: self.show.clone(),
            now: self.now,
            rng,
        };
        let opened = Back::open_on(&self.rings, &self.event, setting);
        let is_dead = self.is_agent_dead();
        match opened {
            Ok(back) if !is_dead => {
                self.back = Some(back);
                self.assert_kept();
            }
            Ok(_) => self.note("agent did not start"),
            Err(fault) => {
                assert!(!fault.is_for_a_person(), "{fault}");
                self.disk.state().kill();
                self.note("agent did not start");
            }
        }
        self.bury();
    }

    /// Whether the agent has died in a write since the last burial.
    fn is_agent_dead(&self) -> bool {
        self.disk.state().deaths() != self.buried
    }

    fn bury(&mut self) {
        self.buried = self.disk.state().deaths();
    }

    fn fault(&mut self) {
        match self.below(13) {
            0 => {
                self.note("gateway died");
                self.gate = None;
            }
            1 => {
                self.note("agent killed");
                self.kill_agent();
            }
            2 => {
                let after = self.below(30) as u32;
                self.disk.state().dies_after = Some(after);
            }
            3 => {
                let room = self.below(40_000) as usize;
                self.note("disk full");
                self.disk.state().room = Some(room);
            }
            4 => {
                let syncs = 1 + self.below(3) as u32;
                self.note("sync failed");
                self.disk.state().failing_syncs = syncs;
            }
            5 => {
                let writes = 1 + self.below(3) as u32;
                self.note("write failed");
                self.disk.state().failing_writes = writes;
            }
            6 if self.below(2) == 0 => self.lose_power(),
            7 => self.checkpoint(),
            8 => self.give(),
            9 => drop(self.event.assert_balanced()),
            _ => self.disk.state().mend(),
        }
    }

    fn kill_agent(&mut self) {
        self.disk.state().kill();
        self.back = None;
        self.bury();
    }

    /// The machine goes down: unsynced writes are lost or torn, and the rings, which lie in memory, are gone.
    fn lose_power(&mut self) {
        self.note("power lost");
        self.disk.state().lose_power();
        self.back = None;
        self.gate = None;
        self.bury();
        Mapping::remove(&self.event.path("rings")).unwrap();
        self.rings = Mapping::create(&self.event.path("rings"), &geometry(self.shards)).unwrap();
        self.truth.power_losses += 1;
    }

    fn checkpoint(&mut self) {
        let Some(back) = &self.back else { return };
        // On a broken disk it fails, and nothing comes of it.
        let done = back.agent.ledger().checkpoint().is_ok();
        if done {
            self.note("checkpoint");
        }
        self.find_the_dead();
    }

    /// Lets an agent go that died in a write or sync.
    fn find_the_dead(&mut self) {
        if self.is_agent_dead() {
            if self.back.take().is_some() {
                self.note("agent died in a write");
            }
            self.bury();
        }
    }

    fn turn(&mut self) {
        if self.back.is_none() {
            return;
        }
        let point = (self.below(16) == 0).then(|| POINTS[self.below(POINTS.len() as u64) as usize]);
        crash::unwind_at(point);
        self.turn_once();
        crash::unwind_at(None);
    }

    /// One turn of the agent; false when there was nothing to do, or it died.
    fn turn_once(&mut self) -> bool {
        let Some(back) = &mut self.back else { return false };
        let was_read_only = back.is_read_only();
        let now = self.now;
        let turned = catch_unwind(AssertUnwindSafe(|| back.agent.turn(&mut back.lanes, now)));
        let is_read_only = back.is_read_only();
        match turned {
            Ok(turn) => {
                if is_read_only && !was_read_only {
                    self.note("outage");
                }
                self.find_the_dead();
                turn == Turn::Worked
            }
            Err(payload) => {
                assert!(payload.is::<Died>(), "the agent panicked");
                self.note("agent died in a step");
                self.kill_agent();
                false
            }
        }
    }

    fn shake(&mut self) {
        let (at, shard, random) = (
            self.below(USERS),
            self.below(self.shards.into()),
            splitmix(&mut self.random),
        );
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&splitmix(&mut self.random).to_be_bytes());
        let death = match self.below(60) {
            0 => Some(Death::AfterCursor),
            1 => Some(Death::AfterRecord),
            _ => None,
        };
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

    fn run_an_errand(&mut self) {
        let (at, shard) = (self.below(USERS) as usize, self.below(self.shards.into()) as usize);
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
                let other = self.below(USERS) as usize;
                let (sealed, ticket) = self.phones[other].tickets.last()?;
                (ticket.user != user).then(|| Errand::Steal { sealed: sealed.clone() })
            }
            5..7 if balance > 0 => {
                let total = 1 + self.below(balance);
                let shares = 1 + self.below(total.min(4)) as u16;
                let others = (1..=USERS).map(UserId).filter(|other| *other != user);
                let named = match self.below(2) {
                    0 => Vec::new(),
                    _ => others.take(usize::from(shares) + 1).collect(),
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

    fn give(&mut self) {
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
    fn deliver(&mut self, loses: bool) {
        for shard in 0..usize::from(self.shards) {
            let Some(gate) = &mut self.gate else { return };
            let (replies, notices) = (gate.front.replies(shard), gate.front.notices(shard));
            let offered = notices.iter().map(|notice| gate.codes.packet(&notice.code).unwrap());
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
        let Some((user, errand, at)) = gate.asked(reply) else {
            return;
        };
        let (truth, limits) = (&mut self.truth, self.show.limits);
        let is_final = match (reply.kind.clone(), &errand) {
            (Some(Kind::Claim(result)), Errand::Claim { ticket, .. }) => {
                truth.claimed(user, ticket, at, limits, &result.try_into().unwrap())
            }
            (Some(Kind::Claim(result)), Errand::Steal { .. }) => Truth::stolen(&result.try_into().unwrap()),
            (Some(Kind::Send(result)), Errand::Send { .. }) => {
                let packet_of = |code: &[u8]| gate.codes.packet(code).unwrap();
                truth.sent(user, &errand, &result.try_into().unwrap(), packet_of)
            }
            (Some(Kind::Grab(result)), Errand::Grab { packet }) => {
                truth.grabbed(user, *packet, &result.try_into().unwrap())
            }
            (Some(Kind::Wallet(result)), Errand::Wallet { at_least }) => {
                Truth::looked(*at_least, &result.try_into().unwrap())
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
    fn assert_kept(&self) {
        let ledger = self.back.as_ref().unwrap().agent.ledger();
        for (&id, &(user, amount)) in &self.truth.opened {
            let packet = ledger.packet(id).unwrap();
            let packet = packet.unwrap_or_else(|| panic!("{id} was acknowledged and is gone"));
            assert_eq!((packet.user, packet.is_opened), (Some(user), true), "{id}");
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
            let found = ledger.read(self.now, |batch| batch.share_of(id, user)).unwrap();
            assert_eq!(found, Some(share), "{user} of {id}");
        }
    }

    /// The faults end, everything is answered, and all times run out: then it must add up to the cent.
    pub fn finish(mut self) -> Tally {
        self.disk.state().mend();
        for round in 0.. {
            self.start_what_is_missing();
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
            self.now = self.now.plus_ms(TRY_EVERY_MS);
            while self.turn_once() {}
            self.deliver(false);
            if self
                .phones
                .iter()
                .all(|phone| phone.errand.is_none() && phone.tickets.is_empty())
            {
                break;
            }
            assert!(round < 100, "not everything is answered: {:?}", self.phones);
        }
        self.assert_kept();
        let longest = self.show.ticket_lifetime_ms + self.show.share_lifetime_ms;
        self.now = self.now.plus_ms(longest + EXPIRY_GRACE_MS + 1);
        while self.turn_once() {}
        self.assert_kept();
        let report = self.event.assert_balanced();
        assert_eq!(
            (
                report.total.issued.packets,
                report.total.open.packets,
                report.sent.open.packets
            ),
            (0, 0, 0),
            "{report}"
        );
        let ledger = self.back.as_ref().unwrap().agent.ledger();
        for phone in &self.phones {
            let (user, found) = (phone.user, ledger.user_balance(phone.user).unwrap().unwrap_or(0));
            let expected = self.truth.balance(user) + self.truth.refunds(user);
            assert_eq!(found, expected as i64, "balance of {user}");
        }
        assert_eq!(EVENT.0, report.event);
        self.tally
    }
}
