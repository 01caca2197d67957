//! A server that comes back without its last commits.

use super::*;

impl Fleet {
    /// All that it holds is kept as it is at this moment.
    fn keep(&mut self) {
        self.server.shut_down();
        self.server.keep_copy().unwrap();
        self.server.start_again().unwrap();
    }

    /// It goes on from there.
    fn come_back_older(&mut self) {
        self.server.crash();
        self.server.exchange_with_copy().unwrap();
        self.server.start_again().unwrap();
    }

    fn number(&self, question: &str) -> i64 {
        self.server.number("event", question).unwrap()
    }

    /// `ledger accept-loss`, by the agent of a part.
    fn accept_loss(&self, part: usize, more: &[&str]) -> (Option<i32>, String) {
        let seeds = self.seeds.path().join("seeds");
        let asked = ["ledger", "accept-loss", "--config", "agent.toml", "--fleet"];
        let asked = [&asked[..], &[seeds.to_str().unwrap()], more].concat();
        told(&self.events[part], &asked)
    }

    fn assert_balanced(&self) {
        let seeds = self.seeds.path().join("seeds");
        let audit = ["audit", "--fleet", seeds.to_str().unwrap()];
        let settlement = ["settlement", "verify"];
        let at = ["--config", "agent.toml", "--on-primary"];
        for (asked, word) in [(&audit[..], "\nbalanced"), (&settlement[..], "agrees")] {
            let (code, told) = told(&self.events[1], &[asked, &at[..]].concat());
            assert!(code == Some(0) && told.contains(word), "{told}");
        }
    }
}

/// The exit code of the program, and all that it says.
fn told(event: &Event, arguments: &[&str]) -> (Option<i32>, String) {
    let output = agent(event).args(arguments).output().unwrap();
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), told.concat())
}

/// It does not serve, says why and what to do, and its unit does not start it again.
fn assert_refused(event: &Event, words: &[&str]) {
    let (code, told) = told(event, &["run", "--config", "agent.toml"]);
    assert_eq!(code, Some(3), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?}: {told}");
    }
}

/// The first answer that is not busy.
fn answer(front: &mut Front, packet: PacketId, user: u64) -> ClaimResult {
    let sealed = ticket(&front.keys, EVENT, packet, UserId(user), FAR);
    let request = claim(1, UserId(user), sealed, UnixMillis(1));
    let begun = Instant::now();
    loop {
        match claim_at(front, &request) {
            ClaimResult::Busy { .. } if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            answer => return answer,
        }
    }
}

fn opens(front: &mut Front, packet: PacketId, user: u64) {
    let first = answer(front, packet, user);
    assert!(is_opened(&first, false), "{first:?}");
    let again = answer(front, packet, user);
    assert!(is_opened(&again, true), "{again:?}");
}

/// Who lost commits stops all, also who lost none, and nobody begins again before a person has decided. Then what was won in lost
/// commits opens, what gateways have in hand can be won, and no number comes a second time.
#[test]
fn an_older_server_is_halted_for_all_until_the_loss_is_accepted() {
    let mut fleet = Fleet::new();
    let mut fronts = fleet.events.each_ref().map(|event| Front::new(event, 1));
    let mut agents = fleet.events.each_ref().map(Running::start);
    let kept = granted(&mut fronts[0]).packet;
    granted(&mut fronts[1]);
    opens(&mut fronts[1], kept, 7);
    // It does nothing from here on.
    agents[1].signal(Signal::SIGSTOP);
    fleet.keep();
    // There were eight in hand: the last of these are released by commits that are lost.
    let taken: Vec<PacketId> = (0..10).map(|_| granted(&mut fronts[0]).packet).collect();
    for (user, packet) in (20..).zip(&taken) {
        fronts[0].push(0, &issued(*packet, UserId(user)));
    }
    opens(&mut fronts[0], taken[9], 29);
    let last_seen = fleet.number("SELECT outbox FROM parts WHERE part = 0");
    fleet.come_back_older();
    assert_eq!(agents[0].wait().code(), Some(3));
    agents[1].signal(Signal::SIGCONT);
    assert_eq!(
        agents[1].wait().code(),
        Some(3),
        "it lost nothing, and ends all the same"
    );
    for front in &fronts {
        let status = front.agent_status();
        assert!(status.part_lost && status.ledger_halted, "{status:?}");
    }
    let halted = ["halted", "the agent of part 0", "accept-loss"];
    for event in &fleet.events {
        assert_refused(event, &halted);
        let (code, told) = told(event, &["part", "retire", "0", "--force", "--config", "agent.toml"]);
        assert!(code == Some(1) && told.contains("halted"), "{told}");
    }
    let (code, told) = fleet.accept_loss(1, &[]);
    assert!(code == Some(0) && told.contains("nothing was changed"), "{told}");
    assert_refused(&fleet.events[0], &halted);
    let (code, told) = fleet.accept_loss(1, &["--yes"]);
    assert!(code == Some(0) && told.contains("may be served again"), "{told}");
    let (code, told) = fleet.accept_loss(1, &["--yes"]);
    assert!(code == Some(1) && told.contains("not halted"), "{told}");

    agents = fleet.events.each_ref().map(Running::start);
    let again = answer(&mut fronts[0], kept, 7);
    assert!(is_opened(&again, true), "that was not lost: {again:?}");
    opens(&mut fronts[0], taken[9], 29);
    let line = fleet.number("SELECT max(seq) FROM outbox WHERE part = 0");
    assert!(line > last_seen + (1 << 31), "{line} behind {last_seen}");
    opens(&mut fronts[1], taken[8], 28);
    opens(&mut fronts[0], taken[0], 20);
    // It was released by a lost commit, and is in the ring.
    let in_hand = granted(&mut fronts[0]).packet;
    fronts[0].push(0, &issued(in_hand, UserId(30)));
    opens(&mut fronts[0], in_hand, 30);
    let other = granted(&mut fronts[1]).packet;
    opens(&mut fronts[0], other, 31);
    for agent in &mut agents {
        agent.signal(Signal::SIGTERM);
        assert_eq!(agent.wait().code(), Some(0));
    }
    let double = "SELECT count(*) FROM (SELECT packet FROM outbox GROUP BY packet, usr HAVING count(*) > 1) AS paid";
    assert_eq!(fleet.number(double), 0);
    fleet.assert_balanced();
}

/// An agent that had ended finds it when it is started, and knows what it had released; a machine that burnt says nothing, so a person
/// does, and nothing that is left of its seed is given out.
#[test]
fn a_burnt_machine_gives_up_the_rest_of_its_seed() {
    let mut fleet = Fleet::new();
    let mut fronts = fleet.events.each_ref().map(|event| Front::new(event, 1));
    let mut agents = fleet.events.each_ref().map(Running::start);
    granted(&mut fronts[0]);
    granted(&mut fronts[1]);
    let stamp = "SELECT stamp FROM parts WHERE part = 1";
    let kept = fleet.number(stamp);
    fleet.keep();
    let mut won = [0, 1].map(|part| (0..10).map(|_| granted(&mut fronts[part]).packet).collect::<Vec<_>>());
    until("it goes on", || fleet.number(stamp) > kept + 1);
    agents[0].signal(Signal::SIGKILL);
    agents[0].wait();
    agents[1].signal(Signal::SIGTERM);
    assert_eq!(agents[1].wait().code(), Some(0));
    fleet.come_back_older();
    assert_refused(&fleet.events[1], &["lost commits", "accept-loss"]);
    assert_refused(&fleet.events[1], &["halted", "the agent of part 1"]);
    let (code, told) = fleet.accept_loss(1, &["--yes"]);
    assert!(code == Some(1) && told.contains("was lost of part 0. "), "{told}");
    let (code, told) = fleet.accept_loss(1, &["--gone", "7"]);
    assert!(code == Some(1) && told.contains("no part 7"), "{told}");
    let (code, told) = fleet.accept_loss(1, &["--gone", "0", "--yes"]);
    assert!(code == Some(0), "{told}");
    assert_refused(&fleet.events[0], &["retired"]);

    agents[1] = Running::start(&fleet.events[1]);
    for (user, packets) in (40..).zip(&mut won) {
        opens(&mut fronts[1], packets.pop().unwrap(), user);
    }
    agents[1].signal(Signal::SIGTERM);
    assert_eq!(agents[1].wait().code(), Some(0));
    let left = "SELECT 20 - count(*) FROM packets WHERE part = 0 AND state IN (7, 3, 5)";
    assert_eq!(fleet.number(left), 0, "all of it may have been released");
    fleet.assert_balanced();
}
