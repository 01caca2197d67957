//! The ledger read-only: a disk that is full or failing, and one that is well again.

use super::back::Back;
use super::disk::Disk;
use super::support::{EVENT, Event, FAR, Front, ask, claim, claimed, ticket};
use crate::ledger::LedgerError;
use crate::outage::TRY_EVERY_MS;
use shake_proto::handoff::record::{Grant, Issued, Request, What};
use shake_proto::reply::{ClaimResult, WalletResult};
use shake_proto::request::Send;
use shake_proto::wire::v1::reply::Kind;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use shm_queue::Mapping;
use std::collections::BTreeMap;

/// An agent on a disk of its own, with its gateway.
struct Scene {
    event: Event,
    disk: Disk,
    front: Front,
    back: Option<Back>,
    grants: Vec<Grant>,
    /// What was acknowledged: packet, user, cents.
    opened: BTreeMap<PacketId, (UserId, Cents)>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let event = Event::in_memory(200);
        let disk = Disk::under(&event, seed);
        let front = Front::new(&event, 1);
        let mut back = Back::open(&event).unwrap();
        back.work();
        Self {
            event,
            disk,
            front,
            back: Some(back),
            grants: Vec::new(),
            opened: BTreeMap::new(),
        }
    }

    fn back(&mut self) -> &mut Back {
        self.back.as_mut().unwrap()
    }

    fn win(&mut self) -> (PacketId, UserId) {
        if self.grants.is_empty() {
            self.grants = self.front.take_grants(0);
        }
        let packet = self.grants.pop().expect("the shard has grants in hand").packet;
        let user = UserId(packet.0);
        self.front.push(
            0,
            &Request::Issued(Issued {
                packet,
                user,
                stage: 0,
                at: UnixMillis(1),
                ends: None,
            }),
        );
        (packet, user)
    }

    fn ask_to_open(&mut self, packet: PacketId, user: UserId) {
        let sealed = ticket(&self.front.keys, EVENT, packet, user, FAR);
        self.front.push(0, &claim(packet.0, user, sealed, UnixMillis(1)));
    }

    /// The only reply, to a claim; an opening is noted as acknowledged.
    fn reply(&mut self) -> ClaimResult {
        let mut replies = self.front.replies(0);
        assert_eq!(replies.len(), 1);
        let reply = replies.remove(0);
        let result = claimed(&reply);
        if let ClaimResult::Opened { packet, amount, .. } = result {
            let user = UserId(reply.reply_to.request_id);
            let earlier = self.opened.insert(packet, (user, amount));
            assert!(earlier.is_none_or(|earlier| earlier == (user, amount)));
        }
        result
    }

    fn open_one(&mut self) -> (PacketId, UserId) {
        let (packet, user) = self.win();
        self.ask_to_open(packet, user);
        self.back().work();
        assert!(matches!(self.reply(), ClaimResult::Opened { repeat: false, .. }));
        (packet, user)
    }

    /// All that was acknowledged is in the ledger, and the books balance.
    fn assert_kept(&mut self) {
        let ledger = self.back.as_ref().unwrap().agent.ledger();
        for (&packet, &(user, amount)) in &self.opened {
            let found = ledger.packet(packet).unwrap();
            let found = found.unwrap_or_else(|| panic!("{packet} was acknowledged and is gone"));
            assert_eq!(
                (found.user, found.amount, found.is_opened()),
                (Some(user), amount, true)
            );
        }
        self.event.assert_balanced();
    }

    /// The machine goes down and comes back: rings and unsynced writes are gone.
    fn lose_power(&mut self) {
        self.disk.state().lose_power();
        self.back = None;
        self.grants.clear();
        Mapping::remove(&self.event.path("rings")).unwrap();
        self.front = Front::new(&self.event, 1);
        self.back = Some(Back::open(&self.event).unwrap());
        self.back().work();
    }
}

fn wallet_of(scene: &mut Scene, user: UserId) -> WalletResult {
    scene.front.push(0, &ask(1, user, UnixMillis(1), What::Wallet));
    scene.back().work();
    match scene.front.reply(0).kind {
        Some(Kind::Wallet(reply)) => reply.try_into().unwrap(),
        other => panic!("no answer to a wallet: {other:?}"),
    }
}

/// The mode from its begin to its end, on a disk that is broken so. Meanwhile it comes and goes `outages_max` times at most.
fn check(outages_max: u64, break_disk: impl Fn(&Scene)) {
    let mut scene = Scene::new(1);
    let (_, rich) = scene.open_one();
    break_disk(&scene);
    // Nothing that needs a write happens, and it is said at once; what was committed can be looked at.
    let (packet, user) = scene.win();
    scene.ask_to_open(packet, user);
    scene.back().work();
    assert!(matches!(scene.reply(), ClaimResult::Busy { retry_after_ms } if retry_after_ms > 0));
    assert!(scene.back().is_read_only());
    let amount = scene.opened.values().next().unwrap().1;
    assert!(matches!(wallet_of(&mut scene, rich), WalletResult::State { balance, .. } if balance == amount));
    assert!(matches!(
        wallet_of(&mut scene, user),
        WalletResult::State { balance: Cents(0), .. }
    ));
    let send = Send {
        key: [9; 16],
        total: amount,
        shares: 1,
        recipients: vec![UserId(5)],
    };
    scene.front.push(0, &ask(2, rich, UnixMillis(1), What::Send(send)));
    scene.back().work();
    assert!(matches!(scene.front.reply(0).kind, Some(Kind::Send(_))));
    // Also not later, while the disk stays as it is.
    for _ in 0..3 {
        scene.back().work_after(TRY_EVERY_MS);
        scene.ask_to_open(packet, user);
        scene.back().work();
        assert!(matches!(scene.reply(), ClaimResult::Busy { .. }));
    }
    assert_eq!(scene.back().counters.ledger_retries.value(), 3);
    assert!((1..=outages_max).contains(&scene.back().counters.ledger_outages.value()));
    scene.event.assert_balanced();

    // Well again: not before it is tried, and then all that waited takes effect once, without a second answer.
    scene.disk.state().mend();
    scene.back().work();
    assert!(scene.back().is_read_only());
    scene.back().work_after(TRY_EVERY_MS);
    assert!(!scene.back().is_read_only());
    assert_eq!(scene.front.replies(0), []);
    assert_eq!(scene.front.notices(0).len(), 1, "the packet that was sent is offered");
    scene.ask_to_open(packet, user);
    scene.back().work();
    assert!(matches!(scene.reply(), ClaimResult::Opened { repeat: true, .. }));
    assert!(matches!(
        wallet_of(&mut scene, rich),
        WalletResult::State { balance: Cents(0), .. }
    ));
    assert_eq!(scene.back().counters.issued_inconsistent.value(), 0);
    for _ in 0..20 {
        scene.open_one();
    }
    scene.assert_kept();
    scene.lose_power();
    scene.assert_kept();
}

#[test]
fn a_full_disk_makes_the_ledger_read_only_until_there_is_room() {
    check(1, |scene| scene.disk.state().room = Some(0));
    // Room for the small commit that is tried, and not for what waits: tried again and again, with the same outcome.
    check(4, |scene| scene.disk.state().room = Some(6_000));
}

#[test]
fn failing_writes_and_syncs_make_it_read_only_until_they_work() {
    check(1, |scene| scene.disk.state().failing_writes = u32::MAX);
    check(1, |scene| scene.disk.state().failing_syncs = u32::MAX);
}

/// The kernel takes the pages of a failed sync for clean. Whatever is acknowledged afterwards must not build on them.
#[test]
fn nothing_acknowledged_after_a_failed_sync_is_lost_with_the_power() {
    for seed in 0..100 {
        let mut scene = Scene::new(seed);
        for _ in 0..seed % 5 {
            scene.open_one();
        }
        let (packet, user) = scene.win();
        scene.ask_to_open(packet, user);
        scene.disk.state().failing_syncs = 1 + (seed % 2) as u32;
        scene.back().work();
        assert!(matches!(scene.reply(), ClaimResult::Busy { .. }));
        if seed % 3 == 0 {
            // Started anew before the agent tried again: SQLite then reads the failed commit from the log.
            scene.back = None;
            scene.disk.state().mend();
            scene.back = Some(Back::open(&scene.event).unwrap());
            scene.back().work();
            scene.front.replies(0);
        } else {
            while scene.back().is_read_only() {
                scene.back().work_after(TRY_EVERY_MS);
            }
        }
        scene.ask_to_open(packet, user);
        scene.back().work();
        assert!(matches!(scene.reply(), ClaimResult::Opened { .. }), "seed {seed}");
        for _ in 0..seed % 7 {
            scene.open_one();
        }
        scene.assert_kept();
        scene.lose_power();
        scene.assert_kept();
    }
}

/// A failure to write that waiting does not mend is as harmless.
#[test]
fn a_table_that_is_gone_is_an_outage_too() {
    let mut scene = Scene::new(1);
    let saboteur = rusqlite::Connection::open(scene.event.ledger()).unwrap();
    saboteur.execute_batch("ALTER TABLE transfers RENAME TO gone").unwrap();
    let (packet, user) = scene.win();
    scene.ask_to_open(packet, user);
    for _ in 0..3 {
        scene.back().work_after(TRY_EVERY_MS);
    }
    assert!(matches!(scene.reply(), ClaimResult::Busy { .. }));
    saboteur.execute_batch("ALTER TABLE gone RENAME TO transfers").unwrap();
    scene.back().work_after(TRY_EVERY_MS);
    scene.ask_to_open(packet, user);
    scene.back().work();
    assert!(matches!(scene.reply(), ClaimResult::Opened { repeat: true, .. }));
    scene.assert_kept();
}

/// A disk that comes back with an older content is not written to.
#[test]
fn a_ledger_that_lost_commits_stays_read_only() {
    let mut scene = Scene::new(1);
    scene.open_one();
    scene.disk.state().failing_syncs = 1;
    scene.win();
    scene.back().work();
    let other = rusqlite::Connection::open(scene.event.ledger()).unwrap();
    other.execute_batch("UPDATE lanes SET requests_done = 1").unwrap();
    for _ in 0..3 {
        scene.back().work_after(TRY_EVERY_MS);
        let ledger = scene.back().agent.ledger_mut();
        let reason = ledger.failure().expect("it stays read-only").to_owned();
        assert!(reason.contains("lost commits"), "{reason}");
        let refused = ledger.transaction(UnixMillis(1), |_| Ok(()));
        assert!(matches!(refused, Err(LedgerError::Failed(_))));
    }
}
