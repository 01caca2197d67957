//! The scheduler: phones, a gateway, an agent, its disk and the time, and what may happen to them.

use super::super::back::{Back, Setting};
use super::super::disk::Disk;
use super::super::support::party::{Party, Tally, record};
use super::super::support::{EVENT, Event, geometry};
use crate::crash::{self, Died, POINTS};
use crate::outage::TRY_EVERY_MS;
use crate::requests::EXPIRY_GRACE_MS;
use crate::turn::Turn;
use shm_queue::Mapping;
use std::panic::{AssertUnwindSafe, catch_unwind};

const USERS: u64 = 12;
const PACKETS: u64 = 60;
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
    disk: Disk,
    /// One mapping for all lives: opening it anew takes longer than a whole life.
    rings: Mapping,
    back: Option<Back>,
    party: Party,
    /// Deaths of the agent that are dealt with.
    buried: u64,
}

impl World {
    pub fn new(seed: u64, tells: bool) -> Self {
        let event = Event::in_memory(1);
        event.put_seed(&(0..PACKETS).map(record).collect::<Vec<_>>());
        let disk = Disk::under(&event, seed);
        // Most runs have one: making the rings of two takes most of a run's time.
        let shards = if seed.is_multiple_of(4) { 2 } else { 1 };
        let rings = Mapping::create(&event.path("rings"), &geometry(shards)).unwrap();
        let mut party = Party::new(seed, USERS, shards);
        party.tells = tells;
        party.start_gate(&rings);
        let mut world = Self {
            event,
            disk,
            rings,
            back: None,
            party,
            buried: 0,
        };
        world.start_agent();
        assert!(world.back.is_some(), "on a disk in good order");
        world
    }

    pub fn step(&mut self) {
        match self.party.below(100) {
            0..22 => self.party.shake(),
            22..55 => self.party.run_an_errand(),
            55..80 => self.turn(),
            80..88 => self.party.deliver(true),
            88..92 => {
                let most = if self.party.below(10) == 0 { 40_000_000 } else { 2_000 };
                let passed = self.party.below(most);
                self.party.now = self.party.now.plus_ms(passed);
            }
            92..95 => self.start_what_is_missing(),
            _ => self.fault(),
        }
    }

    fn start_what_is_missing(&mut self) {
        if self.party.gate.is_none() {
            self.party.start_gate(&self.rings);
        }
        if self.back.is_none() {
            self.start_agent();
        }
    }

    fn start_agent(&mut self) {
        let rng = self.party.random();
        let setting = Setting {
            show: self.party.show.clone(),
            now: self.party.now,
            rng,
        };
        let opened = Back::open_on(&self.rings, &self.event, setting);
        let is_dead = self.is_agent_dead();
        match opened {
            Ok(back) if !is_dead => {
                self.back = Some(back);
                self.assert_kept();
            }
            Ok(_) => self.party.note("agent did not start"),
            Err(fault) => {
                assert!(!fault.is_for_a_person(), "{fault}");
                self.disk.state().kill();
                self.party.note("agent did not start");
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
        match self.party.below(13) {
            0 => {
                self.party.note("gateway died");
                self.party.gate = None;
            }
            1 => {
                self.party.note("agent killed");
                self.kill_agent();
            }
            2 => {
                let after = self.party.below(30) as u32;
                self.disk.state().dies_after = Some(after);
            }
            3 => {
                let room = self.party.below(40_000) as usize;
                self.party.note("disk full");
                self.disk.state().room = Some(room);
            }
            4 => {
                let syncs = 1 + self.party.below(3) as u32;
                self.party.note("sync failed");
                self.disk.state().failing_syncs = syncs;
            }
            5 => {
                let writes = 1 + self.party.below(3) as u32;
                self.party.note("write failed");
                self.disk.state().failing_writes = writes;
            }
            6 if self.party.below(2) == 0 => self.lose_power(),
            7 => self.checkpoint(),
            8 => self.party.give(),
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
        self.party.note("power lost");
        self.disk.state().lose_power();
        self.back = None;
        self.party.gate = None;
        self.bury();
        Mapping::remove(&self.event.path("rings")).unwrap();
        self.rings = Mapping::create(&self.event.path("rings"), &geometry(self.party.shards())).unwrap();
        self.party.truth.power_losses += 1;
    }

    fn checkpoint(&mut self) {
        let Some(back) = &self.back else { return };
        // On a broken disk it fails, and nothing comes of it.
        let done = back.agent.ledger().checkpoint().is_ok();
        if done {
            self.party.note("checkpoint");
        }
        self.find_the_dead();
    }

    /// Lets an agent go that died in a write or sync.
    fn find_the_dead(&mut self) {
        if self.is_agent_dead() {
            if self.back.take().is_some() {
                self.party.note("agent died in a write");
            }
            self.bury();
        }
    }

    fn turn(&mut self) {
        if self.back.is_none() {
            return;
        }
        let point = (self.party.below(16) == 0).then(|| POINTS[self.party.below(POINTS.len() as u64) as usize]);
        crash::unwind_at(point);
        self.turn_once();
        crash::unwind_at(None);
    }

    /// One turn of the agent; false when there was nothing to do, or it died.
    fn turn_once(&mut self) -> bool {
        let Some(back) = &mut self.back else { return false };
        let was_read_only = back.is_read_only();
        let now = self.party.now;
        let turned = catch_unwind(AssertUnwindSafe(|| back.agent.turn(&mut back.lanes, now)));
        let is_read_only = back.is_read_only();
        match turned {
            Ok(turn) => {
                if is_read_only && !was_read_only {
                    self.party.note("outage");
                }
                self.find_the_dead();
                turn == Turn::Worked
            }
            Err(payload) => {
                assert!(payload.is::<Died>(), "the agent panicked");
                self.party.note("agent died in a step");
                self.kill_agent();
                false
            }
        }
    }

    fn assert_kept(&self) {
        self.party.assert_kept(self.back.as_ref().unwrap().agent.ledger());
    }

    /// The faults end, everything is answered, and all times run out: then it must add up to the cent.
    pub fn finish(mut self) -> Tally {
        self.disk.state().mend();
        for round in 0.. {
            self.start_what_is_missing();
            self.party.ask_for_everything();
            self.party.now = self.party.now.plus_ms(TRY_EVERY_MS);
            while self.turn_once() {}
            self.party.deliver(false);
            if self.party.is_done() {
                break;
            }
            assert!(round < 100, "not everything is answered: {:?}", self.party.phones);
        }
        self.assert_kept();
        let longest = self.party.show.ticket_lifetime_ms + self.party.show.share_lifetime_ms;
        self.party.now = self.party.now.plus_ms(longest + EXPIRY_GRACE_MS + 1);
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
        for phone in &self.party.phones {
            let (user, found) = (phone.user, ledger.user_balance(phone.user).unwrap().unwrap_or(0));
            let expected = self.party.truth.balance(user) + self.party.truth.refunds(user);
            assert_eq!(found, expected as i64, "balance of {user}");
        }
        assert_eq!(EVENT.0, report.event);
        self.party.tally
    }
}
