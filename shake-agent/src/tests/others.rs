//! What another writer of the ledger has at the moment: requests wait for it, the cursor stays before them, and nobody else
//! waits.

use super::back::{Back, Setting};
use super::conformance::memory::{Fault, Memory};
use super::support::{EVENT, Event, FAR, Front, claim, claimed, show, ticket};
use crate::ledger::Ledger;
use shake_proto::handoff::record::{Grant, Reply};
use shake_proto::reply::ClaimResult;
use shake_rules::{PacketId, UnixMillis, UserId};
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

    /// Who is answered, and how.
    pub fn answers(&mut self) -> Vec<(u64, &'static str)> {
        let told = |reply: Reply| {
            let how = match claimed(&reply) {
                ClaimResult::Opened { repeat: false, .. } => "opened",
                ClaimResult::Opened { repeat: true, .. } => "again",
                ClaimResult::Busy { .. } => "busy",
                ClaimResult::Refused(_) => "refused",
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

/// Whether it dies or goes on: until it is answered the ring has it.
#[test]
fn what_waits_outlives_the_agent() {
    let mut play = Play::new();
    play.others(&[play.grants[1].packet]);
    (0..3).for_each(|number| play.claim(number));
    play.back.work();
    assert_eq!(play.answers(), [(0, "opened"), (2, "opened")]);
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
        [(1, "opened"), (2, "again")],
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
