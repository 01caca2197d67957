//! The scheduler: phones, a gateway, an agent, its disk and the time, and what may happen to them.

use super::super::back::{Back, Setting};
use super::super::disk::Disk;
use super::super::support::party::{Party, Tally, record};
use super::super::support::{EVENT, Event, geometry};
use super::time::{Alive, Time};
use super::twin::{Maps, Twin};
use crate::crash::{self, Died, POINTS};
use crate::lanes::LanesError;
use crate::ledger::{Ledger, SPAN_OVER_MS};
use crate::outage::TRY_EVERY_MS;
use crate::turn::Turn;
use shm_queue::Mapping;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod faults;

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
    "mapping replaced",
    "clock jumped",
    "clock set right",
    "packet found",
];

/// How long tickets and shares live.
const TICKET_LIFETIME_MS: u64 = 30_000;
const SHARE_LIFETIME_MS: u64 = 40_000;
/// Between two turns of an agent that has nothing to do.
const TURN_EVERY_MS: u64 = 900;

pub struct World {
    event: Event,
    disk: Disk,
    /// One mapping for all lives: opening it anew takes longer than a whole life.
    rings: Mapping,
    /// What the ledger must have, whatever becomes of the disk.
    maps: Maps,
    back: Option<Back<Twin>>,
    party: Party,
    /// Deaths of the agent that are dealt with.
    buried: u64,
    time: Time,
    /// When the ledger was last written, as far as anybody can know.
    written_ms: u64,
    /// The agent still has the rings of a mapping that was replaced, and reads them up to here.
    old_rings: Option<Vec<u64>>,
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
        party.show.ticket_lifetime_ms = TICKET_LIFETIME_MS;
        party.show.share_lifetime_ms = SHARE_LIFETIME_MS;
        party.start_gate(&rings);
        let mut world = Self {
            event,
            disk,
            rings,
            maps: Maps::default(),
            back: None,
            party,
            buried: 0,
            time: Time::new(),
            written_ms: 0,
            old_rings: None,
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
                self.pass(passed);
            }
            92 if self.party.below(4) == 0 => {
                let passed = self.party.below(SHARE_LIFETIME_MS);
                self.live_for(passed);
            }
            92..95 => self.start_what_is_missing(),
            _ => self.fault(),
        }
    }

    fn start_what_is_missing(&mut self) {
        if self.party.gate.is_none() {
            let agent_lives = self.back.is_some() && self.old_rings.is_none();
            self.time.start_gate(agent_lives);
            self.party.now = self.time.of_gate();
            self.party.start_gate(&self.rings);
        }
        if self.back.is_none() {
            self.start_agent();
        }
    }

    fn start_agent(&mut self) {
        let rng = self.party.random();
        self.time.start_agent(self.party.gate.is_some());
        self.old_rings = None;
        let setting = Setting {
            show: self.party.show.clone(),
            now: self.time.of_agent(),
            rng,
        };
        let opened = Twin::open(&self.event.ledger(), &self.maps)
            .and_then(Ledger::on)
            .map_err(LanesError::from)
            .and_then(|ledger| Back::serve(ledger, &self.rings, &self.event, setting));
        self.note_written();
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

    /// So much time passes, and nobody does anything but look at the clock.
    fn pass(&mut self, ms: u64) {
        let alive = Alive {
            gate: self.party.gate.is_some(),
            agent: self.back.is_some() && self.old_rings.is_none(),
        };
        self.time.pass(ms, alive);
        self.party.now = self.time.of_gate();
    }

    /// The same while the agent, if there is one, does its turns.
    fn live_for(&mut self, ms: u64) {
        for _ in 0..ms / TURN_EVERY_MS {
            self.pass(TURN_EVERY_MS);
            self.turn_once();
        }
    }

    /// The ledger may have been written just now. Of what passed before it a second counts at most.
    fn note_written(&mut self) {
        let passed_ms = self.time.boot_ms - self.written_ms;
        self.party.truth.served_ms += passed_ms.min(SPAN_OVER_MS);
        self.written_ms = self.time.boot_ms;
    }

    /// Whether the agent has died in a write since the last burial.
    fn is_agent_dead(&self) -> bool {
        self.disk.state().deaths() != self.buried
    }

    fn bury(&mut self) {
        self.buried = self.disk.state().deaths();
    }

    /// An agent that has read its old rings to their end goes over to the new ones.
    fn move_over(&mut self) {
        let (Some(back), Some(ends)) = (&mut self.back, &self.old_rings) else {
            return;
        };
        if back.is_read_only() || !back.lanes.has_done(ends) {
            return;
        }
        if self.party.gate.is_some() {
            // It meets a gateway that lives, and goes by its clock.
            self.time.start_agent(true);
        }
        back.now = self.time.of_agent();
        back.agent.pause_feed(false);
        let bound = catch_unwind(AssertUnwindSafe(|| back.bind(&self.rings)));
        self.note_written();
        match bound {
            Ok(Ok(())) => self.old_rings = None,
            Ok(Err(fault)) => {
                assert!(!fault.is_for_a_person(), "{fault}");
                self.kill_agent();
            }
            Err(payload) => {
                assert!(payload.is::<Died>(), "the agent panicked");
                self.kill_agent();
            }
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
        let now = self.time.of_agent();
        let found = back.counters.packets_found.value();
        let turned = catch_unwind(AssertUnwindSafe(|| back.agent.turn(&mut back.lanes, now)));
        let is_read_only = back.is_read_only();
        let found = back.counters.packets_found.value() - found;
        if !was_read_only || !is_read_only {
            self.note_written();
        }
        match turned {
            Ok(turn) => {
                (0..found).for_each(|_| self.party.note("packet found"));
                if is_read_only && !was_read_only {
                    self.party.note("outage");
                }
                self.find_the_dead();
                self.move_over();
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
        self.time.off_ms = 0;
        for round in 0.. {
            self.start_what_is_missing();
            self.party.ask_for_everything();
            self.pass(TRY_EVERY_MS);
            while self.turn_once() {}
            self.party.deliver(false);
            if self.party.is_done() {
                break;
            }
            assert!(round < 100, "not everything is answered: {:?}", self.party.phones);
        }
        self.assert_kept();
        // Everything ends, as late as a clock that was ahead may have made it.
        for second in 0.. {
            self.pass(TURN_EVERY_MS);
            while self.turn_once() {}
            if self
                .back
                .as_ref()
                .unwrap()
                .agent
                .ledger()
                .first_due()
                .unwrap()
                .is_none()
            {
                break;
            }
            assert!(second < 2_000, "something never ends");
        }
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
        self.event.assert_lines_make(|user| {
            let user = shake_rules::UserId(user);
            (self.party.truth.balance(user) + self.party.truth.refunds(user)) as i64
        });
        assert_eq!(EVENT.0, report.event);
        self.party.tally
    }
}
