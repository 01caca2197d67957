//! What another writer of the ledger has at the moment: requests wait for it, the cursor stays before them, and nobody else
//! waits.

use super::back::{Back, Setting};
use super::conformance::memory::{Fault, Memory};
use super::support::{EVENT, Event, FAR, Front, ask, claim, claimed, ring, show, ticket};
use crate::ledger::Ledger;
use crate::requests::ELSEWHERE_MS;
use shake_proto::handoff::record::{Gift, Grant, Reply, Request, What};
use shake_proto::reply::{ClaimResult, GrabResult};
use shake_proto::request::Grab;
use shake_proto::wire::v1::reply::Kind;
use shake_rules::code::CodeKeys;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use shm_queue::Mapping;

const NOW: UnixMillis = UnixMillis(1);

pub struct Play {
    pub event: Event,
    pub memory: Memory,
    pub front: Front,
    pub back: Back<Memory>,
    pub grants: Vec<Grant>,
}

fn open(event: &Event, memory: &Memory, now: UnixMillis) -> Back<Memory> {
    let mapping = Mapping::open(&event.path("rings")).unwrap();
    let show = show();
    Back::serve(
        Ledger::on(memory.clone()).unwrap(),
        &mapping,
        event,
        Setting { show, now, rng: 7 },
    )
    .unwrap()
}

impl Play {
    pub fn new() -> Self {
        let event = Event::new(20);
        let mut front = Front::new(&event, 1);
        let memory = Memory::default();
        let mut back = open(&event, &memory, NOW);
        back.work();
        let grants = front.take_grants(0);
        Self {
            event,
            memory,
            front,
            back,
            grants,
        }
    }

    fn others(&self, packets: &[PacketId]) {
        self.memory.others.lock().unwrap().packets = packets.iter().copied().collect();
    }

    /// User so many asks for the packet of as many a grant.
    pub fn claim(&mut self, number: usize) {
        let user = UserId(number as u64);
        let sealed = ticket(&self.front.keys, EVENT, self.grants[number].packet, user, FAR);
        self.front.push(0, &claim(number as u64, user, sealed, self.back.now));
    }

    /// The event gives these users a packet, which another writer has from now on.
    fn gift(&mut self, recipients: impl Iterator<Item = u64>) -> PacketId {
        let gift = Gift {
            key: [1; 16],
            total: Cents(500),
            recipients: recipients.map(UserId).collect(),
            stage: 0,
            at: self.back.now,
        };
        self.front.push(0, &Request::Gift(gift));
        self.back.work();
        let notice = self.front.notices(0).remove(0);
        let codes = CodeKeys::new(&ring());
        let packet = codes.packet(&self.front.keys.ledger(), &notice.code).unwrap();
        self.others(&[packet]);
        packet
    }

    /// User so many asks for a share.
    fn grab(&mut self, packet: PacketId, user: u64) {
        let code = CodeKeys::new(&ring()).code(&self.front.keys.ledger(), packet);
        let grab = What::Grab(Grab {
            code: code.to_vec().into(),
        });
        self.front.push(0, &ask(user, UserId(user), self.back.now, grab));
    }

    /// How often a packet was asked for that another writer had.
    fn asked(&self) -> u64 {
        self.memory.others.lock().unwrap().asked
    }

    /// Who is answered, and how.
    pub fn answers(&mut self) -> Vec<(u64, &'static str)> {
        let told = |reply: Reply| {
            let how = match reply.kind.clone() {
                Some(Kind::Grab(grab)) => match grab.try_into().unwrap() {
                    GrabResult::Grabbed { repeat: false, .. } => "grabbed",
                    GrabResult::Busy { .. } => "busy",
                    other => panic!("{other:?}"),
                },
                Some(Kind::Wallet(_)) => "shown",
                _ => match claimed(&reply) {
                    ClaimResult::Opened { repeat: false, .. } => "opened",
                    ClaimResult::Opened { repeat: true, .. } => "again",
                    ClaimResult::Busy { .. } => "busy",
                    ClaimResult::Refused(_) => "refused",
                },
            };
            (reply.reply_to.request_id, how)
        };
        self.front.replies(0).into_iter().map(told).collect()
    }
}

#[test]
fn who_waits_for_another_writer_holds_up_nobody() {
    let mut play = Play::new();
    play.others(&[play.grants[0].packet, play.grants[2].packet]);
    (0..4).for_each(|number| play.claim(number));
    play.back.work();
    assert_eq!(play.answers(), [(1, "opened"), (3, "opened")]);
    play.others(&[play.grants[2].packet]);
    play.claim(4);
    play.back.work_after(1_000);
    assert_eq!(play.answers(), [(0, "opened"), (4, "opened")]);
    play.others(&[]);
    play.back.work_after(500);
    assert_eq!(play.answers(), [(2, "opened")]);
    play.back.work_after(500);
    assert_eq!(play.answers(), []);
}

/// A code that is in every batch: its packet is asked for now and then, all who wait get their shares together, and nobody else waits
/// meanwhile.
#[test]
fn a_packet_that_another_writer_had_is_not_asked_for_by_each_batch() {
    let mut play = Play::new();
    let packet = play.gift(100..110);
    play.grab(packet, 100);
    play.claim(0);
    play.back.work();
    assert_eq!((play.answers(), play.asked()), (vec![(0, "opened")], 1));
    for number in 1..5 {
        play.grab(packet, 100 + number as u64);
        play.claim(number);
        play.back.work();
        assert_eq!(play.answers(), [(number as u64, "opened")]);
    }
    play.grab(packet, 105);
    play.front.push(0, &ask(7, UserId(7), play.back.now, What::Wallet));
    play.back.work();
    assert_eq!(play.answers(), [(7, "shown")]);
    let stamp = play.memory.content().standing.stamp;
    play.grab(packet, 106);
    play.back.work();
    assert_eq!((play.answers(), play.asked()), (vec![], 1));
    assert_eq!(
        play.memory.content().standing.stamp,
        stamp,
        "nothing is committed for it"
    );
    play.others(&[]);
    play.back.work_after(*ELSEWHERE_MS.end());
    let grabbed: Vec<_> = (100..=106).map(|user| (user, "grabbed")).collect();
    let mut answers = play.answers();
    answers.sort_unstable();
    assert_eq!(answers, grabbed);
}

/// It is asked for all the while, until those who want it have waited for long.
#[test]
fn a_packet_that_another_writer_has_for_long_is_asked_for_again_and_again() {
    let mut play = Play::new();
    let packet = play.gift(100..110);
    play.grab(packet, 100);
    play.back.work();
    for _ in 0..199 {
        play.back.work_after(10);
        assert_eq!(play.answers(), []);
    }
    let tries = 2_000 / (ELSEWHERE_MS.end() + 10)..=2_000 / ELSEWHERE_MS.start();
    assert!(tries.contains(&play.asked()), "{}", play.asked());
    play.grab(packet, 101);
    let asked = play.asked();
    play.back.work_after(10);
    assert_eq!(play.answers(), [(100, "busy")]);
    assert!(play.asked() > asked, "it was tried once more");
    play.others(&[]);
    play.back.work_after(*ELSEWHERE_MS.end());
    assert_eq!(play.answers(), [(101, "grabbed")]);
}

/// Whether it dies or goes on: until it is answered the ring has it.
#[test]
fn what_waits_outlives_the_agent() {
    let mut play = Play::new();
    let packet = play.gift(100..110);
    play.others(&[packet, play.grants[1].packet]);
    play.claim(0);
    play.grab(packet, 100);
    (1..3).for_each(|number| play.claim(number));
    play.back.work();
    assert_eq!(play.answers(), [(0, "opened"), (2, "opened")]);
    // The ledger is not even asked for this one.
    play.grab(packet, 101);
    play.back.work();
    assert_eq!(play.answers(), []);
    play.others(&[]);
    let Play {
        back, event, memory, ..
    } = play;
    let now = back.now;
    // The mapping has one agent at a time.
    drop(back);
    let back = open(&event, &memory, now);
    let mut play = Play {
        back,
        event,
        memory,
        ..play
    };
    play.back.work();
    assert_eq!(
        play.answers(),
        [(100, "grabbed"), (1, "opened"), (2, "again"), (101, "grabbed")],
        "the first is done, in the ledger and in the ring"
    );
}

#[test]
fn who_has_waited_for_long_is_told_busy_and_nothing_came_of_it() {
    let mut play = Play::new();
    play.others(&[play.grants[1].packet]);
    (0..2).for_each(|number| play.claim(number));
    play.back.work();
    assert_eq!(play.answers(), [(0, "opened")]);
    play.back.work_after(1_999);
    assert_eq!(play.answers(), []);
    play.back.work_after(1);
    assert_eq!(play.answers(), [(1, "busy")]);
    play.others(&[]);
    play.back.work_after(500);
    assert_eq!(play.answers(), [], "busy is no promise");
    play.claim(1);
    play.back.work();
    assert_eq!(play.answers(), [(1, "opened")]);
}

/// A commit that fails while something waits: everybody is told busy once, and all of it takes effect later, unasked.
#[test]
fn an_outage_takes_what_waits_along() {
    for fault in [Fault::Lost, Fault::AnswerLost] {
        let mut play = Play::new();
        play.others(&[play.grants[0].packet]);
        (0..2).for_each(|number| play.claim(number));
        *play.memory.fault.lock().unwrap() = fault;
        play.back.work();
        let mut answers = play.answers();
        answers.sort_unstable();
        assert_eq!(answers, [(0, "busy"), (1, "busy")]);
        play.others(&[]);
        play.back.work_after(1_000);
        assert_eq!(play.answers(), [], "told before");
        (0..2).for_each(|number| play.claim(number));
        play.back.work();
        assert_eq!(play.answers(), [(0, "again"), (1, "again")]);
    }
}
